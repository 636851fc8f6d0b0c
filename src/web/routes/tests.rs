use super::*;

#[test]
fn only_the_probes_are_open_and_only_they_take_head() {
    for row in ROUTES {
        let open = ["/healthz", "/readyz"].contains(&row.path);
        assert_eq!(row.auth == AuthKind::Open, open, "{}", row.path);
        assert_eq!(row.right == Right::Open, open, "{}", row.path);
        assert_eq!(
            matches!(row.handler, Handler::Open(_)),
            open,
            "{}",
            row.path
        );
        assert_eq!(row.methods.contains(&Method::HEAD), open, "{}", row.path);
    }
}

#[test]
fn a_password_is_taken_where_the_documents_say_and_nowhere_else() {
    for row in ROUTES {
        let basic = matches!(row.auth, AuthKind::Basic | AuthKind::BasicOrToken);
        assert_eq!(
            basic,
            row.path == "/auth/token" || row.path.starts_with("/auth/user"),
            "{}",
            row.path
        );
        assert_eq!(
            row.auth == AuthKind::Basic,
            matches!(row.handler, Handler::Login(_)),
            "{}",
            row.path
        );
    }
}

#[test]
fn every_route_of_the_family_answers_get_and_post_but_those_that_undo() {
    let family = ROUTES
        .iter()
        .filter(|row| row.family == Family::Barmanapi && row.auth != AuthKind::Open);
    for row in family {
        let undoes = row.path == "/history/cancel" || row.path.ends_with("/rollback");
        let allow = if undoes { "POST" } else { "GET, POST" };
        assert_eq!(row.allow(), allow, "{}", row.path);
    }
}

#[test]
fn a_right_is_the_path_itself() {
    for row in ROUTES {
        match row.right {
            Right::Path(path) => {
                let whole = row.path.strip_suffix(REVISION);
                let whole = whole.map_or(row.path, |path| path.trim_end_matches('/'));
                assert_eq!(whole, format!("/{path}"));
            }
            Right::Command => assert!(
                row.path.contains(COMMAND) || row.family == Family::PgBackupApi,
                "{}",
                row.path
            ),
            Right::Known => assert!(
                row.path.starts_with("/auth/") || row.path == "/status",
                "{}",
                row.path
            ),
            Right::Open => {}
        }
    }
}

#[test]
fn no_path_stands_twice_in_the_table() {
    let mut paths: Vec<&str> = ROUTES.iter().map(|row| row.path).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), ROUTES.len());
}
