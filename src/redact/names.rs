//! Which key names stand for a secret.

/// Parts of a name that make its value a secret, in lower case; `-` and `_` do not matter.
const PARTS: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "authorization",
    "access_key",
    "api_key",
    "account_key",
    "private_key",
    // A connection string of libpq 18 logs in with them instead of a password.
    "scram_client_key",
    "scram_server_key",
];

/// Names of settings that hold one of the parts and no secret.
const HARMLESS: [&str; 10] = [
    // PostgreSQL: the hash method, a module, and a switch.
    "password_encryption",
    "passwordcheck",
    "password_required",
    "ssl_passphrase_command_supports_reload",
    // Rate limits.
    "token_bucket",
    // Our own settings and answers.
    "auth_token",
    "query_token",
    "token_life",
    "token_type",
    "token_bucket_size",
];

/// What the value of a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing to hide.
    Harmless,
    /// A word of a connection string, which other words may follow.
    Word,
    /// A secret that may hold spaces when it has a line of its own.
    Value,
    /// A secret that holds spaces wherever it stands (a command, a header).
    Phrase,
}

/// Tells what the value of `name` is.
pub(super) fn meaning(name: &[u8]) -> Meaning {
    let name: String = name
        .iter()
        .map(|&byte| match byte {
            b'-' => '_',
            byte if byte.is_ascii() => char::from(byte.to_ascii_lowercase()),
            _ => '?',
        })
        .collect();
    let bare = name.trim_matches(|c| c == '_' || c == '.');
    let squeezed = bare.replace('_', "");
    let part = |part: &str| bare.contains(part) || squeezed.contains(&part.replace('_', ""));
    if HARMLESS.contains(&bare)
        || bare.starts_with("passwordcheck.")
        || !PARTS.into_iter().any(part)
    {
        Meaning::Harmless
    } else if bare.ends_with("password") || bare.ends_with("passwd") {
        Meaning::Word
    } else if bare.ends_with("command") || bare.ends_with("authorization") {
        Meaning::Phrase
    } else {
        Meaning::Value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_in_any_case_and_spelling() {
        for name in [
            "password",
            "PGPASSWORD",
            "sslpassword",
            "encryption_passphrase_command",
            "AWS_SECRET_ACCESS_KEY",
            "azure-credential",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "api-key",
            "apiKey",
            "AccountKey",
            "privateKey",
            "Authorization",
            "sas_token",
            "scram_client_key",
            "SCRAM-Server-Key",
        ] {
            assert_ne!(meaning(name.as_bytes()), Meaning::Harmless, "{name}");
        }
    }

    #[test]
    fn names_that_only_look_like_secrets_are_left() {
        for name in [
            "password_encryption",
            "passwordcheck",
            "passwordcheck.min_length",
            "token_bucket",
            "passive_node",
            "encryption_key_id",
            "slot_name",
            "auth_token",
        ] {
            assert_eq!(meaning(name.as_bytes()), Meaning::Harmless, "{name}");
        }
    }
}
