//! The rows of the architecture: a module imports from rows below its own and from nowhere else.

use std::fs;
use std::path::{Path, PathBuf};

/// The rows from the bottom up; `main` stands for the program.
const ROWS: [&[&str]; 11] = [
    &[
        "names",
        "output",
        "parameters",
        "atomicfile",
        "blocking",
        "certificates",
        "clock",
        "destinations",
        "fresh",
        "live",
        "redact",
        "telemetry",
        "audit",
        "visitors",
    ],
    &["inifile"],
    &["settings"],
    &["catalogue", "policy", "runner", "store"],
    &["auth"],
    &["jobs", "refresh"],
    &["dispatch", "configfile"],
    &["pgbackupapi"],
    &["web", "frontdoor"],
    &["cli"],
    &["main"],
];

/// Crates that only these files or folders of `src` may name.
const OWNERS: [(&str, &[&str]); 8] = [
    ("hyper", &["web"]),
    ("openssh", &["runner/ssh"]),
    ("jsonwebtoken", &["auth/token.rs"]),
    ("argon2", &["auth/password.rs"]),
    ("ini", &["settings"]),
    (
        "tokio_rustls",
        &["frontdoor", "certificates", "cli/probe.rs"],
    ),
    ("x509_parser", &["frontdoor", "certificates"]),
    ("rcgen", &["cli/pki.rs"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// A line without what stands in strings and comments.
fn code_of(line: &str) -> String {
    let mut code = String::new();
    let (mut inside, mut escaped) = (false, false);
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => inside = !inside,
            '/' if !inside && rest.peek() == Some(&'/') => break,
            c if !inside => code.push(c),
            _ => {}
        }
    }
    code
}

/// The source text without comments and string contents, one path name for each source file.
fn code() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(
        files.len() > 20,
        "only {} source files were found",
        files.len()
    );
    let strip = |text: String| text.lines().map(code_of).collect::<Vec<_>>().join("\n");
    let name = |path: &PathBuf| path.strip_prefix(&root).unwrap().display().to_string();
    files
        .iter()
        .map(|path| (name(path), strip(fs::read_to_string(path).unwrap())))
        .collect()
}

fn row_of(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

fn module_of(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

/// The words that follow `prefix` in a text, as `crate::a::b` and `crate::{a::b, c}` name modules.
fn named_after<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    let word = |text: &'a str| -> &'a str {
        let end = text
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len());
        &text[..end]
    };
    let mut found = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        let rest = &text[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut start = true;
            for (index, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if c.is_whitespace() => {}
                    _ if start && depth == 0 => {
                        found.push(word(&group[index..]));
                        start = false;
                    }
                    _ => {}
                }
            }
        } else {
            found.push(word(rest));
        }
    }
    found
}

/// Every import that goes up or sideways, or names a crate that belongs to another file.
fn faults(files: &[(String, String)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (file, text) in files {
        let module = module_of(file);
        if module == "lib" {
            continue;
        }
        let Some(row) = row_of(module) else {
            faults.push(format!("{file}: {module} stands in no row"));
            continue;
        };
        let prefix = if module == "main" {
            "barmanapi::"
        } else {
            "crate::"
        };
        for other in named_after(text, prefix) {
            if other == module {
                continue;
            }
            match row_of(other) {
                Some(below) if below < row => {}
                Some(_) => faults.push(format!("{file} imports {other}, which is not below it")),
                None => faults.push(format!("{file} imports {other}, which stands in no row")),
            }
        }
        for (name, owners) in OWNERS {
            let path = format!("{name}::");
            let used = text.match_indices(&path).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
            });
            let owned = owners
                .iter()
                .any(|owner| file == owner || file.starts_with(&format!("{owner}/")));
            if used && !owned {
                faults.push(format!("{file} names {name}, which belongs to {owners:?}"));
            }
        }
    }
    faults
}

#[test]
fn imports_go_down_only_and_crates_stay_with_their_owners() {
    let faults = faults(&code());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn an_upward_a_sideways_and_a_foreign_import_are_found() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    for (name, text) in [
        ("store/record.rs", "use crate::web::routes;"),
        ("store/record.rs", "use crate::runner::Run;"),
        (
            "jobs/mod.rs",
            "use crate::{names::Ticket, refresh::Refresh};",
        ),
        ("names.rs", "fn f() { crate::clock::now() }"),
        ("auth/users.rs", "use argon2::Params;"),
        ("dispatch/mod.rs", "fn f() -> hyper::Request {}"),
        ("newcomer.rs", ""),
    ] {
        assert_eq!(faults(&[file(name, text)]).len(), 1, "{name}: {text}");
    }
    let allowed = "use crate::{names::{Ticket, Month}, store::Store};\nuse crate::runner::Plan;";
    assert_eq!(
        faults(&[file("jobs/mod.rs", allowed)]),
        Vec::<String>::new()
    );
}
