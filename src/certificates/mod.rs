//! Certificates, keys and revocation lists: read from disk, checked together, and made into what TLS
//! needs. Which user a certificate stands for is not decided here.

mod pinned;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime,
};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error as TlsError, RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

pub use pinned::client_of;

/// A key may be used by its owner and read by its group, and that is all.
const KEY_MODE: u32 = 0o027;

/// Before a certificate or list ends, it is told of for this long.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// What TLS is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Our certificate and those between it and its CA, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Who may ask for what as a client; `None` = no client certificate is asked for.
    pub clients: Option<Clients>,
}

/// What client certificates are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// The certificates of the CAs, PEM.
    pub ca: PathBuf,
    /// What the CAs have revoked, PEM.
    pub crl: Option<PathBuf>,
    /// Whether a client without a certificate is refused.
    pub required: bool,
}

/// Something that is wrong with a file, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {wrong}; {write}", file.display())]
pub struct Flaw {
    /// The file.
    pub file: PathBuf,
    /// The key of the configuration that names it.
    pub key: &'static str,
    /// What is wrong.
    pub wrong: String,
    /// What to do.
    pub write: String,
}

impl Flaw {
    fn new(file: &Path, key: &'static str, wrong: impl Into<String>, write: &str) -> Self {
        Self {
            file: file.to_owned(),
            key,
            wrong: wrong.into(),
            write: write.to_owned(),
        }
    }
}

/// What a TLS listener works with.
#[derive(Debug)]
pub struct Tls {
    /// The side of the server.
    pub server: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// What stood in the files, DER, by the keys that name them; the private key apart.
    contents: Vec<(&'static str, Vec<Vec<u8>>)>,
    /// What is right today and will not stay so, or is not as it should be.
    pub warnings: Vec<Flaw>,
}

impl Tls {
    /// Whether a chain of client certificates, the client's own first, is good now.
    ///
    /// # Errors
    /// When it is not, or clients need no certificate.
    pub fn verify(&self, chain: &[Vec<u8>]) -> Result<(), TlsError> {
        let mut chain = chain.iter().map(|der| CertificateDer::from(der.as_slice()));
        let (Some(verifier), Some(own)) = (&self.verifier, chain.next()) else {
            return Err(TlsError::NoCertificatesPresented);
        };
        let between: Vec<_> = chain.collect();
        verifier
            .verify_client_cert(&own, &between, UnixTime::now())
            .map(drop)
    }

    /// The keys of the configuration whose files say something else than those of `old` did.
    #[must_use]
    pub fn renewed_since(&self, old: &Self) -> Vec<&'static str> {
        let new = self
            .contents
            .iter()
            .filter(|one| !old.contents.contains(one));
        new.map(|(key, _)| *key).collect()
    }
}

/// Reads and checks everything.
///
/// # Errors
/// With all that is wrong: a file that is missing, can't be read or is no PEM, a key that others may
/// use or that belongs to another certificate, a list that can't be used.
pub fn load(files: &Files) -> Result<Tls, Vec<Flaw>> {
    let provider = Arc::new(ring::default_provider());
    let mut flaws = Vec::new();
    let mut warnings = Vec::new();
    let mut contents = Vec::new();
    let chain = keep(chain(&files.certificate, "certificate"), &mut flaws);
    let key = keep(private_key(&files.key, &provider), &mut flaws);
    let clients = files.clients.as_ref();
    let verifier = clients.and_then(|clients| {
        let verifier = verifier(clients, &provider, &mut warnings, &mut contents);
        keep(verifier, &mut flaws)
    });
    if let Some(own) = chain.as_ref().and_then(|chain| chain.first()) {
        warnings.extend(times(own, &files.certificate, "certificate"));
    }
    let (Some(chain), Some(key)) = (chain, key) else {
        return Err(flaws);
    };
    contents.push(("certificate", bytes(&chain)));
    let certified = CertifiedKey::new(chain.clone(), key.signing);
    if let Err(TlsError::InconsistentKeys(_)) = certified.keys_match() {
        let wrong = format!("it is not the key of {}", files.certificate.display());
        let write =
            "name the key that the certificate was made with, or have a new certificate made";
        flaws.push(Flaw::new(&files.key, "key", wrong, write));
    }
    if !flaws.is_empty() || clients.is_some() != verifier.is_some() {
        return Err(flaws);
    }
    let server = server_config(provider, chain, key.der, verifier.clone()).map_err(|error| {
        let write = "name a certificate of a server and its key, in PEM";
        let wrong = format!("it can't be used: {error}");
        vec![Flaw::new(&files.certificate, "certificate", wrong, write)]
    })?;
    Ok(Tls {
        server: Arc::new(server),
        verifier,
        contents,
        warnings,
    })
}

