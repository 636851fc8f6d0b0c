//! Where operations belong: to one server, or to the installation as a whole.

use crate::dispatch::{Refusal, RefusalKind, Sort};
use crate::names::{CommandName, Scope, ServerName, Ticket};

/// What operations are about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// The installation.
    Instance,
    /// A server, by its name as it stands in the path; it may be no name at all.
    Server(String),
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Restores a backup.
    Recovery,
    /// Applies a model to a server, or takes it back.
    ConfigSwitch,
    /// Changes Barman's configuration.
    ConfigUpdate,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Recovery, Self::ConfigSwitch, Self::ConfigUpdate];

    /// The word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Recovery => "recovery",
            Self::ConfigSwitch => "config_switch",
            Self::ConfigUpdate => "config_update",
        }
    }

    /// The kind that a word means.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// The command that does it.
    pub(super) fn command(self) -> Result<CommandName, Refusal> {
        super::command(match self {
            Self::Recovery => "restore",
            Self::ConfigSwitch => "config-switch",
            Self::ConfigUpdate => "config-update",
        })
    }

    /// The kind of a job, by the names of its command.
    pub(super) fn of(names: &[CommandName]) -> Option<Self> {
        names.iter().find_map(|name| match name.as_str() {
            "restore" | "recover" => Some(Self::Recovery),
            "config-switch" => Some(Self::ConfigSwitch),
            "config-update" => Some(Self::ConfigUpdate),
            _ => None,
        })
    }
}

impl Place {
    /// The kinds that it can have.
    pub(super) fn kinds(&self) -> &'static [Kind] {
        match self {
            Self::Instance => &[Kind::ConfigUpdate],
            Self::Server(_) => &[Kind::Recovery, Kind::ConfigSwitch],
        }
    }

    /// The servers that a right to it is about. What is no server's name names none.
    pub(super) fn scope(&self) -> Scope {
        match self.server() {
            Some(server) => Scope::Servers(vec![server]),
            None => Scope::Global,
        }
    }

    /// The server, when the name can be one.
    pub(super) fn server(&self) -> Option<ServerName> {
        match self {
            Self::Instance => None,
            Self::Server(name) => ServerName::parse(name).ok(),
        }
    }

    /// The path that a rule of `deny` names it by.
    pub(super) fn path_of_denial(&self) -> String {
        match self {
            Self::Instance => "operations".to_owned(),
            Self::Server(name) => path_of_rules(&name.to_ascii_lowercase())
                .map_or_else(|| "servers".to_owned(), |path| format!("{path}/operations")),
        }
    }

    /// The paths that a rule of `access` may name it by, so that its jobs can be looked at.
    fn paths_of_access(&self) -> Vec<String> {
        match self {
            Self::Instance => vec!["operations".to_owned()],
            Self::Server(name) => path_of_rules(name)
                .map(|path| format!("{path}/operations"))
                .into_iter()
                .collect(),
        }
    }

    /// The jobs that are operations of this place.
    pub(super) fn sort(&self) -> Sort {
        Sort {
            wanted: match self {
                Self::Instance => of_instance,
                Self::Server(_) => of_server,
            },
            scope: self.scope(),
            paths: self.paths_of_access(),
        }
    }

    /// Whether a right to these paths is enough to look at operations.
    pub(super) fn with_own_paths(&self, mut paths: Vec<String>) -> Vec<String> {
        paths.extend(self.paths_of_access());
        paths
    }

    /// Where an operation of it is found.
    pub(super) fn location(&self, id: &Ticket) -> String {
        match self {
            Self::Instance => format!("/operations/{id}"),
            Self::Server(name) => format!("/servers/{}/operations/{id}", encoded(name)),
        }
    }

    /// The answer to a question about a server that Barman does not have.
    pub(super) fn unknown(&self) -> Refusal {
        let words = match self {
            Self::Instance => NOT_FOUND.to_owned(),
            Self::Server(name) => format!("No barman config found for '{}'.", cut(name)),
        };
        Refusal::new(RefusalKind::NotFound, words)
    }
}

