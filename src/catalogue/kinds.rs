//! The types of parameter values, as `share/commands.conf` names them, and the checks of those
//! types that need nothing but the value itself.

mod forms;
#[cfg(test)]
mod tests;

pub use forms::{is_path, is_plain_command, split_tablespace};

use forms::{
    digits, hexadecimal, is_backup, is_backup_id, is_backup_name, is_size, is_wal_name, is_word, of,
};

/// The type of a parameter's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A server's name.
    Server,
    /// A backup id, one of Barman's words for one, or a backup's name.
    BackupId,
    /// The same, and `auto`.
    BackupIdOrAuto,
    /// A name for a new backup.
    BackupName,
    /// The name of a WAL file.
    WalName,
    /// The name of a recovery target.
    RestorePoint,
    /// A transaction id.
    Xid,
    /// A log sequence number.
    Lsn,
    /// A point in time.
    Time,
    /// A timeline.
    Timeline,
    /// What PostgreSQL does at the recovery target.
    TargetAction,
    /// A number of 0 or more.
    Integer,
    /// A size with an optional unit.
    Size,
    /// A TCP port.
    Port,
    /// A file name without a directory.
    FileName,
    /// A task of Barman.
    Process,
    /// One of the help text's choices.
    Choice,
    /// Any text.
    Text,
    /// A directory inside the chosen restore target.
    RestoreDirectory,
    /// `NAME:DIRECTORY` inside the chosen restore target.
    Tablespace,
    /// A directory strictly inside the chosen restore target.
    WalStaging,
    /// A directory inside the chosen restore target or on the Barman host.
    Staging,
    /// A directory inside a restore target on the Barman host.
    LocalStaging,
    /// The command that reaches the restore target.
    RemoteCommand,
    /// A directory inside the exchange directory.
    ExchangeDirectory,
    /// A file inside the exchange directory.
    ExchangeFile,
    /// The JSON of `config-update`.
    ConfigChanges,
    /// The name of a configuration model.
    Model,
    /// Any text, for users with full access only.
    Full,
    /// Refused to everybody.
    Refused,
}

/// Name in `share/commands.conf`, type, and the form of a value for error texts.
const KINDS: &[(&str, Kind, &str)] = &[
    ("server", Kind::Server, "a server's name"),
    (
        "backup_id",
        Kind::BackupId,
        "a backup id such as 20261120T214304, latest, last, oldest, first, last-failed, latest-full, \
         last-full, or the whole name of a backup",
    ),
    (
        "backup_id_or_auto",
        Kind::BackupIdOrAuto,
        "a backup id such as 20261120T214304, latest, last, oldest, first, last-failed, latest-full, \
         last-full, auto, or the whole name of a backup",
    ),
    (
        "backup_name",
        Kind::BackupName,
        "1 to 64 letters, digits and '_.:-', a letter or digit first, no backup id, no word that \
         barman reserves and no part of 'last-failed'",
    ),
    (
        "wal_name",
        Kind::WalName,
        "a WAL file name: 24 digits and capitals A to F, also with .partial or .XXXXXXXX.backup, or XXXXXXXX.history",
    ),
    (
        "restore_point",
        Kind::RestorePoint,
        "1 to 63 letters, digits, spaces and '_.:+-'",
    ),
    ("xid", Kind::Xid, "digits only"),
    ("lsn", Kind::Lsn, "a log sequence number such as 3/64000000"),
    (
        "time",
        Kind::Time,
        "a time such as '2026-11-20 21:43:04+00:00'",
    ),
    ("timeline", Kind::Timeline, "a number, current or latest"),
    (
        "target_action",
        Kind::TargetAction,
        "pause, promote or shutdown",
    ),
    ("integer", Kind::Integer, "a whole number of 0 or more"),
    ("size", Kind::Size, "a size such as 30Gi or 500MB"),
    ("port", Kind::Port, "a port from 1 to 65535"),
    (
        "file_name",
        Kind::FileName,
        "a file name of letters, digits and '_.-', with no leading dot or hyphen",
    ),
    (
        "process",
        Kind::Process,
        "the name of a task, for example receive-wal",
    ),
    ("choice", Kind::Choice, "one of the listed values"),
    ("text", Kind::Text, "text"),
    ("restore_directory", Kind::RestoreDirectory, PATH),
    (
        "tablespace",
        Kind::Tablespace,
        "NAME:DIRECTORY, the directory an absolute path in its shortest form, of letters, digits and '/._-+=,:@'",
    ),
    ("wal_staging", Kind::WalStaging, PATH),
    ("staging", Kind::Staging, PATH),
    ("local_staging", Kind::LocalStaging, PATH),
    (
        "remote_command",
        Kind::RemoteCommand,
        "the ssh_command of a [target:NAME]",
    ),
    ("exchange_directory", Kind::ExchangeDirectory, PATH),
    ("exchange_file", Kind::ExchangeFile, PATH),
    (
        "config_changes",
        Kind::ConfigChanges,
        "a JSON array of changes",
    ),
    (
        "model",
        Kind::Model,
        "the name of a model: letters, digits and '_.:-', a letter or digit first",
    ),
    ("full", Kind::Full, "text"),
    ("refused", Kind::Refused, "nothing"),
];

