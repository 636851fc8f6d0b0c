//! Every route of the table, by every method, with and without credentials.

use super::*;
use crate::web::routes::{
    AuthKind, COMMAND, METHODS, OPERATION, REVISION, ROUTES, Right, Row, SERVER,
};

fn path(row: &Row) -> String {
    row.path
        .replace(COMMAND, "check")
        .replace(REVISION, "20261120T214304-k3v9m2x8q4c7")
        .replace(SERVER, "main")
        .replace(OPERATION, "20261120T214304-k3v9m2x8q4c7")
}

fn bearer(token: &str) -> Header {
    Header::new("Authorization", format!("Bearer {token}"))
}

fn right_credentials(row: &Row) -> Header {
    match row.auth {
        AuthKind::Basic => Header::new("Authorization", ANN),
        _ => bearer(ANN_TOKEN),
    }
}

#[test]
fn nothing_but_the_probes_answers_a_stranger() {
    let (client, play) = local(|_| ());
    for row in ROUTES {
        for method in METHODS {
            let expected = match (row.methods.contains(&method), row.auth) {
                (false, _) => 405,
                (true, AuthKind::Open) => 200,
                (true, _) => 401,
            };
            let answer = client.req(&method, path(row)).dispatch();
            assert_eq!(answer.status, expected, "{method} {}", row.path);
            for wrong in ["Bearer nonsense", "Basic YW5uOndyb25n", "Negotiate x"] {
                let request = client.req(&method, path(row));
                let answer = request
                    .header(Header::new("Authorization", wrong))
                    .dispatch();
                assert_eq!(answer.status, expected, "{method} {}", row.path);
            }
        }
    }
    assert_eq!(play.started(), 0);
}

#[test]
fn with_credentials_exactly_the_methods_of_the_table_work() {
    let (client, play) = local(|_| ());
    for row in ROUTES {
        for method in METHODS {
            let before = play.started();
            let answer = client
                .req(&method, path(row))
                .header(right_credentials(row))
                .dispatch();
            if row.methods.contains(&method) {
                assert_eq!(answer.status, 200, "{method} {}", row.path);
            } else {
                assert_eq!(answer.status, 405, "{method} {}", row.path);
                let allow = answer.header("Allow");
                assert_eq!(allow, Some(row.allow().as_str()), "{method} {}", row.path);
                assert_eq!(play.started(), before, "{method} {}", row.path);
            }
        }
    }
}

#[test]
fn a_user_without_the_right_gets_nothing_but_a_refusal() {
    let (client, play) = local(|_| ());
    for row in ROUTES {
        let Right::Path(_) = row.right else { continue };
        for method in row.methods {
            let answer = client
                .req(method, path(row))
                .header(bearer(BOB_TOKEN))
                .dispatch();
            assert_eq!(answer.status, 403, "{method} {}", row.path);
            let body: Json = answer.json();
            assert_eq!(body["type"], "forbidden");
        }
    }
    assert_eq!(play.started(), 0);
}

#[test]
fn a_password_opens_no_route_that_wants_a_token() {
    let (client, play) = local(|_| ());
    for row in ROUTES.iter().filter(|row| row.auth == AuthKind::Token) {
        for method in row.methods {
            let answer = client
                .req(method, path(row))
                .header(Header::new("Authorization", ANN))
                .dispatch();
            assert_eq!(answer.status, 401, "{}", row.path);
        }
    }
    assert_eq!(play.logins.load(Ordering::SeqCst), 0);
    assert_eq!(play.started(), 0);
}

#[test]
fn head_starts_nothing() {
    let (client, play) = local(|_| ());
    let answer = client
        .head("/barman/backup?server_name=main")
        .header(bearer(ANN_TOKEN))
        .dispatch();
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("Allow"), Some("GET, POST"));
    assert_eq!(client.head("/nowhere").dispatch().status, 404);
    assert_eq!(client.head("/readyz").dispatch().status, 200);
    assert_eq!(play.started(), 0);
}

#[test]
fn a_form_cannot_choose_another_method() {
    let (client, play) = local(|_| ());
    for body in [
        "_method=get",
        "_method=delete&x=1",
        "_method=put",
        "%5Fmethod=get",
        "x=1&_method=delete",
        "_method=",
        "_method=nonsense",
    ] {
        let answer = client
            .post("/barman/check")
            .header(bearer(ANN_TOKEN))
            .header(FORM)
            .body(body)
            .dispatch();
        assert_eq!(answer.status, 400, "{body}");
    }
    // Where only POST works, a form that asks for GET is a POST still.
    let answer = client
        .post("/history/cancel")
        .header(bearer(ANN_TOKEN))
        .header(FORM)
        .body("_method=get&ticket=t")
        .dispatch();
    assert_eq!(answer.status, 400);
    assert_eq!(play.started(), 0);
}

#[test]
fn override_headers_are_ignored() {
    let (client, play) = local(|_| ());
    for name in [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
    ] {
        let answer = client
            .get("/history/cancel?ticket=t")
            .header(bearer(ANN_TOKEN))
            .header(Header::new(name, "POST"))
            .dispatch();
        assert_eq!(answer.status, 405, "{name}");
    }
    assert_eq!(play.started(), 0);
}

#[test]
fn with_get_changes_off_a_get_changes_nothing() {
    let (client, play) = local(|app| {
        app.requests.set(RequestRules {
            query_token: true,
            get_changes: false,
            body_time: Duration::from_secs(30),
        });
    });
    for path in ["/auth/logout", "/barman/reload", "/history/cancel"] {
        let answer = client.get(path).header(bearer(ANN_TOKEN)).dispatch();
        assert_eq!(answer.status, 405, "{path}");
        assert_eq!(answer.header("Allow"), Some("POST"), "{path}");
        assert_eq!(play.started(), 0, "{path}");
    }
    for path in ["/auth/logout", "/barman/reload", "/history/cancel"] {
        let answer = client.post(path).header(bearer(ANN_TOKEN)).dispatch();
        assert_eq!(answer.status, 200, "{path}");
    }
    let answer = client
        .get("/barman/help")
        .header(bearer(ANN_TOKEN))
        .dispatch();
    assert_eq!(answer.status, 200);
}

#[test]
fn the_door_learns_how_it_was_asked() {
    let (client, _) = local(|_| ());
    let request = client.get("/barman/context").header(bearer(ANN_TOKEN));
    let answer = request.dispatch();
    let id = answer.header("X-Request-Id").unwrap().to_owned();
    assert_eq!(
        answer.json(),
        json!({"get": true, "async": false, "id": id, "route": "/barman/<command>"})
    );
    let answer = client
        .post("/barman/context")
        .header(bearer(ANN_TOKEN))
        .header(Header::new("Prefer", "wait=10, Respond-Async; x=y"))
        .dispatch();
    let body = answer.json();
    assert_eq!(
        (&body["get"], &body["async"]),
        (&json!(false), &json!(true))
    );
}
