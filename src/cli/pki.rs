//! `barmanapi pki`: a certificate authority of one's own, and what it signs.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use time::{Duration, OffsetDateTime};

use crate::atomicfile;
use crate::certificates::{Revoked, is_server_name, revoked, serial_number};
use crate::names::UserName;

/// Where everything lies when nobody says otherwise.
const DIRECTORY: &str = "/etc/barmanapi/pki";

const CA: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const SERVER: &str = "server.crt";
const SERVER_KEY: &str = "server.key";
const CRL: &str = "crl.pem";

/// How long a CA and its lists are good, in days.
const CA_DAYS: u32 = 3650;

/// Certificates begin to be good a little before they are made: clocks differ.
const BEFORE: Duration = Duration::hours(1);

#[derive(Debug, Subcommand)]
pub(super) enum PkiCommand {
    /// Make a CA, a certificate of this server and an empty revocation list; tells what to configure
    Init {
        /// Where they go
        #[command(flatten)]
        place: Place,
        /// A further name or address of this server; its host name and those of the loopback are in
        #[arg(long = "name", value_name = "NAME", value_parser = server_name)]
        names: Vec<String>,
        /// How long the server's certificate is good
        #[command(flatten)]
        life: Life,
    },
    /// Make a certificate for a user of client.conf
    Client {
        /// The user
        #[arg(value_name = "NAME")]
        name: UserName,
        /// Where the CA is, and the certificate goes
        #[command(flatten)]
        place: Place,
        /// How long the certificate is good
        #[command(flatten)]
        life: Life,
    },
    /// Revoke the certificate that `pki client` made for a user
    Revoke {
        /// The user
        #[arg(value_name = "NAME")]
        name: UserName,
        /// Where the CA and the certificate are
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
pub(super) struct Place {
    /// The directory of the CA and all that it makes
    #[arg(long, value_name = "DIR", default_value = DIRECTORY)]
    directory: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Life {
    /// Days that it is good for
    #[arg(long, value_name = "N", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

/// Does what was asked for and tells what was made.
///
/// # Errors
/// When a file exists already, the CA is missing or can't be read, or something can't be written.
pub(super) fn run(command: &PkiCommand) -> anyhow::Result<()> {
    let out = &mut io::stdout().lock();
    match command {
        PkiCommand::Init { place, names, life } => Folder::of(place)?.init(names, life, out),
        PkiCommand::Client { name, place, life } => Folder::of(place)?.client(name, life, out),
        PkiCommand::Revoke { name, place } => Folder::of(place)?.revoke(name, out),
    }
}

/// The directory of a CA.
struct Folder(PathBuf);

type Ca = Issuer<'static, KeyPair>;

impl Folder {
    fn of(place: &Place) -> anyhow::Result<Self> {
        Ok(Self(std::path::absolute(&place.directory)?))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn init(&self, names: &[String], life: &Life, out: &mut dyn Write) -> anyhow::Result<()> {
        self.refuse_to_overwrite(&[CA, CA_KEY, SERVER, SERVER_KEY, CRL])?;
        let mut folder = DirBuilder::new();
        let made = folder.recursive(true).mode(0o755).create(&self.0);
        made.with_context(|| format!("{} can't be made", self.0.display()))?;

        let names = server_names(names);
        let mut server = CertificateParams::new(names.clone())
            .with_context(|| format!("a name of the server can't be used: {}", names.join(", ")))?;
        let common = names.first().map_or("localhost", String::as_str);
        server.distinguished_name.push(DnType::CommonName, common);
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];

        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        let name = format!("barmanapi CA of {common}");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_life(&mut params, CA_DAYS)?;
        let certificate = params.self_signed(&key)?;
        self.write(CA_KEY, &key.serialize_pem(), 0o600, out)?;
        self.write(CA, &certificate.pem(), 0o644, out)?;
        let ca = Ca::new(params, key);
        self.write(CRL, &list(&ca, Vec::new())?, 0o644, out)?;
        self.issue(&ca, server, (SERVER, SERVER_KEY), life, out)?;

        let at = self.0.display();
        writeln!(
            out,
            "\nthe server is {}; write into barmanapi.conf:\n\n[tls]\n\
             certificate = {at}/{SERVER}\nkey = {at}/{SERVER_KEY}\nclient_ca = {at}/{CA}\n\
             client_certificates = optional\ncrl = {at}/{CRL}\n\n\
             clients trust {at}/{CA}, and get certificates with: barmanapi pki client NAME\n\
             {CA_KEY} is needed for that alone; keep it where nobody else can read it",
            names.join(", ")
        )?;
        if rustix::process::geteuid().is_root() {
            writeln!(
                out,
                "the account that runs the service must read the key, for example: chown barman {at}/{SERVER_KEY}"
            )?;
        }
        Ok(())
    }

    fn client(&self, name: &UserName, life: &Life, out: &mut dyn Write) -> anyhow::Result<()> {
        let (certificate, key) = (client_file(name, "crt"), client_file(name, "key"));
        self.refuse_to_overwrite(&[&certificate, &key])?;
        let ca = self.ca()?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, name.as_str());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&ca, params, (&certificate, &key), life, out)?;
        let at = self.0.display();
        writeln!(
            out,
            "\nit stands for user {name} of client.conf, for example:\n\
             curl --cacert {at}/{CA} --cert {at}/{certificate} --key {at}/{key} https://HOST:PORT/auth/user"
        )?;
        Ok(())
    }

    fn revoke(&self, name: &UserName, out: &mut dyn Write) -> anyhow::Result<()> {
        let ca = self.ca()?;
        let file = self.file(&client_file(name, "crt"));
        let serial = serial_number(&read(&file)?)
            .with_context(|| format!("{} is no certificate", file.display()))?;
        let crl = self.file(CRL);
        let mut all = revoked(&read(&crl)?)
            .with_context(|| format!("{} is no revocation list", crl.display()))?;
        if !all.iter().any(|one| one.serial == serial) {
            all.push(Revoked {
                serial: serial.clone(),
                when: OffsetDateTime::now_utc().unix_timestamp(),
            });
        }
        let pem = list(&ca, all)?;
        atomicfile::replace(&crl, pem.as_bytes(), 0o644)
            .with_context(|| format!("{} can't be written", crl.display()))?;
        let when = OffsetDateTime::now_utc().unix_timestamp();
        let old = self.file(&client_file(name, &format!("revoked-{when}")));
        fs::rename(&file, &old).with_context(|| format!("{} can't be renamed", file.display()))?;
        let key = self.file(&client_file(name, "key"));
        match fs::remove_file(&key) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{} can't be removed", key.display()));
            }
            _ => {}
        }
        writeln!(
            out,
            "the certificate of {name} is revoked, and its key removed; the service takes {} \
             with: barmanapi reload",
            crl.display()
        )?;
        Ok(())
    }

