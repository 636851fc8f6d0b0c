//! Barman's configuration over HTTP: a copy of the lab's files for each test, the real Barman that
//! reads them, here and behind an sshd.

mod at_once;
mod changes;
mod classes;
mod dsn;
mod inherited;
mod kept;
mod links;
mod manual;
mod odd_files;
mod places;
mod refusals;
mod revisions;
mod secrets;
mod seen;
mod texts;
mod trouble;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::rig::{Answer, Barman, Lab, Server, Site, Sshd, StandIn, User};

/// The main file of a copy; there is something of every kind in it.
const MAIN: &str = "\
; Barman of the lab\n\
[barman]\n\
barman_user = @USER@\n\
configuration_files_directory = @DIR@/barman.d\n\
barman_home = @DIR@/home\n\
log_file = @DIR@/barman.log\n\
log_level = INFO\n\
; PostgreSQL's programs\n\
path_prefix = @PG@\n\
immediate_checkpoint = true\n";

/// Comments, blank lines, both separators, a continued value, odd case and an odd order.
const SERVER: &str = "\
# The main server\n\
\n\
[main]\n\
description = \"Main PostgreSQL\"\n\
conninfo: host=@HOST@ port=@PORT@ user=barman dbname=postgres\n\
streaming_conninfo = host=@HOST@ port=@PORT@ user=streaming dbname=postgres\n\
backup_method=postgres\n\
\x20 ; a comment that is indented\n\
Archiver = on\n\
backup_options =\n\
\x20   concurrent_backup\n\
retention_policy   =   REDUNDANCY 3\n\
\n\
; the end";

/// Barman's files of one test.
pub(crate) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(crate) fn new() -> Self {
        let lab = Lab::get();
        let folder = lab.folder("config");
        for name in ["barman.d", "home"] {
            fs::create_dir(folder.join(name)).unwrap();
            lab.own(&folder.join(name));
        }
        let files = Self { folder };
        files.write("barman.conf", MAIN);
        files.write("barman.d/main.conf", SERVER);
        let other = "[other]\ndescription = Other\nconninfo = host=127.0.0.1 port=@PORT@ user=barman dbname=postgres password=s3cr3t-other\nbackup_method = local-rsync\narchiver = on\n";
        files.write("barman.d/other.conf", other);
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file with the lab's facts in place of words like `@PORT@`.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let lab = Lab::get();
        let text = text
            .replace("@DIR@", &self.folder.display().to_string())
            .replace("@USER@", lab.fact("LAB_USER"))
            .replace("@PG@", lab.fact("PG_BIN"))
            .replace("@HOST@", lab.fact("PGHOST"))
            .replace("@PORT@", lab.fact("PGPORT"));
        lab.write(&self.path(name), &text, 0o640);
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Every file that Barman reads, by its name.
    fn all(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut paths = vec![
            self.path("barman.conf"),
            self.path("home/.barman.auto.conf"),
        ];
        for entry in fs::read_dir(self.path("barman.d")).unwrap() {
            paths.push(entry.unwrap().path());
        }
        paths.sort();
        let read = |path: PathBuf| Some((path.clone(), fs::read(&path).ok()?));
        paths.into_iter().filter_map(read).collect()
    }

    /// What the real Barman says, with these files.
    pub(crate) fn barman(&self, arguments: &[&str]) -> String {
        let lab = Lab::get();
        let mut command = lab.command(lab.fact("BARMAN"));
        command
            .arg("-c")
            .arg(self.path("barman.conf"))
            .args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("barman's files are left in {}", self.folder.display());
        } else {
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}

/// A server whose Barman reads a test's own files, here or behind an sshd.
struct Desk {
    server: Server,
    site: Site,
    files: Files,
    sshd: Option<Sshd>,
}

impl Desk {
    fn here(settings: &[&str]) -> Self {
        Self::new(settings, None)
    }

    fn there(settings: &[&str]) -> Self {
        Self::new(settings, Some(Sshd::start(&[])))
    }

    fn new(settings: &[&str], sshd: Option<Sshd>) -> Self {
        Self::prepared(settings, sshd, |_| {})
    }

    /// A desk at which something is done before its server starts.
    fn prepared(settings: &[&str], sshd: Option<Sshd>, prepare: impl FnOnce(&Site)) -> Self {
        let files = Files::new();
        let config = format!(
            "barman.config_file = {}",
            files.path("barman.conf").display()
        );
        let way = sshd.as_ref().map(Sshd::remote_ssh);
        let way = way.map(|way| format!("barman.remote_ssh = {way}"));
        let mut all = vec![config.as_str()];
        if let Some(way) = &way {
            all.extend(["barman.remote = true", way]);
        }
        all.extend(settings);
        let site = Site::new(&Barman::Real, &all);
        site.user("admin", &["--full"]);
        site.user("dba", &["--access", "config"]);
        site.user("reader", &["--access", "config/barman,barman/list-servers"]);
        prepare(&site);
        let server = site.serve();
        Self {
            server,
            site,
            files,
            sshd,
        }
    }

    fn admin(&self) -> User<'_> {
        self.server.login("admin")
    }

    /// The lines of the audit log.
    fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.server.store().join("logs/audit.log")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }
}

