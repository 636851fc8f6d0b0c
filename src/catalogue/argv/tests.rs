//! Each refusal beside its positive twin: the nearest legal value, and exactly what it becomes.

use std::path::PathBuf;
use std::sync::LazyLock;

use super::*;
use crate::catalogue::Catalogue;

mod commands;
mod names;
mod properties;
mod restores;
mod values;

fn catalogue() -> Catalogue {
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
        let json = include_str!("../../../tests/fixtures/catalogue-3.19.1.json");
        serde_json::from_str(json).unwrap()
    });
    CATALOGUE.clone()
}

fn text(pairs: &[(&str, &str)]) -> Vec<(String, Value)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Value::Text((*value).to_owned())))
        .collect()
}

fn start(
    command: &str,
    parameters: &[(String, Value)],
    places: &Places,
) -> Result<Invocation, ArgvError> {
    let name = CommandName::parse(command).unwrap();
    build(
        catalogue().find(&name).unwrap(),
        &Traits::builtin(),
        parameters,
        places,
    )
}

#[track_caller]
fn argv(command: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    start(command, &text(pairs), &Places::default())
        .unwrap()
        .arguments
}

#[track_caller]
fn refusal(command: &str, pairs: &[(&str, &str)]) -> ArgvError {
    start(command, &text(pairs), &Places::default()).unwrap_err()
}

#[track_caller]
fn malformed(command: &str, pairs: &[(&str, &str)]) {
    let error = refusal(command, pairs);
    assert!(!error.is_forbidden(), "{pairs:?}: {error}");
}

#[track_caller]
fn forbidden(command: &str, pairs: &[(&str, &str)]) {
    let error = refusal(command, pairs);
    assert!(error.is_forbidden(), "{pairs:?}: {error}");
}

fn servers(names: &[&str]) -> Scope {
    Scope::Servers(
        names
            .iter()
            .map(|name| ServerName::parse(name).unwrap())
            .collect(),
    )
}
