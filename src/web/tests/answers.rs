//! What answers look like, whatever the outcome.

use super::*;

pub(super) fn bearer<'c>(request: Asking<'c>, token: &str) -> Asking<'c> {
    request.header(Header::new("Authorization", format!("Bearer {token}")))
}

fn assert_headers(answer: &Answer, what: &str) {
    let one = |name: &str| answer.header(name).map(str::to_owned);
    for (name, value) in [
        ("X-Content-Type-Options", "nosniff"),
        (
            "Content-Security-Policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
        ("Content-Type", "application/json"),
    ] {
        assert_eq!(one(name).as_deref(), Some(value), "{what}: {name}");
    }
    assert_eq!(one("X-Request-Id").map(|id| id.len()), Some(24), "{what}");
    for name in answer.headers.keys() {
        let name = name.as_str();
        assert!(!name.starts_with("access-control-"), "{what}: {name}");
        assert!(!["server", "set-cookie"].contains(&name), "{what}: {name}");
    }
}

#[test]
fn every_line_of_the_outcome_table_is_one_answer() {
    let (client, _) = local(|_| ());
    for (command, kind, status) in REFUSALS {
        let answer = bearer(client.post(format!("/barman/{command}")), ANN_TOKEN).dispatch();
        assert_eq!(answer.status, status, "{command}");
        assert_headers(&answer, command);
        let retry = answer.header("Retry-After").is_some();
        assert_eq!(retry, [429, 503].contains(&status), "{command}");
        let allow = answer.header("Allow");
        assert_eq!(allow, (status == 405).then_some("POST"), "{command}");
        let challenge = answer.header("WWW-Authenticate").is_some();
        assert_eq!(challenge, status == 401, "{command}");
        let id = answer.header("X-Request-Id").unwrap().to_owned();
        let body = answer.json();
        assert_eq!(body["status_code"], status, "{command}");
        assert!(body["type"].is_string(), "{command}");
        assert!(!body.to_string().contains("private"), "{command}");
        match kind {
            RefusalKind::Internal => {
                assert_eq!(
                    body["message"],
                    format!("internal error; its request id is {id}")
                );
            }
            RefusalKind::Unauthorized => {}
            _ => assert_eq!(body["message"], "the public words", "{command}"),
        }
    }
}

#[test]
fn headers_are_on_answers_of_every_kind() {
    let (client, _) = local(|_| ());
    for (method, path, status) in [
        (Method::GET, "/healthz", 200),
        (Method::GET, "/barman/backup", 202),
        (Method::GET, "/barman/check?a=%ff", 400),
        (Method::GET, "/nowhere", 404),
        (Method::GET, "/", 404),
        (Method::PUT, "/barman/check", 405),
        (Method::GET, "/barman/panic", 500),
    ] {
        let request = client
            .req(&method, path)
            .header(Header::new("Origin", "https://evil.example"));
        let answer = bearer(request, ANN_TOKEN).dispatch();
        assert_eq!(answer.status, status, "{path}");
        assert_headers(&answer, path);
    }
    let large = bearer(client.post("/barman/check"), ANN_TOKEN)
        .header(FORM)
        .body("a=".to_owned() + &"x".repeat(70_000))
        .dispatch();
    assert_eq!(large.status, 413);
    assert_headers(&large, "large");
    let preflight = client
        .req(&Method::OPTIONS, "/barman/check")
        .header(Header::new("Origin", "https://evil.example"))
        .header(Header::new("Access-Control-Request-Method", "POST"))
        .dispatch();
    assert_eq!(preflight.status, 405);
    assert_headers(&preflight, "preflight");
}

#[test]
fn a_panic_is_a_500_with_an_id_and_nothing_else() {
    let (client, _) = local(|_| ());
    let answer = bearer(client.get("/barman/panic"), ANN_TOKEN).dispatch();
    let id = answer.header("X-Request-Id").unwrap().to_owned();
    assert_eq!(
        answer.json(),
        json!({
            "status_code": 500,
            "type": "internal",
            "message": format!("internal error; its request id is {id}"),
        })
    );
}

#[test]
fn all_refused_credentials_get_one_and_the_same_answer() {
    let (client, _) = local(|_| ());
    let ask = |authorization: Option<&'static str>| {
        let mut request = client.get("/auth/user");
        if let Some(value) = authorization {
            request = request.header(Header::new("Authorization", value));
        }
        let answer = request.dispatch();
        assert_eq!(answer.status, 401);
        let mut headers = answer.headers.clone();
        headers.remove("X-Request-Id");
        (headers, answer.body)
    };
    let first = ask(None);
    for authorization in [
        "Basic bm9zdWNoOng=",
        "Basic YW5uOng=",
        "Basic !!!",
        "Bearer a.b.c",
        "Bearer",
        "Digest x",
    ] {
        assert_eq!(ask(Some(authorization)), first, "{authorization}");
    }
}

