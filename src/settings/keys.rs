//! The one table of keys.
//!
//! The parser, the checks, the masking, the sample in `conf/` and the reference in the
//! documentation all come from here.

/// The unit or form of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`; `yes`, `no`, `1` and `0` mean the same.
    Switch,
    /// A whole number within bounds.
    Number(u64, u64),
    /// A number of bytes within bounds; `KiB`, `MiB` and `GiB` are understood.
    Size(u64, u64),
    /// A number of seconds within bounds; `s`, `min` and `h` are understood.
    Time(u64, u64),
    /// An absolute path.
    Path,
    /// An IP address, or `localhost`.
    Address,
    /// A TCP port; 0 takes any free one.
    Port,
    /// Any text on one line.
    Text,
    /// One word of these.
    Choice(&'static [&'static str]),
    /// Names of Barman's commands.
    Commands,
    /// Names of keys of Barman's configuration.
    Keys,
    /// Absolute paths.
    Paths,
}

/// What an empty value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blank {
    /// The default.
    Default,
    /// Something of its own, told in the documentation.
    Meant,
}

/// When a new value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Applies {
    /// From the next request on, once the running service has read the file again.
    Now,
    /// From the next start of the service on.
    Restart,
}

/// Whether a value may be set over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverHttp {
    /// By whoever may change this file.
    Yes,
    /// On disk alone, and why: whoever could set it would gain more than the right to set it.
    Never(&'static str),
}

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The section it stands in; `target:NAME` stands for every section of that form.
    pub section: &'static str,
    /// Its name; `job_timeout.COMMAND` stands for every key of that form.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// The value it has when it is not written, as it would be written.
    pub default: &'static str,
    /// What an empty value means.
    pub blank: Blank,
    /// Whether it is never shown.
    pub secret: bool,
    /// When a new value counts.
    pub applies: Applies,
    /// Whether it may be set over HTTP.
    pub over_http: OverHttp,
    /// What it is for, in a line.
    pub about: &'static str,
}

impl Key {
    const fn new(
        section: &'static str,
        name: &'static str,
        kind: Kind,
        default: &'static str,
        about: &'static str,
    ) -> Self {
        Self {
            section,
            name,
            kind,
            default,
            blank: Blank::Default,
            secret: false,
            applies: Applies::Restart,
            over_http: OverHttp::Yes,
            about,
        }
    }

    /// A new value counts at once.
    const fn now(self) -> Self {
        Self {
            applies: Applies::Now,
            ..self
        }
    }

    /// It is set on disk alone.
    const fn never(self, reason: &'static str) -> Self {
        Self {
            over_http: OverHttp::Never(reason),
            ..self
        }
    }

    const fn blank_is_meant(self) -> Self {
        Self {
            blank: Blank::Meant,
            ..self
        }
    }

    const fn hidden(self) -> Self {
        Self {
            secret: true,
            over_http: OverHttp::Never("it is a secret"),
            ..self
        }
    }
}

const YEAR: u64 = 366 * 24 * 3600;
const GIB: u64 = 1024 * 1024 * 1024;