/// The real Barman behind a script, which can be told to do something else.
struct Wrapped {
    folder: PathBuf,
}

impl Wrapped {
    fn new() -> Self {
        let lab = Lab::get();
        let folder = lab.folder("wrapped");
        for name in ["bin", "share", "share/man", "share/man/man5"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        let wrapped = Self { folder };
        wrapped.put_back();
        wrapped
    }

    fn program(&self) -> PathBuf {
        self.folder.join("bin/barman")
    }

    fn setting(&self) -> String {
        format!("barman.command = {}", self.program().display())
    }

    /// Writes the script, which does what the file `instead` says.
    fn put_back(&self) {
        let lab = Lab::get();
        let folder = self.folder.display();
        let text = format!(
            "#!/bin/sh\nif test -e {folder}/instead; then . {folder}/instead; fi\nexec {} \"$@\"\n",
            lab.fact("BARMAN")
        );
        lab.write(&self.program(), &text, 0o755);
    }

    /// What it does instead, in the words of a shell; nothing = it is Barman again.
    fn instead(&self, words: &str) {
        let path = self.folder.join("instead");
        if words.is_empty() {
            fs::remove_file(path).unwrap();
        } else {
            Lab::get().write(&path, &format!("{words}\n"), 0o644);
        }
    }
}

impl Drop for Wrapped {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// A disk of a folder's own, with what was in the folder; it goes with the test.
struct Disk {
    path: PathBuf,
}

impl Disk {
    fn over(path: &Path, size: &str) -> Self {
        let lab = Lab::get();
        let path: PathBuf = path.components().collect();
        let kept = path.with_extension("kept");
        let (shown, from) = (path.display().to_string(), kept.display().to_string());
        Lab::as_root(&["cp", "-a", &shown, &from]);
        let (uid, gid) = lab.account();
        let options = format!("size={size},mode=700,uid={uid},gid={gid}");
        Lab::as_root(&["mount", "-t", "tmpfs", "-o", &options, "tmpfs", &shown]);
        Lab::as_root(&["cp", "-a", &format!("{from}/."), &shown]);
        fs::remove_dir_all(kept).unwrap();
        Self { path }
    }

    fn fill(&self) {
        fs::write(self.path.join("full"), vec![0; 64 << 20]).unwrap_err();
    }

    fn free(&self) {
        fs::remove_file(self.path.join("full")).unwrap();
    }

    /// Lets it be written, or not.
    fn remount(&self, how: &str) {
        let options = format!("remount,{how}");
        Lab::as_root(&["mount", "-o", &options, &self.path.display().to_string()]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // In a test that fails there may be nothing to take down.
        let mut umount = std::process::Command::new("umount");
        drop(umount.arg("-l").arg(&self.path).status());
    }
}

/// Both places that Barman can be at.
fn everywhere(settings: &[&str], test: impl Fn(&Desk)) {
    for desk in [Desk::here(settings), Desk::there(settings)] {
        test(&desk);
    }
}

/// A server that Barman takes, where the settings unlock `conninfo`.
fn third() -> Value {
    json!({
        "third.conninfo": "host=127.0.0.1 user=barman dbname=postgres",
        "third.backup_method": "postgres",
        "third.archiver": true,
        "create": true,
    })
}

/// The entity tag of the files now.
#[track_caller]
fn etag(user: &User<'_>) -> String {
    let answer = user.get("/config/barman").expect(200);
    answer.header("etag").unwrap().to_owned()
}

/// A change by JSON, with the tag of the files as they are now.
#[track_caller]
fn change(user: &User<'_>, body: &Value) -> Answer {
    change_with(user, &etag(user), body)
}

/// A change by JSON, with this tag.
#[track_caller]
fn change_with(user: &User<'_>, tag: &str, body: &Value) -> Answer {
    let headers = [("Content-Type", "application/json"), ("If-Match", tag)];
    let body = body.to_string();
    user.request("POST", "/config/barman/change", &headers, body.as_bytes())
}

/// A rollback, with the tag of the files as they are now.
#[track_caller]
fn roll_back(user: &User<'_>, revision: &str) -> Answer {
    let tag = etag(user);
    let headers = [
        ("Content-Type", "application/json"),
        ("If-Match", tag.as_str()),
    ];
    let body = json!({"revision": revision}).to_string();
    user.request("POST", "/config/barman/rollback", &headers, body.as_bytes())
}

/// What `diff` says of two texts: its lines that begin with `<` or `>`.
fn diff(before: &str, after: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (one, other) = (write("one", before), write("other", after));
    let run = |one: &Path, other: &Path| {
        let output = std::process::Command::new("diff")
            .arg(one)
            .arg(other)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let text = run(&one, &other);
    let lines = text.lines().filter(|line| line.starts_with(['<', '>']));
    lines.map(str::to_owned).collect()
}