/// The form of a path.
const PATH: &str = "an absolute path in its shortest form (no '.', '..', '//' or final '/'), of letters, digits and '/._-+=,:@'";

impl Kind {
    /// Whether values are compared with what is on a disk of the Barman host, or name the way to
    /// another one.
    #[must_use]
    pub fn is_place(self) -> bool {
        matches!(
            self,
            Self::RestoreDirectory
                | Self::Tablespace
                | Self::WalStaging
                | Self::Staging
                | Self::LocalStaging
                | Self::RemoteCommand
                | Self::ExchangeDirectory
                | Self::ExchangeFile
        )
    }

    /// The type of that name in `share/commands.conf`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        KINDS
            .iter()
            .find(|(known, _, _)| *known == name)
            .map(|(_, kind, _)| *kind)
    }

    /// The form a value of the type must have, for error texts.
    #[must_use]
    pub fn expected(self) -> &'static str {
        KINDS
            .iter()
            .find(|(_, kind, _)| *kind == self)
            .map_or("", |(_, _, expected)| expected)
    }

    /// Whether a JSON number may stand for a value of the type.
    #[must_use]
    pub fn takes_numbers(self) -> bool {
        matches!(
            self,
            Self::Xid | Self::Timeline | Self::Integer | Self::Size | Self::Port
        )
    }

    /// Whether a value has the form of the type, as far as the value alone tells.
    ///
    /// What depends on the help text (`choice`), on our configuration (paths inside a root, the
    /// remote command) or on who calls is checked where an argument vector is built.
    #[must_use]
    pub fn accepts(self, value: &str) -> bool {
        match self {
            Self::Server => crate::names::ServerName::parse(value).is_ok(),
            Self::BackupId => is_backup(value),
            Self::BackupIdOrAuto => value == "auto" || is_backup(value),
            Self::BackupName => is_backup_name(value) && !is_backup_id(value) && !is_word(value),
            Self::WalName => is_wal_name(value),
            Self::RestorePoint => of(value, 1..=63, "_. :+-"),
            Self::Xid => digits(value, 1..=20),
            Self::Lsn => value
                .split_once('/')
                .is_some_and(|(high, low)| hexadecimal(high, 1..=8) && hexadecimal(low, 1..=8)),
            Self::Time => of(value, 1..=64, " :+-./,_"),
            Self::Timeline => matches!(value, "current" | "latest") || digits(value, 1..=10),
            Self::TargetAction => matches!(value, "pause" | "promote" | "shutdown"),
            Self::Integer => digits(value, 1..=18),
            Self::Size => is_size(value),
            Self::Port => digits(value, 1..=5) && value.parse::<u16>().is_ok_and(|port| port > 0),
            Self::FileName => of(value, 1..=128, "_.-") && !value.starts_with(['.', '-']),
            Self::Process => {
                value.starts_with(|c: char| c.is_ascii_lowercase())
                    && value.len() <= 64
                    && value
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            }
            Self::Model => {
                value.starts_with(|c: char| c.is_ascii_alphanumeric()) && of(value, 1..=128, "_.:-")
            }
            Self::RestoreDirectory
            | Self::WalStaging
            | Self::Staging
            | Self::LocalStaging
            | Self::ExchangeDirectory
            | Self::ExchangeFile => is_path(value),
            Self::Tablespace => split_tablespace(value).is_some(),
            Self::Choice | Self::Text | Self::RemoteCommand | Self::ConfigChanges | Self::Full => {
                true
            }
            Self::Refused => false,
        }
    }
}
