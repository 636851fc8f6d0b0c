//! A new operation.

use serde_json::json;

use super::document::{Document, incomplete};
use super::place::{Kind, Place, cut};
use super::{Operations, reply};
use crate::auth::Caller;
use crate::dispatch::backups::names_one_of;
use crate::dispatch::{self, CallContext, Refusal, RefusalKind, Reply};
use crate::names::ServerName;
use crate::parameters::{Parameters, Value};

impl Operations {
    /// Starts an operation and answers its id. The same recovery while it runs is the running one.
    pub(super) async fn start(
        &self,
        caller: &Caller,
        place: Place,
        body: &[u8],
        context: CallContext,
    ) -> Result<Reply, Refusal> {
        let prepared = self.prepare(caller, &place, body).await;
        if let Err(refusal) = &prepared {
            let mut entry = dispatch::entry("ran", caller, &context);
            entry.servers = place.server().iter().map(ToString::to_string).collect();
            self.door.note_refusal(entry, Some(refusal)).await;
        }
        let (kind, parameters) = prepared?;
        let command = kind.command()?;
        let ticket = self
            .door
            .begin(caller, &command, context, parameters)
            .await
            .map_err(in_words_of_clients)?;
        Ok(Reply {
            location: Some(place.location(&ticket)),
            ..reply(202, json!({ "operation_id": ticket }))
        })
    }

    /// What a body asks for, as parameters of a command. The door judges them once more.
    async fn prepare(
        &self,
        caller: &Caller,
        place: &Place,
        body: &[u8],
    ) -> Result<(Kind, Parameters), Refusal> {
        // Whoever may do nothing here learns nothing, not even what a body must have.
        self.check_start(caller, place, place.kinds())?;
        let document = Document::read(body)?.ok_or_else(|| nothing_said(place))?;
        let server = match place {
            Place::Instance => None,
            Place::Server(name) => Some(self.existing(place).await?.ok_or_else(|| {
                let words = format!("Server '{}' does not exist", cut(name));
                Refusal::new(RefusalKind::NotFound, words)
            })?),
        };
        let kind = kind(place, &document)?;
        self.check_start(caller, place, &[kind])?;
        let parameters = match (server, kind) {
            (None, Kind::ConfigUpdate) => update(&document)?,
            (Some(server), Kind::Recovery) => self.recovery(&server, &document).await?,
            (Some(server), Kind::ConfigSwitch) => switch(&server, &document)?,
            (None, Kind::Recovery | Kind::ConfigSwitch) | (Some(_), Kind::ConfigUpdate) => {
                return Err(unknown_type(place));
            }
        };
        Ok((kind, parameters))
    }

    /// Whether the caller may start an operation of one of these kinds.
    pub(super) fn check_start(
        &self,
        caller: &Caller,
        place: &Place,
        kinds: &[Kind],
    ) -> Result<(), Refusal> {
        let path = place.path_of_denial();
        let refused = || Refusal::forbidden(&path);
        if caller.rights.denies(&[&path], &place.scope()) {
            return Err(refused());
        }
        for kind in kinds {
            let command = kind.command()?;
            let permitted = match place {
                // Which servers are changed stands in the body; the door asks again.
                Place::Instance => caller.rights.may_ever(&self.door.paths_of(&command)?),
                Place::Server(_) => self.door.permits(caller, &command, &place.scope())?,
            };
            if permitted {
                return Ok(());
            }
        }
        Err(refused())
    }

    /// The server of a place, when Barman's configuration has it.
    pub(super) async fn existing(&self, place: &Place) -> Result<Option<ServerName>, Refusal> {
        let Some(server) = place.server() else {
            return Ok(None);
        };
        let servers = self.door.servers(std::slice::from_ref(&server)).await?;
        Ok(servers.contains(&server).then_some(server))
    }

    async fn recovery(
        &self,
        server: &ServerName,
        document: &Document,
    ) -> Result<Parameters, Refusal> {
        let keys = [
            "type",
            "backup_id",
            "destination_directory",
            "remote_ssh_command",
            "target",
        ];
        document.only(&keys)?;
        if !document.has("backup_id") {
            return Err(Refusal::invalid("Request body is missing ``backup_id``"));
        }
        let backup = document.required("backup_id")?;
        if backup.is_empty() {
            return Err(incomplete());
        }
        if !names_one_of(&backup, &self.door.backups(server).await?) {
            let words = format!("Backup '{}' does not exist", cut(&backup));
            return Err(Refusal::new(RefusalKind::NotFound, words));
        }
        let mut directory = document.required("destination_directory")?;
        // Clients write a folder with or without it, and mean the same one.
        while directory.len() > 1 && directory.ends_with('/') {
            directory.pop();
        }
        let mut given = vec![
            ("server_name", server.to_string()),
            ("backup_id", one_of_two(&backup).to_owned()),
            ("destination_directory", directory),
        ];
        let ssh_command = document.text("remote_ssh_command")?;
        let target = document.text("target")?;
        if ssh_command.is_none() && target.is_none() {
            return Err(incomplete());
        }
        given.extend(ssh_command.map(|text| ("remote_ssh_command", text)));
        given.extend(target.map(|name| ("target", name)));
        Ok(texts(given))
    }
}

/// One of the two words that Barman has for the same backup.
fn one_of_two(word: &str) -> &str {
    match word {
        "last" => "latest",
        "first" => "oldest",
        "last-full" => "latest-full",
        word => word,
    }
}