    /// Nothing is begun that would be given up half-way.
    fn refuse_to_overwrite(&self, names: &[&str]) -> anyhow::Result<()> {
        for name in names {
            let file = self.file(name);
            if file.symlink_metadata().is_ok() {
                bail!(
                    "{} is there already and is not overwritten; move it away, or name another --directory",
                    file.display()
                );
            }
        }
        Ok(())
    }

    fn ca(&self) -> anyhow::Result<Ca> {
        let certificate = read(&self.file(CA))?;
        let key = read(&self.file(CA_KEY))?;
        let key = KeyPair::from_pem(&key).context("the CA's key can't be used")?;
        Ca::from_ca_cert_pem(&certificate, key).context("the CA's certificate can't be used")
    }

    fn issue(
        &self,
        ca: &Ca,
        mut params: CertificateParams,
        (certificate, key_name): (&str, &str),
        life: &Life,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let key = KeyPair::generate()?;
        set_life(&mut params, life.days)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(&key, ca)?;
        self.write(key_name, &key.serialize_pem(), 0o600, out)?;
        self.write(certificate, &signed.pem(), 0o644, out)
    }

    fn write(&self, name: &str, text: &str, mode: u32, out: &mut dyn Write) -> anyhow::Result<()> {
        let file = self.file(name);
        atomicfile::create(&file, text.as_bytes(), mode)
            .with_context(|| format!("{} can't be written", file.display()))?;
        writeln!(out, "made {}", file.display())?;
        Ok(())
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| {
        format!(
            "{} can't be read; was it made by barmanapi pki?",
            file.display()
        )
    })
}

fn client_file(name: &UserName, ending: &str) -> String {
    format!("client-{name}.{ending}")
}

fn server_name(text: &str) -> Result<String, String> {
    let wrong = "it is no host name (letters, digits, '-', '.'; '*.' in front) and no address";
    is_server_name(text)
        .then(|| text.to_owned())
        .ok_or_else(|| wrong.to_owned())
}

/// What this server is called, its host name first.
fn server_names(further: &[String]) -> Vec<String> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut names = vec![host.trim().to_ascii_lowercase()];
    names.extend(further.iter().cloned());
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| !name.is_empty() && seen.insert(name.clone()));
    names
}

/// A life from now on, under a number that nobody can guess.
fn set_life(params: &mut CertificateParams, days: u32) -> anyhow::Result<()> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    // A positive number of full length, whatever was drawn.
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BEFORE;
    params.not_after = now + Duration::days(days.into());
    Ok(())
}

fn list(ca: &Ca, revoked: Vec<Revoked>) -> anyhow::Result<String> {
    let now = OffsetDateTime::now_utc();
    let revoked = revoked.into_iter().map(|one| {
        Ok(RevokedCertParams {
            serial_number: SerialNumber::from_slice(&one.serial),
            revocation_time: OffsetDateTime::from_unix_timestamp(one.when)?,
            reason_code: None,
            invalidity_date: None,
        })
    });
    let list = CertificateRevocationListParams {
        this_update: now - BEFORE,
        next_update: now + Duration::days(CA_DAYS.into()),
        crl_number: SerialNumber::from(u64::try_from(now.unix_timestamp()).unwrap_or(1)),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect::<anyhow::Result<_>>()?,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(list.signed_by(ca)?.pem()?)
}