fn server_config(
    provider: Arc<CryptoProvider>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, TlsError> {
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let resumes = verifier.is_none();
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if !resumes {
        // A session that goes on is not checked again, and its certificate may have been revoked.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn keep<T>(read: Result<T, Flaw>, flaws: &mut Vec<Flaw>) -> Option<T> {
    read.map_err(|flaw| flaws.push(flaw)).ok()
}

fn read(file: &Path, key: &'static str) -> Result<Vec<u8>, Flaw> {
    fs::read(file).map_err(|error| {
        let write = match error.kind() {
            io::ErrorKind::NotFound => "write where it is, or make one: barmanapi pki init",
            _ => "let the account that runs the service read it",
        };
        Flaw::new(file, key, format!("it can't be read: {error}"), write)
    })
}

/// All objects of one kind in a PEM file, at least one.
fn objects<T: PemObject>(file: &Path, key: &'static str, kind: &str) -> Result<Vec<T>, Flaw> {
    let bytes = read(file, key)?;
    let found: Result<Vec<T>, PemError> = T::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => {
            let wrong = format!("there is no {kind} in it");
            Err(Flaw::new(
                file,
                key,
                wrong,
                &format!("name a PEM file with a {kind}"),
            ))
        }
        Err(error) => {
            let wrong = format!("it is no PEM file: {error}");
            Err(Flaw::new(
                file,
                key,
                wrong,
                &format!("name a PEM file with a {kind}"),
            ))
        }
    }
}

fn chain(file: &Path, key: &'static str) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    let chain: Vec<CertificateDer<'static>> = objects(file, key, "certificate")?;
    match chain
        .iter()
        .find_map(|der| X509Certificate::from_der(der).err())
    {
        None => Ok(chain),
        Some(error) => {
            let wrong = format!("a certificate in it can't be read: {error}");
            Err(Flaw::new(
                file,
                key,
                wrong,
                "name a PEM file with a certificate",
            ))
        }
    }
}

struct Key {
    der: PrivateKeyDer<'static>,
    signing: Arc<dyn tokio_rustls::rustls::sign::SigningKey>,
}

fn private_key(file: &Path, provider: &CryptoProvider) -> Result<Key, Flaw> {
    let mode = fs::metadata(file).map_or(0, |found| found.permissions().mode());
    if mode & KEY_MODE != 0 {
        let wrong = format!("other accounts may use the key (mode {:o})", mode & 0o7777);
        let write = format!("run: chmod 600 {}", file.display());
        return Err(Flaw::new(file, "key", wrong, &write));
    }
    let der = objects::<PrivateKeyDer<'static>>(file, "key", "private key")?
        .into_iter()
        .next();
    let signing = der
        .as_ref()
        .map(|der| provider.key_provider.load_private_key(der.clone_key()));
    match (der, signing) {
        (Some(der), Some(Ok(signing))) => Ok(Key { der, signing }),
        (_, Some(Err(error))) => {
            let wrong = format!("the key can't be used: {error}");
            let write = "name an RSA, ECDSA or Ed25519 key without a passphrase";
            Err(Flaw::new(file, "key", wrong, write))
        }
        _ => Err(Flaw::new(
            file,
            "key",
            "it is empty",
            "name a private key in PEM",
        )),
    }
}

fn verifier(
    clients: &Clients,
    provider: &Arc<CryptoProvider>,
    warnings: &mut Vec<Flaw>,
    contents: &mut Vec<(&'static str, Vec<Vec<u8>>)>,
) -> Result<Arc<dyn ClientCertVerifier>, Flaw> {
    let mut roots = RootCertStore::empty();
    let authorities = chain(&clients.ca, "client_ca")?;
    contents.push(("client_ca", bytes(&authorities)));
    for ca in authorities {
        warnings.extend(times(&ca, &clients.ca, "client_ca"));
        roots.add(ca).map_err(|error| {
            let wrong = format!("a certificate in it can't be used: {error}");
            let write = "name the certificates of the CAs of your clients, in PEM";
            Flaw::new(&clients.ca, "client_ca", wrong, write)
        })?;
    }
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if let Some(file) = &clients.crl {
        let lists: Vec<CertificateRevocationListDer<'static>> =
            objects(file, "crl", "revocation list")?;
        contents.push(("crl", bytes(&lists)));
        for list in &lists {
            warnings.extend(list_times(list, file));
        }
        builder = builder.with_crls(lists);
    }
    if !clients.required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| {
        let file = clients.crl.as_ref().unwrap_or(&clients.ca);
        let key = if clients.crl.is_some() {
            "crl"
        } else {
            "client_ca"
        };
        let wrong = format!("it can't be used: {error}");
        Flaw::new(file, key, wrong, "name PEM files that the CA has made")
    })
}

fn bytes(all: &[impl AsRef<[u8]>]) -> Vec<Vec<u8>> {
    all.iter().map(|one| one.as_ref().to_vec()).collect()
}

fn time_of(seconds: i64) -> SystemTime {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    SystemTime::UNIX_EPOCH + since
}

/// Whether a certificate is good today, and for how long still.
fn times(der: &CertificateDer<'_>, file: &Path, key: &'static str) -> Option<Flaw> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    let now = SystemTime::now();
    let (wrong, write) = if time_of(validity.not_after.timestamp()) <= now {
        let wrong = format!("the certificate has expired on {}", validity.not_after);
        (wrong, "have a new one made")
    } else if time_of(validity.not_before.timestamp()) > now {
        let wrong = format!(
            "the certificate is good from {} on only",
            validity.not_before
        );
        (wrong, "look at the clocks of this host and of the CA")
    } else if time_of(validity.not_after.timestamp()) <= now + SOON {
        let wrong = format!("the certificate expires on {}", validity.not_after);
        (wrong, "have a new one made, and run: barmanapi reload")
    } else {
        return None;
    };
    Some(Flaw::new(file, key, wrong, write))
}

