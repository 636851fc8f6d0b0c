use super::*;
use crate::settings::Algorithm;
use clap::Parser;
use std::time::Duration;

const OLD: &str =
    "# by hand\n[admin]\npassword = 26588e932c7ccfa1df309280702fe1b5\naccess = []\ndeny = []\n";

/// A context on a users file with this text; the folder lives as long as the first part.
pub(in crate::cli) fn context(text: &str) -> (tempfile::TempDir, AuthContext) {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("client.conf");
    fs::write(&users, text).unwrap();
    let settings = AuthSettings {
        users,
        pepper: Secret::plain("pepper"),
        secret: Secret::plain("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"),
        algorithm: Algorithm::Hs256,
        token_life: Duration::from_secs(6000),
    };
    (dir, AuthContext::new(settings).unwrap())
}

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: UserCommand,
}

fn parse(line: &[&str]) -> Result<UserCommand, clap::Error> {
    let words = std::iter::once("user").chain(line.iter().copied());
    Line::try_parse_from(words).map(|line| line.command)
}

/// Runs a command line; its output and notes, or its error.
fn run(context: &AuthContext, line: &[&str], stdin: &str) -> Result<(String, String), String> {
    let command = parse(line).map_err(|error| error.to_string())?;
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    Session {
        context,
        input: &mut stdin.as_bytes(),
        out: &mut out,
        notes: &mut notes,
    }
    .run(&command)
    .map_err(|error| format!("{error:#}"))?;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ok((text(out), text(notes)))
}

fn text(context: &AuthContext) -> String {
    fs::read_to_string(context.users.path()).unwrap()
}

#[test]
fn the_command_lines_are_sound() {
    use clap::CommandFactory;
    Line::command().debug_assert();
}

#[test]
fn a_user_is_added_with_the_rights_that_were_said() {
    let (_dir, context) = context(OLD);
    let add = [
        "add",
        "op",
        "--access",
        "barman/list-*,barman/backup@main",
        "--deny",
    ];
    let line = [&add[..], &["barman/delete", "--password-stdin"]].concat();
    let (out, _) = run(&context, &line, "secret\nsecond line\n").unwrap();
    let file = context.users.path().display();
    let can = "may do barman/list-*,barman/backup@main but not barman/delete";
    assert_eq!(out, format!("added user op to {file}: {can}\n"));
    let text = text(&context);
    assert!(
        text.starts_with(OLD) && text.contains("access = ['barman/list-*','barman/backup@main']")
    );
    assert!(!text.contains("secret"));
    assert!(
        run(&context, &line, "secret\n")
            .unwrap_err()
            .contains("exists already")
    );
}

#[tokio::test]
async fn the_password_is_the_first_line_without_its_end() {
    for line in ["a b\r\n", "a b\n", "a b", "a b\nmore"] {
        let (_dir, context) = context("");
        run(&context, &["add", "op", "--full", "--password-stdin"], line).unwrap();
        let settings = AuthSettings {
            users: context.users.path().to_owned(),
            pepper: context.pepper.clone(),
            secret: Secret::plain("x"),
            algorithm: Algorithm::Hs256,
            token_life: Duration::from_secs(60),
        };
        let auth = crate::auth::Auth::new(settings).unwrap();
        assert!(auth.basic("op", "a b", None).await.is_ok(), "{line:?}");
    }
}

#[test]
fn rights_are_never_given_silently() {
    let (_dir, context) = context(OLD);
    for line in [
        &["add", "op", "--password-stdin"][..],
        &["add", "op", "--deny", "barman", "--password-stdin"],
        &["add", "op", "--access", "", "--password-stdin"],
        &["add", "op", "--access", "[]", "--password-stdin"],
        &[
            "add",
            "op",
            "--full",
            "--access",
            "barman",
            "--password-stdin",
        ],
        &["add", "op", "--access", "BAR MAN", "--password-stdin"],
        &["add", "x]y", "--full", "--password-stdin"],
        &["add", "op", "--full", "--password", "secret"],
        &["change", "admin"],
        &["change", "admin", "--access", "", "--force"],
        &["change", "admin", "--full", "--access", "barman"],
    ] {
        assert!(run(&context, line, "secret\n").is_err(), "{line:?}");
    }
    assert_eq!(text(&context), OLD);
}

