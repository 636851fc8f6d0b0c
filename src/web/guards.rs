//! Who is calling, as the request states it: credentials are read here and judged in `auth`.

use std::borrow::Cow;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, AsHeaderName, HOST, IF_MATCH, ORIGIN};
use hyper::http::request::Parts;

use super::query::Pairs;
use crate::parameters::{Value, same};

/// The longest credentials that are looked at, in bytes.
const MAX_CREDENTIALS: usize = 8 * 1024;

/// What a request brings to show who sends it.
///
/// It has no `Debug`, so that neither a password nor a token can reach a log.
pub(super) enum Credentials {
    /// Nothing.
    None,
    /// Something that can't be read or is not taken. Whoever has tried is nobody else instead.
    Unreadable,
    /// A name and a password (RFC 7617).
    Basic(Login),
    /// A token, from the header (RFC 6750) or the query.
    Token(String),
}

/// A name and a password.
pub(super) struct Login {
    /// The name.
    pub(super) name: String,
    /// The password.
    pub(super) password: String,
}

/// Credentials in two places, of which two readers could choose differently.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CredentialsError {
    /// Two `Authorization` headers.
    #[error("there is more than one Authorization header; send one")]
    TwoHeaders,
    /// A header and a query parameter.
    #[error("credentials are given in the Authorization header and as 'token'; send one of them")]
    TwoPlaces,
    /// More than one `token`, or one that is empty.
    #[error("'token' must be given once and not be empty")]
    QueryToken,
}

/// The values of a header, in the order they came.
pub(super) fn all(
    headers: &HeaderMap,
    name: impl AsHeaderName,
) -> impl Iterator<Item = Cow<'_, str>> {
    let values = headers.get_all(name).into_iter();
    values.map(|value| String::from_utf8_lossy(value.as_bytes()))
}

/// The value of a header that was given once.
pub(super) fn one(headers: &HeaderMap, name: impl AsHeaderName) -> Option<Cow<'_, str>> {
    let mut values = all(headers, name);
    values.next().filter(|_| values.next().is_none())
}

/// Reads the credentials and takes `token` out of the query.
///
/// Where `query_token` is off, a token in the query counts as none.
///
/// # Errors
/// See [`CredentialsError`]; the caller of the API has to decide which credentials are meant.
pub(super) fn credentials(
    headers: &HeaderMap,
    query: &mut Pairs,
    query_token: bool,
) -> Result<Credentials, CredentialsError> {
    let mut given = all(headers, AUTHORIZATION);
    let header = given.next();
    if given.next().is_some() {
        return Err(CredentialsError::TwoHeaders);
    }
    let mut tokens = query.extract_if(.., |(key, _)| same(key, "token"));
    let token = tokens.next();
    if tokens.next().is_some() {
        return Err(CredentialsError::QueryToken);
    }
    drop(tokens);
    match (header, token) {
        (Some(_), Some(_)) => Err(CredentialsError::TwoPlaces),
        (Some(header), None) => Ok(from_header(&header)),
        (None, Some((_, Value::Text(token)))) if !token.is_empty() => Ok(if query_token {
            from_token(&token)
        } else {
            Credentials::Unreadable
        }),
        (None, Some(_)) => Err(CredentialsError::QueryToken),
        (None, None) => Ok(Credentials::None),
    }
}

/// Reads an `Authorization` header; whatever is not exactly right counts as no credentials.
fn from_header(header: &str) -> Credentials {
    let Some((scheme, rest)) = header.split_once(' ') else {
        return Credentials::Unreadable;
    };
    if scheme.eq_ignore_ascii_case("Bearer") {
        from_token(rest)
    } else if scheme.eq_ignore_ascii_case("Basic") {
        from_basic(rest).map_or(Credentials::Unreadable, Credentials::Basic)
    } else {
        Credentials::Unreadable
    }
}

/// A token of RFC 6750's alphabet, in which no other word can hide.
fn from_token(token: &str) -> Credentials {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if (1..=MAX_CREDENTIALS).contains(&token.len()) && token.bytes().all(plain) {
        Credentials::Token(token.to_owned())
    } else {
        Credentials::Unreadable
    }
}

/// Name and password of RFC 7617: base64 with its padding, UTF-8, split at the first colon, no
/// control characters.
fn from_basic(encoded: &str) -> Option<Login> {
    if encoded.len() > MAX_CREDENTIALS {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    if decoded.chars().any(char::is_control) {
        return None;
    }
    let (name, password) = decoded.split_once(':')?;
    Some(Login {
        name: name.to_owned(),
        password: password.to_owned(),
    })
}

/// Whether the caller asked for a ticket (`Prefer: respond-async`, RFC 7240).
pub(super) fn prefers_async(headers: &HeaderMap) -> bool {
    all(headers, "Prefer").any(|header| {
        header
            .split(',')
            .filter_map(|preference| preference.split(';').next())
            .any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
    })
}

/// Whether the caller takes gzip (RFC 9110, 12.5.3); it has to name it.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    all(headers, ACCEPT_ENCODING).any(|header| header.split(',').any(names_gzip))
}

