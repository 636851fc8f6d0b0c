//! The listener: slow and many clients, TLS, client certificates, the port for clients of this host.

mod bounds;
mod certificates;
mod local;
mod patroni;
mod pki;
mod renewal;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::Value;
use time::OffsetDateTime;

use crate::rig::{Barman, Lab, Server, Site, StandIn};

/// A site with certificates that the program has made.
struct House {
    site: Site,
    server: Server,
    stand_in: StandIn,
}

/// What came of a request.
#[derive(Debug)]
struct Curl {
    /// 0 = curl has an answer.
    code: i32,
    status: u16,
    head: String,
    body: String,
    words: String,
}

impl Curl {
    #[track_caller]
    fn expect(self, status: u16) -> Self {
        assert_eq!((self.code, self.status), (0, status), "{self:?}");
        self
    }

    /// No answer: the handshake failed, or the other side hung up.
    #[track_caller]
    fn refused(self) {
        assert!(self.code != 0 && self.status == 0, "{self:?}");
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

impl House {
    /// TLS with these further settings, and the users ann (all rights) and bob (a few).
    fn new(settings: &[&str]) -> Self {
        let stand_in = StandIn::new();
        let (site, server) = serve(&Barman::StandIn(&stand_in), settings);
        Self {
            site,
            server,
            stand_in,
        }
    }

    /// The same with the real Barman.
    fn real(settings: &[&str]) -> Self {
        let (site, server) = serve(&Barman::Real, settings);
        Self {
            site,
            server,
            stand_in: StandIn::new(),
        }
    }

    /// A file of the CA.
    fn pki(&self, name: &str) -> PathBuf {
        let text = fs::read_to_string(self.site.file("barmanapi.conf")).unwrap();
        let line = text.lines().find(|line| line.starts_with("client_ca = "));
        let ca = PathBuf::from(line.unwrap().split_once(" = ").unwrap().1);
        ca.parent().unwrap().join(name)
    }

    /// Certificate and key of a user, made by the program.
    fn client(&self, name: &str) -> (PathBuf, PathBuf) {
        let directory = self.pki("").display().to_string();
        run(
            &self.site,
            &["pki", "client", name, "--directory", &directory],
        );
        let file = |ending: &str| self.pki(&format!("client-{name}.{ending}"));
        (file("crt"), file("key"))
    }

    /// Waits until commands can be run, and gives a certificate of a user who runs them.
    #[track_caller]
    fn ready(&self, name: &str) -> (PathBuf, PathBuf) {
        let client = self.client(name);
        let since = Instant::now();
        while self.curl("/readyz", Some(&client), &[]).status != 200 {
            assert!(since.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(20));
        }
        client
    }

    /// A certificate of the test's own, signed by the house's CA unless `by` says otherwise.
    fn odd(
        &self,
        name: &str,
        by: Option<&Path>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.not_after = OffsetDateTime::now_utc() + time::Duration::days(1);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let folder = by.map_or_else(|| self.pki(""), Path::to_owned);
        let signed = if folder.as_os_str().is_empty() {
            params.self_signed(&key).unwrap()
        } else {
            let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
            let ca_key = KeyPair::from_pem(&read("ca.key")).unwrap();
            let ca = Issuer::from_ca_cert_pem(&read("ca.crt"), ca_key).unwrap();
            params.signed_by(&key, &ca).unwrap()
        };
        let file = |ending: &str| self.site.file(&format!("odd.{ending}"));
        let lab = Lab::get();
        lab.write(&file("crt"), &signed.pem(), 0o644);
        lab.write(&file("key"), &key.serialize_pem(), 0o600);
        (file("crt"), file("key"))
    }

    /// A request over TLS, by curl.
    fn curl(&self, target: &str, certificate: Option<&(PathBuf, PathBuf)>, more: &[&str]) -> Curl {
        let mut command = std::process::Command::new("curl");
        command
            .args(["-sS", "-i", "--max-time", "30", "--cacert"])
            .arg(self.pki("ca.crt"))
            .args(["-w", "\n%{http_code}"]);
        if let Some((certificate, key)) = certificate {
            command.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        command.args(more);
        command.arg(format!("https://localhost:{}{target}", self.server.port));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (text, status) = text.rsplit_once('\n').unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        Curl {
            code: output.status.code().unwrap(),
            status: status.parse().unwrap(),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
            words: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Whom the service takes the sender of a request for.
    #[track_caller]
    fn who(&self, certificate: &(PathBuf, PathBuf), more: &[&str]) -> String {
        let answer = self.curl("/auth/user", Some(certificate), more).expect(200);
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        message.rsplit(' ').next().unwrap().to_owned()
    }

    /// A token of a user.
    fn token(&self, name: &str) -> String {
        let output = run(&self.site, &["token", name]);
        format!("Authorization: Bearer {}", output.trim())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.server.store().join("logs/general.log")).unwrap()
    }

    /// Waits for a line of the log.
    #[track_caller]
    fn logs(&self, words: &str) {
        let since = Instant::now();
        while !self.log().contains(words) {
            assert!(since.elapsed() < Duration::from_secs(20), "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A site with certificates, and its server.
fn serve(barman: &Barman<'_>, settings: &[&str]) -> (Site, Server) {
    // The site's folder is not known before it is made.
    let pki = Lab::get().folder("pki");
    let at = |name: &str| pki.join(name).display().to_string();
    let mut all = vec![
        format!("tls.certificate = {}", at("server.crt")),
        format!("tls.key = {}", at("server.key")),
        format!("tls.client_ca = {}", at("ca.crt")),
        format!("tls.crl = {}", at("crl.pem")),
    ];
    all.extend(settings.iter().map(|setting| (*setting).to_owned()));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let site = Site::new(barman, &all);
    let directory = pki.display().to_string();
    run(&site, &["pki", "init", "--directory", &directory]);
    site.user("ann", &["--full"]);
    site.user("bob", &["--access", "history, auth/user, status"]);
    let server = match barman {
        Barman::Real => site.serve_learnt(),
        Barman::StandIn(_) => site.serve_unready(&[]),
    };
    (site, server)
}

/// Runs the program and returns what it says; it must do what it is asked.
#[track_caller]
fn run(site: &Site, arguments: &[&str]) -> String {
    let output = site.run(arguments, "");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