/// Every key, in the order of the sample.
pub const KEYS: &[Key] = &[
    Key::new("user", "config_file", Kind::Path, "/etc/barmanapi/client.conf", "The users. Left out or blank, /usr/share/barmanapi/client.conf is read when it is the one that exists.").never("whoever names the users is every user"),
    Key::new("user", "secret", Kind::Text, "", "Goes into every password hash; another secret makes all passwords unusable. Blank: one is generated and kept in store_directory.").hidden(),
    Key::new("application", "store_directory", Kind::Path, "/var/lib/barmanapi/", "Tickets, results, logs and what is known of Barman. Its owner runs the service.").never("it holds the secrets and the jobs"),
    Key::new("application", "host", Kind::Address, "127.0.0.1", "The address to listen on. Any other than the loopback needs [tls] or insecure = true.").never("it decides who can reach the service"),
    Key::new("application", "port", Kind::Port, "1935", "The port to listen on; 0 takes any free one.").never("it decides who can reach the service"),
    Key::new("application", "insecure", Kind::Switch, "false", "Lets passwords and tokens cross the network in clear text. Better: [tls].").never("it lets passwords cross the network in clear text"),
    Key::new("application", "debug", Kind::Switch, "false", "Writes more to general.log.").now(),
    Key::new("application", "get_changes", Kind::Switch, "true", "GET may start commands that change something, as barmanapi's clients expect. With false they need POST.").now(),
    Key::new("application", "keep_months", Kind::Number(0, 1200), "0", "Closed months of history that are kept; 0 keeps all.").now().never("what it removes is gone for good"),
    Key::new("tls", "certificate", Kind::Path, "", "The certificate of this service and those between it and its CA, PEM. With it host and port speak TLS alone. What the files of this section hold is read again with each reload.").never("it decides whom clients speak to"),
    Key::new("tls", "key", Kind::Path, "", "The certificate's private key, PEM; chmod 600 or 640.").never("it decides whom clients speak to"),
    Key::new("tls", "client_ca", Kind::Path, "", "The CAs of client certificates, PEM.").never("it decides who is let in"),
    Key::new("tls", "client_certificates", Kind::Choice(&["off", "optional", "required"]), "off", "Whether clients are asked for a certificate. Its common name is the user, who needs no token then.").never("it decides who is let in"),
    Key::new("tls", "crl", Kind::Path, "", "What those CAs have revoked, PEM; a list of each CA that signs. Blank: nothing is looked up.").never("it decides who is let in"),
    Key::new("pgbackupapi", "local_port", Kind::Port, "", "A second port, on 127.0.0.1 in plain HTTP, for clients of pg-backup-api on this host, which bring no credentials; theirs is 7480. Blank: there is none.").never("whoever has an account on this host can use it"),
    Key::new("pgbackupapi", "local_user", Kind::Text, "", "The user of client.conf that requests on local_port without credentials run as.").never("it lends a user's rights to everybody on this host"),
    Key::new("limits", "handshake_time", Kind::Time(1, 3600), "5 s", "For a TLS handshake.").now(),
    Key::new("limits", "header_time", Kind::Time(1, 3600), "10 s", "From the first byte of a request to the end of its headers.").now(),
    Key::new("limits", "body_time", Kind::Time(1, 3600), "30 s", "For the body of a request, once its headers are there.").now(),
    Key::new("limits", "idle_time", Kind::Time(1, 3600), "30 s", "Between two requests of a connection, and for a client to take the next piece of an answer.").now(),
    Key::new("limits", "connections", Kind::Number(16, 100_000), "1024", "Connections at once. Each takes three descriptors (LimitNOFILE); where they do not last, fewer are let in.").now(),
    Key::new("limits", "connections_per_address", Kind::Number(1, 100_000), "64", "Connections at once from one address (an IPv6 /64 is one). Those from this host are not counted.").now(),
    Key::new("barman", "config_file", Kind::Path, "/etc/barman.conf", "Given to Barman as its configuration file. Blank: Barman looks in its own places.").blank_is_meant().never("the file it names can run programs"),
    Key::new("barman", "command", Kind::Path, "/usr/bin/barman", "The barman program, on the Barman host.").never("it is a program that runs"),
    Key::new("barman", "remote", Kind::Switch, "false", "Barman runs on another host, reached by remote_ssh.").never("it decides on which host programs run"),
    Key::new("barman", "remote_ssh", Kind::Text, "", "How to reach it: ssh [-p PORT] [-i FILE] [-o OPTION=VALUE] user@host.").never("it decides on which host programs run"),
    Key::new("barman", "async_command", Kind::Commands, "['backup','cron','recover']", "Commands that always answer with a ticket. [] for none.").now(),
    Key::new("barman", "warm", Kind::Choice(&["auto", "off"]), "auto", "auto keeps a Barman started where it is, here or over SSH, from which commands that only read answer in milliseconds; where that can't be, and with off, each command starts Barman anew.").now(),
    Key::new("barman", "sync_timeout", Kind::Time(1, 24 * 3600), "30 s", "A command that takes longer answers with a ticket and runs on.").now(),
    Key::new("barman", "job_timeout", Kind::Time(0, YEAR), "0", "A command that takes longer is stopped; 0 lets it run.").now(),
    Key::new("barman", "job_timeout.COMMAND", Kind::Time(0, YEAR), "", "The same for one command, for example job_timeout.check = 5 min.").now(),
    Key::new("barman", "max_jobs", Kind::Number(1, 1000), "4", "Commands that run at once; the others wait.").now(),
    Key::new("barman", "queue", Kind::Number(0, 100_000), "1000", "Commands that may wait; one more is refused.").now(),
    Key::new("barman", "output_limit", Kind::Size(1024, GIB), "16 MiB", "What is kept of each output of a command: the first and the last half.").now(),
    Key::new("barman", "any_target", Kind::Switch, "false", "Restores may go anywhere, and by any SSH command: whoever may restore may then run any program as Barman's user.").now().never("whoever may restore could then run any program"),
    Key::new("barman", "allow_commands", Kind::Commands, "", "Commands of database hosts that are off otherwise: put-wal, cloud-wal-archive, cloud-wal-restore.").now().never("it switches commands on that are off for safety"),
    Key::new("barman", "exchange_directory", Kind::Path, "", "The one directory that export-backup writes to and import-backup reads from. Blank: both are refused.").now().never("it opens a directory to reading and writing"),
    Key::new("target:NAME", "ssh_command", Kind::Text, "", "The SSH command of a restore to this target, word for word. Blank: the Barman host itself.").blank_is_meant().now().never("it is a program that runs"),
    Key::new("target:NAME", "directories", Kind::Paths, "", "Directories that restores may go to, with all below them; those of tablespaces that are not relocated, too.").now().never("it opens directories to writing"),
    Key::new("auth_token", "secret", Kind::Text, "", "Signs the tokens: 32 random characters or more. Blank: one is generated and kept in store_directory.").hidden(),
    Key::new("auth_token", "algorithm", Kind::Choice(&["HS256", "HS384", "HS512"]), "HS256", "The signature; tokens with another one are refused."),
    Key::new("auth_token", "token_life", Kind::Time(1, 10 * YEAR), "6000", "How long a token is good. A shorter life counts for tokens that were given before, too.").now(),
    Key::new("auth_token", "query_token", Kind::Switch, "true", "Accepts ?token=TOKEN, as barmanapi's clients send it, beside the Authorization header.").now(),
    Key::new("log", "backup_count", Kind::Number(0, 1000), "5", "Older files of general.log that are kept.").now(),
    Key::new("log", "max_bytes", Kind::Size(0, GIB), "1000000", "general.log begins anew at this size; 0 lets it grow.").now(),
    Key::new("audit", "keep_months", Kind::Number(0, 1200), "0", "Closed months of audit.log that are kept; 0 keeps all.").now().never("what it removes are traces, and gone for good"),
    Key::new("config", "unlock", Kind::Keys, "", "Keys of Barman's configuration that may be set over HTTP although they run programs or name paths or hosts.").now().never("what it unlocks runs programs and names paths"),
];

