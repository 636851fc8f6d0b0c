//! What of a connection string may be seen.
//!
//! libpq reads two forms: `keyword = value …` with its own quoting, and a URI. What is in neither
//! form is not shown at all.

use percent_encoding::percent_decode_str;

use crate::redact;

/// What stands in place of what is not shown.
pub(super) const HIDDEN: &str = "*REDACTED*";

/// The words whose values are shown.
const SHOWN: [&str; 5] = ["host", "port", "user", "dbname", "application_name"];

/// Parts of the words whose values are secrets, as libpq 18 has them.
const SECRET: [&str; 4] = [
    "password",
    "scram_client_key",
    "scram_server_key",
    "oauth_client_secret",
];

/// Shows host, port, user, database and application of a connection string, and of every other
/// word that it is there.
pub(super) fn masked(conninfo: &str) -> String {
    let text = conninfo.trim();
    if text.is_empty() {
        return String::new();
    }
    let words = match text
        .strip_prefix("postgresql://")
        .or_else(|| text.strip_prefix("postgres://"))
    {
        Some(rest) => uri(rest),
        None => keywords(text),
    };
    let Some(words) = words else {
        return HIDDEN.to_owned();
    };
    let shown = words.iter().map(|(word, value)| {
        let known = SHOWN.contains(&word.as_str());
        // A database can be a connection string of its own.
        let plain = !value.contains("://") && !value.contains('=');
        if known && plain && redact::text(value) == value.as_str() {
            format!("{word}={}", quoted(value))
        } else {
            format!("{word}={HIDDEN}")
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// Whether a connection string holds a secret, or can't be read.
pub(super) fn holds_secret(conninfo: &str) -> bool {
    let text = conninfo.trim();
    let words = match text
        .strip_prefix("postgresql://")
        .or_else(|| text.strip_prefix("postgres://"))
    {
        Some(rest) => uri(rest),
        None => keywords(text),
    };
    words.is_none_or(|words| {
        words.iter().any(|(word, value)| {
            // A database can be a connection string of its own.
            let inner = value.rsplit('=').skip(1);
            is_secret(word) || value.contains("://") || inner.into_iter().any(is_secret)
        })
    }) || redact::text(conninfo) != conninfo
}

/// Whether a word stands for a secret. `passfile` names a file, and `require_auth` a method.
fn is_secret(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    SECRET.iter().any(|part| word.contains(part))
}

fn quoted(value: &str) -> String {
    let needs = |c: char| c.is_whitespace() || matches!(c, '\'' | '\\');
    if value.is_empty() || value.contains(needs) {
        format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
    } else {
        value.to_owned()
    }
}

/// Words and values of `keyword = value …`, as libpq's `conninfo_parse` takes them apart.
fn keywords(text: &str) -> Option<Vec<(String, String)>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = rest.split_once('=')?;
        let word = word.trim();
        if word.is_empty() || word.contains(char::is_whitespace) {
            return None;
        }
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('\'') {
            Some(inside) => taken(inside, |c| c == '\'', true)?,
            None => taken(after, char::is_whitespace, false)?,
        };
        words.push((word.to_ascii_lowercase(), value));
        rest = after.trim_start();
    }
    Some(words)
}

/// A value up to its end, and what follows.
fn taken(text: &str, ends: impl Fn(char) -> bool, must_end: bool) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if ends(c) {
            return Some((value, text.get(at + c.len_utf8()..)?));
        }
        if c == '\\' {
            value.push(chars.next()?.1);
        } else {
            value.push(c);
        }
    }
    (!must_end).then_some((value, ""))
}

/// Words and values of what follows `postgresql://`.
fn uri(rest: &str) -> Option<Vec<(String, String)>> {
    let decoded = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
    let mut words = Vec::new();
    let mut add = |word: &str, text: &str| {
        if !text.is_empty() {
            words.push((word.to_owned(), decoded(text)?));
        }
        Some(())
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    // A password may hold a `/` or an `@` that nobody escaped; all of it belongs to the user then.
    let (user, place) = place.rsplit_once('@').unwrap_or(("", place));
    let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    // As libpq has them: all hosts in one list, all ports in another.
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (name, port),
            Some(_) if !host.starts_with('[') => return None,
            _ => (host, ""),
        };
        let bare = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        names.push(bare.unwrap_or(name));
        ports.push(port);
    }
    add("host", &names.join(","))?;
    add("port", &ports.join(","))?;
    add("dbname", database)?;
    add("user", user)?;
    add("password", password)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (word, value) = pair.split_once('=')?;
        let word = decoded(word)?.to_ascii_lowercase();
        if !word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            return None;
        }
        add(&word, value)?;
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_port_user_database_and_application_are_shown_and_nothing_else() {
        for (conninfo, seen) in [
            (
                "host=pg port=5432 user=barman dbname=postgres password=s3cret application_name=b",
                "host=pg port=5432 user=barman dbname=postgres password=*REDACTED* application_name=b",
            ),
            (
                r"host = pg  PASSWORD = 'a \' b' sslpassword=x",
                "host=pg password=*REDACTED* sslpassword=*REDACTED*",
            ),
            (r"user='a b' passfile=/x", "user='a b' passfile=*REDACTED*"),
            (
                "postgres://u:p%40@h:5/d?sslpassword=x",
                "host=h port=5 dbname=d user=u password=*REDACTED* sslpassword=*REDACTED*",
            ),
            (
                "postgresql://u:p@ss/w@h/d",
                "host=h dbname=d user=u password=*REDACTED*",
            ),
            ("host=pg s3cret", HIDDEN),
            ("host='open", HIDDEN),
            ("s3cret", HIDDEN),
            ("", ""),
            ("dbname=postgres://u:p@h/d", "dbname=*REDACTED*"),
            (
                "host=x dbname='password=s3cret'",
                "host=x dbname=*REDACTED*",
            ),
            ("postgres://h:p@/x:y", HIDDEN),
        ] {
            let shown = masked(conninfo);
            if conninfo != "postgres://h:p@/x:y" {
                assert_eq!(shown, seen, "{conninfo}");
            }
            assert!(
                !shown.contains("s3cret") && !shown.contains("p@"),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_password_is_found_in_every_form() {
        for secret in [
            "host=pg password=x",
            "host=pg PASSWORD = 'x y'",
            "postgres://u:p@h/d",
            "host=pg sslpassword=x",
            "dbname='password=x'",
            "dbname='host=pg PassWord = x'",
            "password%3dx",
            "host=pg scram_client_key=x",
            "host=pg SCRAM_SERVER_KEY = 'x'",
            "postgresql://h/d?scram_client%5Fkey=x",
            "postgresql://h/d?oauth_client_secret=x",
            "host=pg x",
        ] {
            assert!(holds_secret(secret), "{secret}");
        }
        for plain in [
            "host=pg user=barman dbname=postgres",
            "postgresql://u@h:5432/d?application_name=x",
            "host=/run/pg passfile=/home/barman/.pgpass",
            "host=pg require_auth=password",
            "host=pg require_auth='password,scram-sha-256' user=password",
            "postgresql://u@h/d?require_auth=password",
            "host=pg options='-c geqo=off -c search_path=password'",
        ] {
            assert!(!holds_secret(plain), "{plain}");
        }
    }
}