#[test]
fn a_browser_is_never_asked_for_a_password() {
    let (client, _) = local(|_| ());
    let challenge = |path: &str, accept: Option<&'static str>| {
        let mut request = client.get(path.to_owned());
        if let Some(accept) = accept {
            request = request.header(Header::new("Accept", accept));
        }
        let answer = request.dispatch();
        answer
            .header("WWW-Authenticate")
            .map(|value| value.split(' ').next().unwrap().to_owned())
            .unwrap()
    };
    for path in ["/auth/token", "/auth/user"] {
        assert_eq!(challenge(path, None), "Basic");
        assert_eq!(challenge(path, Some("application/json")), "Basic");
        assert_eq!(
            challenge(path, Some("text/HTML,application/xml;q=0.9")),
            "Bearer"
        );
    }
    for path in ["/auth/logout", "/barman/help", "/barman/check"] {
        assert_eq!(challenge(path, None), "Bearer");
    }
}

#[test]
fn a_token_is_issued_for_a_name_and_a_password() {
    let (client, play) = local(|_| ());
    let login = |value: &'static str| {
        client
            .post("/auth/token")
            .header(Header::new("Authorization", value))
            .dispatch()
    };
    assert_eq!(
        login(ANN).json(),
        json!({"token": ANN_TOKEN, "token_type": "Bearer", "expires_in": 6000})
    );
    let storm = login("Basic c3Rvcm06eA==");
    assert_eq!(storm.status, 429);
    assert_eq!(storm.header("Retry-After"), Some("7"));
    let disk = login("Basic ZGlzazp4");
    assert_eq!(disk.status, 500);
    assert!(!disk.text().contains("fire"));
    // A token gets no token, and no password is tried for a request that is wrong anyway.
    let tried = play.logins.load(Ordering::SeqCst);
    assert_eq!(
        bearer(client.post("/auth/token"), ANN_TOKEN)
            .dispatch()
            .status,
        401
    );
    let odd = client
        .post("/auth/token?x=1")
        .header(Header::new("Authorization", ANN))
        .dispatch();
    assert_eq!(odd.status, 400);
    assert_eq!(play.logins.load(Ordering::SeqCst), tried);
}

#[test]
fn callers_see_their_own_rights() {
    let (client, _) = local(|_| ());
    let answer = bearer(client.get("/auth/user"), ANN_TOKEN).dispatch();
    assert_eq!(
        answer.json(),
        json!({
            "status_code": 200,
            "message": "the rights of user ann",
            "list": {"access": [], "deny": []},
        })
    );
    let by_password = client
        .get("/auth/user")
        .header(Header::new("Authorization", ANN))
        .dispatch();
    assert_eq!(by_password.status, 200);
}

fn with_query_token(app: &App, query_token: bool) {
    let rules = *app.requests.get();
    app.requests.set(RequestRules {
        query_token,
        ..rules
    });
}

#[test]
fn a_token_in_the_query_works_while_the_settings_allow_it() {
    let path = format!("/barman/list-servers?token={BOB_TOKEN}&x=1");
    let (client, _) = local(|_| ());
    let body = client.get(&path).dispatch().json();
    assert_eq!(body["list"], json!({"user": "bob", "given": [["x", "1"]]}));
    let (client, play) = local(|app| with_query_token(app, false));
    assert_eq!(client.get(&path).dispatch().status, 401);
    assert_eq!(play.started(), 0);
}

#[test]
fn credentials_in_two_places_are_refused() {
    let (client, play) = local(|_| ());
    let in_query = format!("/barman/check?token={ANN_TOKEN}");
    for query_token in [true, false] {
        let (client, play) = local(|app| with_query_token(app, query_token));
        let both = bearer(client.get(&in_query), ANN_TOKEN).dispatch();
        assert_eq!(both.status, 400);
        assert_eq!(play.started(), 0);
    }
    let twice = format!("{in_query}&TOKEN={ANN_TOKEN}");
    assert_eq!(client.get(&twice).dispatch().status, 400);
    let headers = bearer(client.get("/barman/check"), ANN_TOKEN);
    let headers = headers.header(Header::new("Authorization", ANN));
    assert_eq!(headers.dispatch().status, 400);
    let in_body = bearer(client.post("/barman/check"), ANN_TOKEN)
        .header(FORM)
        .body(format!("token={ANN_TOKEN}"))
        .dispatch();
    assert_eq!(in_body.status, 400);
    assert_eq!(play.started(), 0);
}