#[test]
fn an_empty_or_overlong_password_is_refused() {
    let (_dir, context) = context(OLD);
    let long = "x".repeat(5000);
    for stdin in ["", "\n", "  \n", "a\0b\n", &long] {
        for line in [
            &["add", "op", "--full", "--password-stdin"][..],
            &["passwd", "admin", "--password-stdin"],
        ] {
            let error = run(&context, line, stdin).unwrap_err();
            assert!(error.contains("1 to 1024 bytes"), "{error}");
        }
    }
    assert_eq!(text(&context), OLD);
}

#[test]
fn a_change_says_what_holds_now() {
    let (_dir, context) = context(OLD);
    run(
        &context,
        &["add", "op", "--access", "barman", "--password-stdin"],
        "x\n",
    )
    .unwrap();
    for (line, can) in [
        (
            &["change", "op", "--deny", "barman/delete"][..],
            "may do barman but not barman/delete",
        ),
        (
            &["change", "op", "--access", "config"],
            "may do config but not barman/delete",
        ),
        (&["change", "op", "--deny", ""], "may do config"),
        (&["change", "op", "--full"], "may do everything"),
        (
            &["change", "op", "--full", "--deny", "config"],
            "may do everything but config",
        ),
    ] {
        let (out, _) = run(&context, line, "").unwrap();
        assert!(
            out.contains(&format!("client.conf: {can}; older tokens are void")),
            "{out}"
        );
    }
}

#[test]
fn the_last_user_with_full_access_goes_only_by_force() {
    let (_dir, context) = context(OLD);
    for line in [
        &["remove", "admin"][..],
        &["change", "admin", "--access", "barman"],
    ] {
        let error = run(&context, line, "").unwrap_err();
        assert!(
            error.contains("--force") && error.contains("last user"),
            "{error}"
        );
        assert_eq!(text(&context), OLD);
    }
    let (out, _) = run(&context, &["remove", "admin", "--force"], "").unwrap();
    assert!(out.starts_with("removed user admin from "), "{out}");
    assert_eq!(text(&context), "# by hand\n");
}

#[test]
fn a_user_who_does_not_exist_is_not_asked_for_a_password() {
    let (_dir, context) = context(OLD);
    for line in [
        &["passwd", "none"][..],
        &["passwd", "none", "--password-stdin"],
        &["remove", "none"],
        &["change", "none", "--full"],
    ] {
        let error = run(&context, line, "").unwrap_err();
        assert_eq!(error, "user \"none\" does not exist");
    }
}

#[test]
fn the_list_names_everybody_and_what_is_wrong() {
    let (_dir, context) = context(&format!(
        "{OLD}[op]\naccess=['barman']\n[bad]\npassword=x\n"
    ));
    let (out, notes) = run(&context, &["list"], "").unwrap();
    assert_eq!(out, "admin  may do everything\nop     may do barman\n");
    assert!(
        notes.contains("\"op\" can't log in: it has no password"),
        "{notes}"
    );
    assert!(
        notes.contains("\"bad\" can't log in: it has no `access`"),
        "{notes}"
    );
    fs::write(context.users.path(), "junk\n").unwrap();
    assert!(run(&context, &["list"], "").unwrap_err().contains("line 1"));
    fs::remove_file(context.users.path()).unwrap();
    let (out, notes) = run(&context, &["list"], "").unwrap();
    assert!(out.is_empty() && notes.contains("no users in"), "{notes}");
}

#[test]
fn a_user_whose_section_is_wrong_can_be_mended_here() {
    let (_dir, context) = context(&format!("{OLD}[op]\npassword=x\n"));
    let (out, _) = run(&context, &["change", "op", "--access", "barman"], "").unwrap();
    assert!(out.contains("may do barman"), "{out}");
    run(&context, &["passwd", "op", "--password-stdin"], "new\n").unwrap();
    assert!(run(&context, &["list"], "").unwrap().1.is_empty());
}

#[test]
fn a_file_that_is_not_ini_is_named_with_its_line_by_every_command() {
    let (_dir, context) = context("junk\n");
    for line in [
        &["add", "op", "--full"][..],
        &["change", "op", "--full"],
        &["passwd", "op"],
        &["remove", "op"],
        &["list"],
    ] {
        let error = run(&context, line, "").unwrap_err();
        assert!(error.contains("client.conf, line 1"), "{error}");
    }
}
