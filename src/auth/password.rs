//! Password hashes: how they are read, made and checked. Every check costs one run of argon2id,
//! also for a user or a hash that does not exist.
//!
//! Spaces at both ends of a password do not count, as in barmanapi 0.3, whose clients send
//! passwords that way. Nothing else is normalised: an `é` typed as two code points is another one.

use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

use super::secret::Secret;

/// Longest password, in bytes.
pub const LONGEST: usize = 1024;

/// Cost of new hashes (OWASP's first choice for argon2id): memory in KiB, passes, lanes.
const COST: (u32, u32, u32) = (19_456, 2, 1);

/// Highest cost that is followed when the users file asks for it: 256 MiB, 10 passes, 4 lanes.
const HIGHEST: (u32, u32, u32) = (256 * 1024, 10, 4);

/// Bytes in a new hash, and the shortest one that is believed.
const HASH_LENGTH: usize = 32;
const SHORTEST_HASH: usize = 16;

/// A stored password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// An argon2id hash.
    Argon2id(Hash),
    /// The md5 that barmanapi 0.3 wrote.
    Md5([u8; 16]),
    /// Nothing that a password can be checked against, and why.
    Unusable(&'static str),
}

/// The parts of an argon2id hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hash {
    params: Params,
    salt: Vec<u8>,
    output: Vec<u8>,
}

impl Stored {
    /// Reads what a users file has as a password.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text.starts_with('$') {
            return parse_phc(text).map_or_else(Self::Unusable, Self::Argon2id);
        }
        match decode_md5(text) {
            Some(hash) => Self::Md5(hash),
            None if text.is_empty() => Self::Unusable("it has no password"),
            None => Self::Unusable("its password is neither an argon2id hash nor an md5"),
        }
    }

    /// Why nobody can log in with it.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Unusable(fault) => Some(fault),
            Self::Argon2id(_) | Self::Md5(_) => None,
        }
    }
}

fn parse_phc(text: &str) -> Result<Hash, &'static str> {
    const FORM: &str = "its password is not an argon2id PHC string";
    let phc = PasswordHash::new(text).map_err(|_| FORM)?;
    if phc.algorithm.as_str() != "argon2id" || phc.version.is_some_and(|version| version != 19) {
        return Err("its password hash is not argon2id version 19");
    }
    let params = Params::try_from(&phc).map_err(|_| FORM)?;
    let (memory, passes, lanes) = HIGHEST;
    if params.m_cost() > memory || params.t_cost() > passes || params.p_cost() > lanes {
        return Err("its password hash asks for more than m=262144, t=10, p=4");
    }
    let (Some(salt), Some(output)) = (phc.salt, phc.hash) else {
        return Err(FORM);
    };
    if output.len() < SHORTEST_HASH || !params.data().is_empty() || !params.keyid().is_empty() {
        return Err(FORM);
    }
    Ok(Hash {
        params,
        salt: salt.as_ref().to_vec(),
        output: output.as_bytes().to_vec(),
    })
}

fn decode_md5(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let number = u128::from_str_radix(text, 16).ok()?;
    Some(number.to_be_bytes())
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The password is right.
    Right,
    /// The password is right and its stored form is to be replaced by this one.
    Outdated(String),
    /// The password is wrong, or there is nothing it could be right for.
    Wrong,
}

/// Why no outcome came.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Too many are waiting.
    #[error("too many logins at once; try again in a moment")]
    Busy,
    /// The password can't be one.
    #[error(
        "a password has 1 to {LONGEST} bytes, spaces at its ends not counted, and no control character such as a line end"
    )]
    Password,
    /// Memory or randomness ran out, or the thread died.
    #[error("the password could not be hashed: {0}")]
    Failed(String),
}

/// The part of a password that counts; `None` when it can't be one. With a control character it
/// could never be sent: Basic has none (RFC 7617).
fn significant(password: &str) -> Option<&str> {
    let fits = password.len() <= LONGEST && !password.chars().any(char::is_control);
    let password = password.trim_matches(' ');
    (fits && !password.is_empty()).then_some(password)
}

/// Hashes a new password on the calling thread: for the command line.
///
/// # Errors
/// When the password is empty, too long or has a control character, or memory runs out.
pub fn hash(pepper: &Secret, password: &str) -> Result<String, HashError> {
    Scratch::default().hash(pepper, password)
}

/// The memory that argon2id works in, kept from one run to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    blocks: Vec<Block>,
}

impl Scratch {
    /// Gives the memory back to the system.
    pub(super) fn release(&mut self) {
        self.blocks = Vec::new();
    }

    /// Whether memory is held.
    pub(super) fn is_held(&self) -> bool {
        self.blocks.capacity() > 0
    }

    /// Hashes a new password with a new salt.
    pub(super) fn hash(&mut self, pepper: &Secret, password: &str) -> Result<String, HashError> {
        let password = significant(password).ok_or(HashError::Password)?;
        self.hash_significant(pepper, password)
    }

    /// Checks a password. Whatever is stored, argon2id runs once.
    pub(super) fn check(
        &mut self,
        pepper: &Secret,
        stored: Option<&Stored>,
        password: &str,
    ) -> Result<Verdict, HashError> {
        match (stored, significant(password)) {
            (Some(Stored::Argon2id(hash)), Some(password)) => {
                let mut output = vec![0; hash.output.len()];
                self.run(pepper, &hash.params, password, &hash.salt, &mut output)?;
                let right = bool::from(output.ct_eq(&hash.output));
                Ok(if right {
                    Verdict::Right
                } else {
                    Verdict::Wrong
                })
            }
            (Some(Stored::Md5(hash)), Some(password)) => {
                let right = bool::from(Md5::digest(password).as_slice().ct_eq(hash));
                let new = self.hash_significant(pepper, password)?;
                Ok(if right {
                    Verdict::Outdated(new)
                } else {
                    Verdict::Wrong
                })
            }
            (None | Some(_), _) => {
                drop(self.hash_significant(pepper, "nobody's password")?);
                Ok(Verdict::Wrong)
            }
        }
    }

