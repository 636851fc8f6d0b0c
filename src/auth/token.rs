//! Tokens: JSON Web Tokens signed with HMAC (RFC 7519, RFC 7518 section 3.2).
//!
//! One algorithm is accepted, the configured one. Every claim is required and checked here, against
//! a clock that is passed in. The signature is made by `hmac` and `sha2`: the crypto back ends that
//! jsonwebtoken offers bring RSA and elliptic curves along, for which there is no use here.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result as JwtResult, new_error};
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Sha256, Sha384, Sha512};

use super::secret::Secret;
use crate::live::Live;
use crate::names::UserName;
use crate::settings::Algorithm;

/// Issuer and audience of every token.
const NAME: &str = "barmanapi";

/// Clock difference, in seconds, that is forgiven: two API hosts may share a store.
const LEEWAY: u64 = 2;

/// The longest life, in seconds, that a configuration may give tokens: whatever says it lives
/// longer is none of them.
const LONGEST_LIFE: u64 = 10 * 366 * 24 * 3600;

/// Longest token that is looked at; ours have some 350 bytes.
const LONGEST: usize = 1024;

/// Tokens whose signature is remembered, at most; together they take less than 1 MB.
const REMEMBERED: usize = 1024;

/// The algorithm by the name that `jsonwebtoken` has for it.
fn jwt(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
        Algorithm::Hs384 => jsonwebtoken::Algorithm::HS384,
        Algorithm::Hs512 => jsonwebtoken::Algorithm::HS512,
    }
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserName,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
    stamp: String,
}

/// A token that was accepted: whose it is, and the state of the user it was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) user: UserName,
    pub(super) stamp: String,
}

/// Why a token is refused: for the log, never for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the token has more than {LONGEST} bytes")]
    TooLong,
    #[error("{0}")]
    Malformed(String),
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token lives longer than any token may")]
    TooLasting,
}

/// A token for a user.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// The token itself.
    pub token: String,
    /// Seconds until it expires.
    pub expires_in: u64,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuedToken(*** for {} s)", self.expires_in)
    }
}

/// A token that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("no token could be made: {0}")]
pub struct IssueError(String);

fn cannot(error: impl fmt::Display) -> IssueError {
    IssueError(error.to_string())
}

/// Makes and checks tokens.
pub struct Tokens {
    header: Header,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    life: Live<u64>,
    /// Tokens that were given until then have expired under one of the lives there were.
    expired: AtomicU64,
    stamper: Hmac<Sha256>,
    signed: RwLock<HashMap<String, Arc<Claims>>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({:?}, {} s)", self.header.alg, self.life.get())
    }
}

impl Tokens {
    /// Tokens signed with a secret by an algorithm, valid for `life` (whole seconds count).
    ///
    /// # Errors
    /// When the secret can't be a key, which HMAC has no case of.
    pub fn new(secret: &Secret, algorithm: Algorithm, life: Duration) -> Result<Self, IssueError> {
        // Only the first call of a process has an effect, and no other provider exists in it.
        PROVIDER.install_default().ok();
        let mut validation = Validation::new(jwt(algorithm));
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.set_issuer(&[NAME]);
        validation.set_audience(&[NAME]);
        // Times are checked below, with the caller's clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let mut stamp_key = hmac_of::<Hmac<Sha256>>(secret.bytes()).map_err(cannot)?;
        stamp_key.update(b"barmanapi stamp");
        let stamp_key = stamp_key.finalize().into_bytes();
        Ok(Self {
            header: Header::new(jwt(algorithm)),
            encoding: EncodingKey::from_secret(secret.bytes()),
            decoding: DecodingKey::from_secret(secret.bytes()),
            validation,
            life: Live::new(life.as_secs()),
            expired: AtomicU64::new(0),
            stamper: hmac_of(&stamp_key).map_err(cannot)?,
            signed: RwLock::default(),
        })
    }

    /// Changes how long tokens are valid, those that were made as well where it is shorter. What
    /// has expired by now stays so.
    pub(super) fn set_life(&self, life: Duration, now: u64) {
        let longest = self.life.get().saturating_add(LEEWAY);
        let expired = now.saturating_sub(longest);
        self.expired.fetch_max(expired, Ordering::Relaxed);
        self.life.set(life.as_secs());
    }