#[test]
fn parameters_come_from_query_form_and_json_alike() {
    let (client, _) = local(|_| ());
    let post = |kind: Header, path: &str, body: &str| {
        let answer = bearer(client.post(path.to_owned()), ANN_TOKEN)
            .header(kind)
            .body(body)
            .dispatch();
        (answer.status, answer.json())
    };
    let (status, body) = post(FORM, "/barman/check?a=1", "b=x+y&b=%26");
    assert_eq!(status, 200);
    assert_eq!(
        body["list"]["given"],
        json!([["a", "1"], ["b", "x y"], ["b", "&"]])
    );
    let json_body = r#"{"b": ["x", 2], "c": true, "d": 1e400}"#;
    let (status, body) = post(JSON, "/barman/check?a=1", json_body);
    assert_eq!(status, 200);
    assert_eq!(
        body["list"]["given"],
        json!([["a", "1"], ["b", ["x", "2"]], ["c", true], ["d", {"number": "1e400"}]])
    );
    for (kind, path, body, word) in [
        (
            FORM,
            "/barman/check?Server-Name=1",
            "server_name=2",
            "server_name",
        ),
        (FORM, "/barman/check", "format=a&format=b", "format"),
        (JSON, "/barman/check", r#"{"a":1,"a":2}"#, "\\\"a\\\""),
        (JSON, "/barman/check", "[1]", "JSON object"),
        (FORM, "/barman/check", "name=%00", "name"),
        (FORM, "/barman/help", "x=1", "takes none"),
    ] {
        let (status, answer) = post(kind, path, body);
        assert_eq!(status, 400, "{body}");
        assert!(answer.to_string().contains(word), "{body}: {answer}");
    }
}

#[test]
fn other_media_types_are_refused() {
    let (client, play) = local(|_| ());
    for kind in [
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin1",
        "application/jsonp",
        "application/x-www-form-urlencoded; x=y",
    ] {
        let answer = bearer(client.post("/barman/check"), ANN_TOKEN)
            .header(Header::new("Content-Type", kind))
            .body("a=1")
            .dispatch();
        assert_eq!(answer.status, 415, "{kind}");
    }
    let untyped = bearer(client.post("/barman/check"), ANN_TOKEN).body("a=1");
    assert_eq!(untyped.dispatch().status, 415);
    let packed = bearer(client.post("/barman/check"), ANN_TOKEN)
        .header(FORM)
        .header(Header::new("Content-Encoding", "gzip"))
        .body("a=1");
    assert_eq!(packed.dispatch().status, 415);
    assert_eq!(play.started(), 0);
    for kind in ["Application/JSON;charset=UTF-8", "application/json"] {
        let answer = bearer(client.post("/barman/check"), ANN_TOKEN)
            .header(Header::new("Content-Type", kind))
            .body("{}")
            .dispatch();
        assert_eq!(answer.status, 200, "{kind}");
    }
}

#[test]
fn a_get_with_a_body_is_refused() {
    let (client, play) = local(|_| ());
    let answer = bearer(client.get("/barman/check"), ANN_TOKEN)
        .header(JSON)
        .body("{}")
        .dispatch();
    assert_eq!(answer.status, 400);
    assert_eq!(play.started(), 0);
}

#[test]
fn a_body_shorter_or_longer_than_stated_is_refused() {
    let (client, play) = local(|_| ());
    for (length, status) in [("3", 200), ("2", 400), ("40", 400), ("-3", 400), ("", 400)] {
        let answer = bearer(client.post("/barman/check"), ANN_TOKEN)
            .header(FORM)
            .header(Header::new("Content-Length", length))
            .body("a=1")
            .dispatch();
        assert_eq!(answer.status, status, "{length}");
    }
    assert_eq!(play.started(), 1);
}

#[test]
fn readiness_names_its_reasons() {
    let (client, play) = local(|_| ());
    let ready = client.get("/readyz").dispatch();
    assert_eq!(ready.json(), json!({"status": "ready"}));
    play.not_ready
        .lock()
        .unwrap()
        .push("Barman cannot be reached".to_owned());
    let answer = client.get("/readyz").dispatch();
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json()["reasons"],
        json!(["Barman cannot be reached"])
    );
    assert_eq!(
        client.get("/healthz").dispatch().json(),
        json!({"status": "ok"})
    );
}