    fn hash_significant(&mut self, pepper: &Secret, password: &str) -> Result<String, HashError> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(failed)?;
        let (memory, passes, lanes) = COST;
        let params = Params::new(memory, passes, lanes, Some(HASH_LENGTH)).map_err(failed)?;
        let mut output = [0; HASH_LENGTH];
        self.run(pepper, &params, password, &salt, &mut output)?;
        Ok(format!(
            "$argon2id$v=19$m={memory},t={passes},p={lanes}${}${}",
            STANDARD_NO_PAD.encode(salt),
            STANDARD_NO_PAD.encode(output)
        ))
    }

    fn run(
        &mut self,
        pepper: &Secret,
        params: &Params,
        password: &str,
        salt: &[u8],
        output: &mut [u8],
    ) -> Result<(), HashError> {
        let argon2 = Argon2::new_with_secret(
            pepper.bytes(),
            Algorithm::Argon2id,
            Version::V0x13,
            params.clone(),
        )
        .map_err(failed)?;
        let count = params.block_count();
        if self.blocks.capacity() < count {
            self.release();
            self.blocks.try_reserve_exact(count).map_err(failed)?;
        }
        if self.blocks.len() < count {
            self.blocks.resize(count, Block::new());
        }
        let blocks = self.blocks.get_mut(..count).unwrap_or_default();
        let done = argon2.hash_password_into_with_memory(password.as_bytes(), salt, output, blocks);
        // A hash that costs more than ours does not make us keep more than ours needs.
        if count > usize::try_from(COST.0).unwrap_or(usize::MAX) {
            self.release();
        }
        done.map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> HashError {
    HashError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5_OF_1258: &str = "26588e932c7ccfa1df309280702fe1b5";

    fn check(stored: &str, password: &str) -> Verdict {
        let stored = Stored::parse(stored);
        let pepper = Secret::plain("pepper");
        Scratch::default()
            .check(&pepper, Some(&stored), password)
            .unwrap()
    }

    #[test]
    fn a_new_hash_is_argon2id_and_takes_its_password_alone() {
        let hash = hash(&Secret::plain("pepper"), "right").unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert_eq!(check(&hash, "right"), Verdict::Right);
        assert_eq!(check(&hash, " right  "), Verdict::Right);
        for wrong in ["Right", "right\t", "righ", "", " ", "right\0"] {
            assert_eq!(check(&hash, wrong), Verdict::Wrong, "{wrong:?}");
        }
    }

    #[test]
    fn a_hash_made_with_another_pepper_takes_no_password() {
        let hash = hash(&Secret::plain("other"), "right").unwrap();
        assert_eq!(check(&hash, "right"), Verdict::Wrong);
    }

    #[test]
    fn an_old_md5_takes_its_password_and_asks_to_be_replaced() {
        let Verdict::Outdated(new) = check(MD5_OF_1258, " 1258 ") else {
            panic!("the md5 was not taken");
        };
        assert_eq!(check(&new, "1258"), Verdict::Right);
        assert_eq!(check(&MD5_OF_1258.to_uppercase(), "1259"), Verdict::Wrong);
    }

    #[test]
    fn a_hash_that_costs_too_much_takes_no_password_and_says_why() {
        let tail = "$c29tZXNhbHRzb21lc2FsdA$q/GvOR2nbPY0ijhcGuhOPZSLRkPQtyQRyLF6oJmKXyA";
        for cost in ["m=4194304,t=2,p=1", "m=19456,t=11,p=1", "m=19456,t=2,p=5"] {
            let stored = format!("$argon2id$v=19${cost}{tail}");
            let fault = Stored::parse(&stored).fault().unwrap();
            assert!(fault.contains("more than m=262144"), "{fault}");
            assert_eq!(check(&stored, "any"), Verdict::Wrong);
        }
        let stored = format!("$argon2id$v=19$m=262144,t=10,p=4{tail}");
        assert_eq!(Stored::parse(&stored).fault(), None);
    }

    #[test]
    fn what_is_no_hash_takes_no_password() {
        for stored in [
            "",
            "1258",
            "$argon2i$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$q/GvOR2nbPY0ijhcGuhOPZSLRkPQtyQRyLF6oJmKXyA",
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ",
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$AAAAAA",
            "$2b$12$abcdefghijklmnopqrstuv",
            "26588e932c7ccfa1df309280702fe1b",
            "+6588e932c7ccfa1df309280702fe1b5",
        ] {
            assert!(Stored::parse(stored).fault().is_some(), "{stored:?}");
            assert_eq!(check(stored, stored), Verdict::Wrong);
        }
    }

    #[test]
    fn the_longest_password_has_1024_bytes_and_letters_are_not_normalised() {
        let pepper = Secret::plain("pepper");
        assert!(hash(&pepper, &"x".repeat(LONGEST)).is_ok());
        for bad in [
            "x".repeat(LONGEST + 1),
            "a\0b".to_owned(),
            "a\n".to_owned(),
            "a\tb".to_owned(),
            "a\u{7f}".to_owned(),
            "a\u{85}b".to_owned(),
            String::new(),
            "  ".to_owned(),
        ] {
            assert!(matches!(hash(&pepper, &bad), Err(HashError::Password)));
        }
        let composed = hash(&pepper, "\u{e9}").unwrap();
        assert_eq!(check(&composed, "e\u{301}"), Verdict::Wrong);
    }
}