    /// Makes a token for a user in the state that the fingerprint stands for.
    pub(super) fn issue(
        &self,
        user: &UserName,
        fingerprint: &[u8],
        now: u64,
    ) -> Result<IssuedToken, IssueError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(cannot)?;
        let life = *self.life.get();
        let claims = Claims {
            iss: NAME.to_owned(),
            aud: NAME.to_owned(),
            sub: user.clone(),
            iat: now,
            nbf: now,
            exp: now.saturating_add(life),
            jti: URL_SAFE_NO_PAD.encode(id),
            stamp: self.stamp(fingerprint),
        };
        let token = jsonwebtoken::encode(&self.header, &claims, &self.encoding).map_err(cannot)?;
        Ok(IssuedToken {
            token,
            expires_in: life,
        })
    }

    /// Checks a token's form, signature, claims and times; whether its user is still in the state
    /// it was made for, the caller compares.
    pub(super) fn accept(&self, token: &str, now: u64) -> Result<Accepted, Refusal> {
        if token.len() > LONGEST {
            return Err(Refusal::TooLong);
        }
        let claims = self.claims(token)?;
        // No token lives longer than tokens do now, whatever it was given for.
        let end = claims.exp.min(claims.iat.saturating_add(*self.life.get()));
        let expired = self.expired.load(Ordering::Relaxed);
        // A clock that was ahead and was set back must not keep everybody out.
        let has_expired = expired <= now && claims.iat <= expired;
        if has_expired || end.saturating_add(LEEWAY) <= now {
            return Err(Refusal::Expired);
        }
        if claims.nbf.max(claims.iat) > now.saturating_add(LEEWAY) {
            return Err(Refusal::NotYet);
        }
        if claims.exp.saturating_sub(claims.iat) > LONGEST_LIFE {
            return Err(Refusal::TooLasting);
        }
        Ok(Accepted {
            user: claims.sub.clone(),
            stamp: claims.stamp.clone(),
        })
    }

    /// What a token says, once its signature is known to be ours.
    ///
    /// That much never changes, so it is found out once; everything that can change with time is
    /// checked with every request.
    fn claims(&self, token: &str) -> Result<Arc<Claims>, Refusal> {
        let signed = self.signed.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(claims) = signed.get(token) {
            return Ok(Arc::clone(claims));
        }
        drop(signed);
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation)
            .map_err(|error| Refusal::Malformed(error.to_string()))?;
        let claims = Arc::new(decoded.claims);
        let mut signed = self.signed.write().unwrap_or_else(PoisonError::into_inner);
        if signed.len() >= REMEMBERED {
            signed.clear();
        }
        signed.insert(token.to_owned(), Arc::clone(&claims));
        Ok(claims)
    }

    /// The state of a user as tokens carry it. It is keyed, for the fingerprint covers the password
    /// hash and a token can be read by whoever holds it.
    pub(super) fn stamp(&self, fingerprint: &[u8]) -> String {
        let mut stamper = self.stamper.clone();
        stamper.update(fingerprint);
        let stamp = stamper.finalize().into_bytes();
        URL_SAFE_NO_PAD.encode(stamp.get(..16).unwrap_or(&stamp))
    }
}

/// An HMAC for a key; any length will do for one (RFC 2104).
fn hmac_of<M: Mac + KeyInit>(key: &[u8]) -> JwtResult<M> {
    M::new_from_slice(key).map_err(|_| new_error(ErrorKind::InvalidKeyFormat))
}

/// HMAC for jsonwebtoken; all else it may ask for is refused.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(Signature::new(*algorithm, key.as_bytes())?)),
    verifier_factory: |algorithm, key| {
        Ok(Box::new(Signature::new(
            *algorithm,
            key.try_get_as_bytes()?,
        )?))
    },
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| unsupported(),
        rsa_pub_components_from_public_key: |_| unsupported(),
        ec_pub_components_from_private_key: |_, _| unsupported(),
        ed_pub_components_from_private_key: |_, _| unsupported(),
        compute_digest: |_, _| unsupported(),
    },
};

fn unsupported<T>() -> JwtResult<T> {
    Err(new_error(ErrorKind::UnsupportedAlgorithm))
}

/// A signature to be made or checked.
enum Signature {
    Hs256(Hmac<Sha256>),
    Hs384(Hmac<Sha384>),
    Hs512(Hmac<Sha512>),
}

impl Signature {
    fn new(algorithm: jsonwebtoken::Algorithm, key: &[u8]) -> JwtResult<Self> {
        match algorithm {
            jsonwebtoken::Algorithm::HS256 => hmac_of(key).map(Self::Hs256),
            jsonwebtoken::Algorithm::HS384 => hmac_of(key).map(Self::Hs384),
            jsonwebtoken::Algorithm::HS512 => hmac_of(key).map(Self::Hs512),
            _ => unsupported(),
        }
    }

    fn name(&self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256(_) => jsonwebtoken::Algorithm::HS256,
            Self::Hs384(_) => jsonwebtoken::Algorithm::HS384,
            Self::Hs512(_) => jsonwebtoken::Algorithm::HS512,
        }
    }
}

impl Signer<Vec<u8>> for Signature {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        Ok(match self {
            Self::Hs256(mac) => mac
                .clone()
                .chain_update(message)
                .finalize()
                .into_bytes()
                .to_vec(),
            Self::Hs384(mac) => mac
                .clone()
                .chain_update(message)
                .finalize()
                .into_bytes()
                .to_vec(),
            Self::Hs512(mac) => mac
                .clone()
                .chain_update(message)
                .finalize()
                .into_bytes()
                .to_vec(),
        })
    }
}

impl Verifier<Vec<u8>> for Signature {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        // `verify_slice` compares in constant time and takes the whole length only.
        let verdict = match self {
            Self::Hs256(mac) => mac.clone().chain_update(message).verify_slice(signature),
            Self::Hs384(mac) => mac.clone().chain_update(message).verify_slice(signature),
            Self::Hs512(mac) => mac.clone().chain_update(message).verify_slice(signature),
        };
        verdict.map_err(|_| SignatureError::new())
    }
}

impl JwtSigner for Signature {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        self.name()
    }
}

impl JwtVerifier for Signature {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        self.name()
    }
}

#[cfg(test)]
mod tests;