/// Whether a list should have been renewed. It is used all the same: an old list is better than none,
/// and no reason to refuse everybody.
fn list_times(list: &CertificateRevocationListDer<'_>, file: &Path) -> Option<Flaw> {
    let (_, list) = CertificateRevocationList::from_der(list).ok()?;
    let until = list.next_update()?;
    (time_of(until.timestamp()) <= SystemTime::now()).then(|| {
        let wrong = format!("the list was to be renewed by {until}; it is used all the same");
        let write = "get a new one of the CA, and run: barmanapi reload";
        Flaw::new(file, "crl", wrong, write)
    })
}

/// Whether clients can ask for a server by this name or address, or by one that a leading `*.` stands
/// for.
#[must_use]
pub fn is_server_name(text: &str) -> bool {
    let name = ServerName::try_from(text.strip_prefix("*.").unwrap_or(text));
    matches!(name, Ok(name) if !text.starts_with("*.") || matches!(name, ServerName::DnsName(_)))
}

/// A certificate that was revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Its serial number, big-endian.
    pub serial: Vec<u8>,
    /// When, in seconds since 1970.
    pub when: i64,
}

/// The serial number of the first certificate in a PEM text; `None` where there is none.
#[must_use]
pub fn serial_number(pem: &str) -> Option<Vec<u8>> {
    let der = CertificateDer::pem_slice_iter(pem.as_bytes())
        .next()?
        .ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    Some(certificate.raw_serial().to_vec())
}

/// What the revocation list in a PEM text has revoked; `None` where there is none.
#[must_use]
pub fn revoked(pem: &str) -> Option<Vec<Revoked>> {
    let der = CertificateRevocationListDer::pem_slice_iter(pem.as_bytes())
        .next()?
        .ok()?;
    let (_, list) = CertificateRevocationList::from_der(&der).ok()?;
    let all = list.iter_revoked_certificates().map(|one| Revoked {
        serial: one.raw_serial().to_vec(),
        when: one.revocation_date.timestamp(),
    });
    Some(all.collect())
}