fn names_gzip(coding: &str) -> bool {
    let mut words = coding.split(';').map(str::trim);
    let name = words.next().unwrap_or_default();
    let weight = words.find_map(|word| word.strip_prefix("q=").or(word.strip_prefix("Q=")));
    let weight = weight.map_or(Ok(1.0), str::parse::<f32>);
    ["gzip", "x-gzip"]
        .iter()
        .any(|gzip| name.eq_ignore_ascii_case(gzip))
        && weight.is_ok_and(|weight| weight > 0.0)
}

/// The entity tags that the caller has seen (`If-Match`, RFC 9110, 13.1.1).
pub(super) fn if_match(headers: &HeaderMap) -> Option<String> {
    let given: Vec<_> = all(headers, IF_MATCH).collect();
    (!given.is_empty()).then(|| given.join(","))
}

/// Whether the caller is a browser that shows pages, and would ask its user for a password.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    all(headers, ACCEPT).any(|header| header.to_ascii_lowercase().contains("text/html"))
}

/// Whether a request may be made with what the connection alone says of its sender.
///
/// A browser shows a certificate, and reaches a port of its own host, for whatever page asks it to.
/// It says so in these headers, which no page can change.
pub(super) fn asks_for_itself(headers: &HeaderMap) -> bool {
    let of_page = |site: Cow<'_, str>| !["none", "same-origin"].contains(&&*site);
    !headers.contains_key(ORIGIN) && !all(headers, "Sec-Fetch-Site").any(of_page)
}

/// Whether the request names this host by a name that is this host's for everybody: no name that
/// somebody else could let point here. A target with a host counts before the header (RFC 9112, 3.2.2).
pub(super) fn names_this_host(head: &Parts) -> bool {
    let target = head.uri.authority().map(|host| Cow::from(host.as_str()));
    let Some(host) = target.or_else(|| one(&head.headers, HOST)) else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => &host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(header: &str) -> Option<(String, String)> {
        match from_header(header) {
            Credentials::Basic(login) => Some((login.name, login.password)),
            _ => None,
        }
    }

    fn token(header: &str) -> Option<String> {
        match from_header(header) {
            Credentials::Token(token) => Some(token),
            _ => None,
        }
    }

    #[test]
    fn basic_credentials_split_at_the_first_colon() {
        let header = format!("basic {}", STANDARD.encode("ann:p:w ä"));
        assert_eq!(basic(&header), Some(("ann".to_owned(), "p:w ä".to_owned())));
    }

    #[test]
    fn basic_credentials_that_are_not_exactly_right_are_none() {
        for header in [
            "Basic".to_owned(),
            "Basic ".to_owned(),
            "Basic YW5uOnB3".to_owned() + "=",
            "Basic YW5uOnA".to_owned(),
            "Basic  YW5uOnB3".to_owned(),
            "Basic YW5u\nOnB3".to_owned(),
            format!("Basic {}", STANDARD.encode("no colon")),
            format!("Basic {}", STANDARD.encode("ann:p\0w")),
            format!("Basic {}", STANDARD.encode(b"ann:\xff")),
            format!(
                "Basic {}",
                STANDARD.encode(format!("a:{}", "x".repeat(9000)))
            ),
            "Digest YW5uOnB3".to_owned(),
        ] {
            assert_eq!(basic(&header), None, "{header}");
        }
        assert!(basic("Basic YW5uOnB3").is_some());
    }

    #[test]
    fn gzip_is_taken_by_those_who_name_it_and_do_not_refuse_it() {
        for coding in ["gzip", " GZip;q=0.5", "x-gzip", "gzip; q=1"] {
            assert!(names_gzip(coding), "{coding}");
        }
        for coding in [
            "",
            "*",
            "br",
            "gzip;q=0",
            "gzip; q=0.000",
            "gzip;q=x",
            "gzipped",
        ] {
            assert!(!names_gzip(coding), "{coding}");
        }
    }

    #[test]
    fn a_token_has_its_own_alphabet() {
        assert_eq!(token("bearer a.b-c_d"), Some("a.b-c_d".to_owned()));
        for header in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a,b",
            "Bearer ä",
            "a.b.c",
        ] {
            assert_eq!(token(header), None, "{header}");
        }
    }
}