/// The sections and what they are for, in the order of the sample.
pub const SECTIONS: &[(&str, &str)] = &[
    (
        "user",
        "Who may use the API. Add users with: barmanapi user add NAME --full",
    ),
    ("application", "The service itself."),
    (
        "tls",
        "TLS and client certificates. barmanapi pki init makes all that is needed.",
    ),
    (
        "pgbackupapi",
        "What is there for clients of pg-backup-api alone.",
    ),
    (
        "limits",
        "What clients may take of time and connections. A request that is being answered is not hurried.",
    ),
    ("barman", "Barman and the commands that run."),
    (
        "target:NAME",
        "Where restores may go: a section for each place. Without one restores are refused.",
    ),
    (
        "auth_token",
        "The tokens that users get for their password.",
    ),
    (
        "log",
        "general.log in store_directory/logs: what the service does.",
    ),
    (
        "audit",
        "audit.log in store_directory/logs: who asked for what. One file a month.",
    ),
    ("config", "Barman's configuration over HTTP."),
];

/// The key that a section and a name of a file stand for. Names are in lower case here.
#[must_use]
pub fn find(section: &str, name: &str) -> Option<&'static Key> {
    let section = if section.starts_with("target:") {
        "target:NAME"
    } else {
        section
    };
    let name = if name.starts_with("job_timeout.") {
        "job_timeout.COMMAND"
    } else {
        name
    };
    KEYS.iter()
        .find(|key| key.section == section && key.name == name)
}

/// The names of a section's keys.
pub(super) fn names(section: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter()
        .filter(move |key| key.section == section)
        .map(|key| key.name)
}

/// The nearest of some words, when it is near enough to be what was meant.
#[must_use]
pub fn nearest<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    words
        .map(|known| {
            (
                strsim::damerau_levenshtein(&word.to_lowercase(), &known.to_lowercase()),
                known,
            )
        })
        .filter(|(distance, known)| *distance <= known.len().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}
