//! The routes of pg-backup-api: their paths, their bodies and the words of their errors.

use super::*;

fn bearer() -> Header {
    Header::new("Authorization", format!("Bearer {ANN_TOKEN}"))
}

#[test]
fn a_trailing_slash_is_taken_here_and_no_other_spelling() {
    let (client, _) = local(|_| ());
    let get = |path: &str| {
        let answer = client.get(path.to_owned()).header(bearer()).dispatch();
        (answer.status, answer.json())
    };
    for path in [
        "/status",
        "/status/",
        "/diagnose/",
        "/operations/",
        "/operations/x/",
        "/servers/",
        "/servers/main/operations/",
        "/servers/main/operations/x/",
    ] {
        assert_eq!(get(path).0, 200, "{path}");
    }
    for path in [
        "/status//",
        "//status",
        "/Status",
        "/stat%75s",
        "/servers//operations",
        "/servers/main",
        "/servers/main/operations/x/y",
        "/servers/%ff/operations",
        "/barman/help/",
    ] {
        assert_eq!(get(path).0, 404, "{path}");
    }
    let (_, body) = get("/servers/bad%20server%20!/operations/a%2Fb");
    assert_eq!(body["task"], r#"One(Server("bad server !"), "a/b")"#);
}

#[test]
fn an_error_is_one_text_with_its_status() {
    let (client, _) = local(|_| ());
    let error = |method: Method, path: &str, authorised: bool| {
        let mut request = client.req(&method, path.to_owned());
        if authorised {
            request = request.header(bearer());
        }
        let answer = request.dispatch();
        let status = answer.status;
        let body = answer.json();
        let members = body.as_object().unwrap();
        assert_eq!(members.len(), 1, "{body}");
        let text = body["error"].as_str().unwrap().to_owned();
        assert!(text.starts_with(&format!("{status} ")), "{text}");
        text
    };
    assert_eq!(
        error(Method::GET, "/operations/missing", true),
        "404 Not Found: Resource not found"
    );
    assert!(error(Method::GET, "/status", false).starts_with("401 Unauthorized: "));
    let text = error(Method::PUT, "/servers/main/operations", true);
    assert_eq!(
        text,
        "405 Method Not Allowed: PUT is not allowed here; use GET, POST"
    );
    let nowhere = "404 Not Found: The requested URL was not found on the server. \
                   If you entered the URL manually please check your spelling and try again.";
    for path in ["/servers/main/nowhere", "/operations/x/y", "/servers/main"] {
        assert_eq!(error(Method::GET, path, true), nowhere, "{path}");
    }
    assert!(error(Method::GET, "/operations?limit=1", true).starts_with("400 Bad Request: "));
    let answer = client.post("/diagnose").header(bearer()).dispatch();
    assert_eq!(answer.header("Allow"), Some("GET"));
}

#[test]
fn a_body_is_json_and_says_so() {
    let (client, play) = local(|_| ());
    let post = |kind: Option<Header>, body: &str| {
        let mut request = client.post("/operations").header(bearer()).body(body);
        if let Some(kind) = kind {
            request = request.header(kind);
        }
        let answer = request.dispatch();
        (answer.status, answer.json())
    };
    for kind in [None, Some(FORM), Some(PLAIN)] {
        let (status, body) = post(kind, "{}");
        assert_eq!(status, 400);
        let text = body["error"].as_str().unwrap();
        assert!(text.contains("application/json"), "{text}");
    }
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(100_000));
    assert_eq!(post(Some(JSON), &large).0, 413);
    assert_eq!(play.started(), 0);
    let (status, body) = post(Some(JSON), "{}");
    assert_eq!(
        (status, &body["task"]),
        (200, &json!("Start(Instance, [123, 125])"))
    );
    assert_eq!(post(None, "").1["task"], "Start(Instance, [])");
    let answer = client
        .get("/operations")
        .header(bearer())
        .header(JSON)
        .body("{}")
        .dispatch();
    assert_eq!(answer.status, 400);
}
