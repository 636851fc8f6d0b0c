//! An sshd of a test's own, which can be frozen, killed, restarted and given another key.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use barmanapi::runner::ssh::Link;
use barmanapi::settings::Remote;
use rustix::process::{Pid, Signal, kill_process};

use super::Lab;

/// A running sshd of the lab's account, stopped when dropped.
pub struct Sshd {
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
    /// The room that its accounts have in `~/.barmanapi`, when that is a small disk.
    room: Option<String>,
}

impl Sshd {
    /// One with these further lines of configuration.
    pub fn start(lines: &[&str]) -> Self {
        Self::start_with(lines, None)
    }

    /// One for which `~/.barmanapi` is a small disk, until it is taken down. Root alone can make one.
    pub fn on_small_disk(room: &str) -> Self {
        Self::start_with(&[], Some(room.to_owned()))
    }

    fn start_with(lines: &[&str], room: Option<String>) -> Self {
        let lab = Lab::get();
        let folder = lab.folder("sshd");
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let mut sshd = Self {
            folder,
            port,
            child: None,
            room,
        };
        sshd.new_host_key();
        sshd.keygen("client_key");
        sshd.permit("");
        sshd.trust();
        sshd.configure(lines);
        sshd.up();
        sshd
    }

    /// Writes its configuration anew; it is read at the next start.
    pub fn configure(&self, lines: &[&str]) {
        let lab = Lab::get();
        let folder = self.folder.display();
        let text = format!(
            "{}\nListenAddress 127.0.0.1\nPort {}\nHostKey {folder}/host_key\nPidFile none\nAuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 200\nLogLevel VERBOSE\n",
            lines.join("\n"),
            self.port,
        );
        lab.write(&self.folder.join("sshd_config"), &text, 0o600);
    }

    /// A file of its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn keygen(&self, name: &str) {
        let path = self.folder.join(name);
        drop(fs::remove_file(&path));
        let made = Lab::get()
            .command("/usr/bin/ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&path)
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
    }

    /// Gives it another host key; it counts from the next start on.
    pub fn new_host_key(&self) {
        self.keygen("host_key");
    }

    /// Puts its host key into `known_hosts`.
    pub fn trust(&self) {
        let key = fs::read_to_string(self.folder.join("host_key.pub")).unwrap();
        let key: Vec<_> = key.split(' ').take(2).collect();
        let line = format!("[127.0.0.1]:{} {}\n", self.port, key.join(" "));
        Lab::get().write(&self.folder.join("known_hosts"), &line, 0o644);
    }

    /// Lets the client's key in, with these words before it.
    pub fn permit(&self, words: &str) {
        let key = fs::read_to_string(self.folder.join("client_key.pub")).unwrap();
        let line = format!("{words}{key}");
        Lab::get().write(&self.folder.join("authorized_keys"), &line, 0o600);
    }

    /// Starts it and waits until it listens.
    pub fn up(&mut self) {
        let sshd = ["/usr/sbin/sshd", "/usr/bin/sshd"];
        let sshd = sshd.iter().find(|path| Path::new(path).exists()).unwrap();
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .unwrap();
        let child = self
            .command(sshd)
            .args(["-D", "-e", "-f"])
            .arg(self.folder.join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let since = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(since.elapsed() < Duration::from_secs(10), "sshd is not up");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A command as the lab's account, in a place of its own when it has a small disk.
    fn command(&self, program: &str) -> Command {
        let lab = Lab::get();
        let Some(room) = &self.room else {
            return lab.command(program);
        };
        let ((uid, gid), home) = (lab.account(), lab.fact("LAB_HOME"));
        let script = format!(
            "install -d -m 0700 -o {uid} -g {gid} {home}/.barmanapi && mount -t tmpfs -o size={room},mode=0700,uid={uid},gid={gid} there {home}/.barmanapi && exec setpriv --reuid {uid} --regid {gid} --clear-groups \"$@\""
        );
        let mut command = Command::new("unshare");
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", home)
            .args(["-m", "sh", "-c", &script, "sh", program]);
        command
    }

    /// `~/.barmanapi` as its sessions see it.
    pub fn disk(&self) -> PathBuf {
        let pid = self.child.as_ref().unwrap().id();
        let home = Lab::get().fact("LAB_HOME");
        PathBuf::from(format!("/proc/{pid}/root{home}/.barmanapi"))
    }

    /// Takes all room of its small disk.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.disk().join("ballast")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    /// Gives it back.
    pub fn free(&self) {
        fs::remove_file(self.disk().join("ballast")).unwrap();
    }

    /// A signal to it and to all that serve a connection, but to nothing that runs in one.
    pub fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            let listener = child.id().cast_signed();
            for pid in [vec![listener], self.connections()].concat() {
                // It may have ended by itself.
                kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap_or_default();
            }
        }
    }

    /// Ends it and all connections, as a host's crash would, but nothing that runs in one.
    pub fn down(&mut self) {
        self.signal(Signal::STOP);
        self.signal(Signal::KILL);
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
        }
    }

    /// The processes that serve a connection.
    pub fn connections(&self) -> Vec<i32> {
        let all = processes();
        let mut found: Vec<_> = self
            .child
            .iter()
            .map(|child| child.id().cast_signed())
            .collect();
        let mut next = 0;
        while let Some(&parent) = found.get(next) {
            let is_ours = |process: &&Process| {
                process.parent == parent && process.words[0].starts_with("sshd")
            };
            found.extend(all.iter().filter(is_ours).map(|process| process.pid));
            next += 1;
        }
        found.split_off(found.len().min(1))
    }

    /// The value of `remote_ssh` that leads to it.
    pub fn remote_ssh(&self) -> String {
        format!(
            "ssh -p {} -i {} -o UserKnownHostsFile={} -o GlobalKnownHostsFile=none {}@127.0.0.1",
            self.port,
            self.file("client_key").display(),
            self.file("known_hosts").display(),
            Lab::get().fact("LAB_USER")
        )
    }

    /// The way to it.
    pub fn link(&self) -> Link {
        self.link_as(Lab::get().fact("LAB_USER"))
    }

    /// The way to it as this account.
    pub fn link_as(&self, user: &str) -> Link {
        let hosts = self.folder.join("known_hosts").display().to_string();
        Link {
            remote: Remote {
                user: user.to_owned(),
                host: "127.0.0.1".to_owned(),
                port: Some(self.port),
                identity: Some(self.folder.join("client_key")),
                options: vec![
                    ("UserKnownHostsFile".to_owned(), hosts),
                    ("GlobalKnownHostsFile".to_owned(), "none".to_owned()),
                ],
            },
            sockets: Link::socket_folder(&self.folder).unwrap(),
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
        let sockets = self.link().sockets;
        self.down();
        if !std::thread::panicking() {
            self.link().end_unused();
            drop(fs::remove_dir_all(sockets));
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}

/// A process as the kernel shows it.
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub state: char,
    pub words: Vec<String>,
}

/// Every process of the host.
pub fn processes() -> Vec<Process> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((_, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let fields: Vec<_> = rest.split_ascii_whitespace().collect();
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        found.push(Process {
            pid,
            parent: fields[1].parse().unwrap(),
            state: fields[0].chars().next().unwrap(),
            words: words
                .split(|byte| *byte == 0)
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect(),
        });
    }
    found
}