/// What is said of an operation that is not there, or not the caller's.
pub(super) const NOT_FOUND: &str = "Resource not found";

/// A text of a caller as it may stand in an answer.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

/// A name as one segment of a path (RFC 3986, 2.1).
fn encoded(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.extend(["%", &format!("{byte:02X}")]);
        }
    }
    segment
}

/// The path that rules name a server by; `None` for a name that no rule can spell.
pub(super) fn path_of_rules(server: &str) -> Option<String> {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    (!server.is_empty() && server.bytes().all(plain)).then(|| format!("servers/{server}"))
}

fn of_instance(names: &[CommandName], _: &Scope, _: &Scope) -> bool {
    Kind::of(names) == Some(Kind::ConfigUpdate)
}

fn of_server(names: &[CommandName], scope: &Scope, own: &Scope) -> bool {
    matches!(own, Scope::Servers(_))
        && scope == own
        && matches!(Kind::of(names), Some(Kind::Recovery | Kind::ConfigSwitch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<CommandName> {
        words
            .iter()
            .map(|word| CommandName::parse(word).unwrap())
            .collect()
    }

    fn scope(server: &str) -> Scope {
        Scope::Servers(vec![ServerName::parse(server).unwrap()])
    }

    #[test]
    fn a_job_is_an_operation_of_its_own_server_and_of_no_other() {
        let restore = names(&["restore", "recover"]);
        let main = Place::Server("main".to_owned()).sort();
        assert!((main.wanted)(&restore, &scope("main"), &main.scope));
        assert!(!(main.wanted)(&restore, &scope("other"), &main.scope));
        assert!(!(main.wanted)(&restore, &Scope::All, &main.scope));
        assert!(!(main.wanted)(
            &names(&["backup"]),
            &scope("main"),
            &main.scope
        ));
        let update = names(&["config-update"]);
        assert!(!(main.wanted)(&update, &scope("main"), &main.scope));
        let instance = Place::Instance.sort();
        assert!((instance.wanted)(&update, &scope("main"), &instance.scope));
        assert!(!(instance.wanted)(
            &restore,
            &scope("main"),
            &instance.scope
        ));
        let no_name = Place::Server("-x".to_owned()).sort();
        assert!(!(no_name.wanted)(&restore, &Scope::Global, &no_name.scope));
    }

    #[test]
    fn an_old_barman_restores_by_the_old_name() {
        assert_eq!(Kind::of(&names(&["recover"])), Some(Kind::Recovery));
        assert_eq!(Kind::of(&names(&["list-servers"])), None);
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.word()), Some(kind));
            assert_eq!(Kind::of(&[kind.command().unwrap()]), Some(kind));
        }
        assert_eq!(Kind::parse("Recovery"), None);
    }

    #[test]
    fn a_location_is_one_path_whatever_the_name() {
        let ticket = Ticket::parse("20261120T214304-k3v9m2x8q4c7").unwrap();
        let of = |name: &str| Place::Server(name.to_owned()).location(&ticket);
        assert_eq!(
            of("bad server/ä"),
            format!("/servers/bad%20server%2F%C3%A4/operations/{ticket}")
        );
        assert_eq!(
            of("main_1.x"),
            format!("/servers/main_1.x/operations/{ticket}")
        );
        assert_eq!(
            Place::Instance.location(&ticket),
            format!("/operations/{ticket}")
        );
    }

    #[test]
    fn only_plain_names_make_a_path_for_rules() {
        assert_eq!(path_of_rules("main-1_a").unwrap(), "servers/main-1_a");
        for name in ["", "a/b", "*", "Main", "a b", "ä", ".."] {
            assert_eq!(path_of_rules(name), None, "{name}");
        }
        let denial = |name: &str| Place::Server(name.to_owned()).path_of_denial();
        assert_eq!(denial("Main"), "servers/main/operations");
        assert_eq!(denial("a/b"), "servers");
    }
}