fn texts<'a>(given: impl IntoIterator<Item = (&'a str, String)>) -> Parameters {
    given
        .into_iter()
        .map(|(key, text)| (key.to_owned(), Value::Text(text)))
        .collect()
}

/// A refusal of the door with the names that parameters have here.
fn in_words_of_clients(mut refusal: Refusal) -> Refusal {
    let names = [
        ("json_changes", "changes"),
        ("remote-ssh-command", "remote_ssh_command"),
    ];
    for (theirs, here) in names {
        if let Some(rest) = refusal.message.strip_prefix(theirs) {
            refusal.message = format!("{here}{rest}");
        }
    }
    refusal
}

fn switch(server: &ServerName, document: &Document) -> Result<Parameters, Refusal> {
    document.only(&["type", "model_name", "reset"])?;
    let mut given = vec![("server_name", server.to_string())];
    match (document.has("model_name"), document.raw("reset")) {
        (true, None) => given.push(("model_name", document.required("model_name")?)),
        (false, Some("true")) => given.push(("reset", "true".to_owned())),
        _ => return Err(incomplete()),
    }
    Ok(texts(given))
}

fn update(document: &Document) -> Result<Parameters, Refusal> {
    document.only(&["type", "changes"])?;
    // As it was written: keys that stand twice are found further down.
    let changes = document.raw("changes").filter(|text| text.starts_with('['));
    let changes = changes.ok_or_else(incomplete)?;
    Ok(texts([("json_changes", changes.to_owned())]))
}

/// What kind of operation a body asks for.
fn kind(place: &Place, document: &Document) -> Result<Kind, Refusal> {
    let word = document.text("type")?;
    let kind = match (&word, place) {
        (None, Place::Server(_)) => Some(Kind::Recovery),
        (None, Place::Instance) => None,
        (Some(word), _) => Kind::parse(word),
    };
    kind.filter(|kind| place.kinds().contains(kind))
        .ok_or_else(|| unknown_type(place))
}

fn unknown_type(place: &Place) -> Refusal {
    let known: Vec<&str> = place.kinds().iter().map(|kind| kind.word()).collect();
    Refusal::invalid(format!("the type is none of {}", known.join(", ")))
}

fn nothing_said(place: &Place) -> Refusal {
    Refusal::invalid(match place {
        Place::Instance => "Minimum barman options not met for instance operation".to_owned(),
        Place::Server(name) => {
            format!("Minimum barman options not met for server '{}'", cut(name))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::read(text.as_bytes()).unwrap().unwrap()
    }

    fn given(parameters: &Parameters) -> Vec<(String, Value)> {
        parameters.clone().into_iter().collect()
    }

    #[test]
    fn a_switch_names_a_model_or_takes_it_back_and_never_both() {
        let server = ServerName::parse("main").unwrap();
        let switch = |text: &str| switch(&server, &document(text));
        let of_model = switch(r#"{"type":"config_switch","model_name":"main:m"}"#).unwrap();
        let model = ("model_name".to_owned(), Value::Text("main:m".to_owned()));
        assert_eq!(given(&of_model).pop(), Some(model));
        let reset = switch(r#"{"type":"config_switch","reset":true}"#).unwrap();
        let truth = ("reset".to_owned(), Value::Text("true".to_owned()));
        assert_eq!(given(&reset).pop(), Some(truth));
        for text in [
            r#"{"type":"config_switch"}"#,
            r#"{"type":"config_switch","reset":false}"#,
            r#"{"type":"config_switch","reset":"true"}"#,
            r#"{"type":"config_switch","reset":null}"#,
            r#"{"type":"config_switch","reset":1}"#,
            r#"{"type":"config_switch","model_name":1}"#,
            r#"{"type":"config_switch","model_name":null}"#,
            r#"{"type":"config_switch","model_name":"m","reset":true}"#,
            r#"{"type":"config_switch","model_name":"m","reset":false}"#,
        ] {
            let error = switch(text).unwrap_err();
            assert_eq!(error.message, incomplete().message, "{text}");
        }
        assert!(switch(r#"{"model_name":"m","server_name":"other"}"#).is_err());
    }

    #[test]
    fn a_type_belongs_to_its_place() {
        let server = Place::Server("main".to_owned());
        let instance = Place::Instance;
        let of = |place: &Place, text: &str| kind(place, &document(text)).ok();
        assert_eq!(of(&server, r#"{"x":1}"#), Some(Kind::Recovery));
        assert_eq!(
            of(&server, r#"{"type":"config_switch"}"#),
            Some(Kind::ConfigSwitch)
        );
        assert_eq!(
            of(&instance, r#"{"type":"config_update"}"#),
            Some(Kind::ConfigUpdate)
        );
        for (place, text) in [
            (&server, r#"{"type":"config_update"}"#),
            (&server, r#"{"type":"nosuch"}"#),
            (&server, r#"{"type":null}"#),
            (&server, r#"{"type":[]}"#),
            (&instance, r#"{"changes":[]}"#),
            (&instance, r#"{"type":"recovery"}"#),
        ] {
            assert_eq!(of(place, text), None, "{text}");
        }
    }

    #[test]
    fn changes_are_handed_on_as_they_were_written() {
        let text = r#"{"type":"config_update","changes":[{"scope":"server", "a":1e400,"a":2}]}"#;
        let changes = given(&update(&document(text)).unwrap());
        let written = r#"[{"scope":"server", "a":1e400,"a":2}]"#.to_owned();
        assert_eq!(changes, [("json_changes".to_owned(), Value::Text(written))]);
    }
}
