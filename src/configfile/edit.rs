//! A wish carried out on the files in memory.

use std::path::{Path, PathBuf};

use super::check::{Rules, place};
use super::error::ConfigError;
use super::tree::{ConfFile, Role, Tree};
use super::view::{GLOBAL, View};
use super::wish::{Wanted, Wish};
use crate::inifile::{Document, EditError};
use crate::runner::files::Access;

/// Carries out a wish, or says why it can't be. Every key that reads otherwise than wanted
/// afterwards, and every other key that reads otherwise than before, is a refusal.
pub(super) fn apply(tree: &Tree, wish: &Wish, rules: &Rules<'_>) -> Result<Tree, ConfigError> {
    let before = tree.view();
    for wanted in &wish.wanted {
        let is_there = before.section(&wanted.section).is_some();
        if !is_there && (!wish.create || wanted.section == GLOBAL) {
            let words = format!(
                "barman's configuration has no section [{}]; with create=true it gets a file of \
                 its own",
                wanted.section
            );
            return Err(ConfigError::NotFound(words));
        }
        let place = place(&before, &wanted.section, &wish.wanted);
        rules.check_value(wanted, place)?;
    }
    let mut new = tree.clone();
    let mut kept = Vec::new();
    for wanted in &wish.wanted {
        match &wanted.value {
            Some(_) if is_so(&before, wanted) => kept.push(wanted),
            Some(value) => set(&mut new, &before, wanted, value)?,
            None => unset(&mut new, &before, wanted)?,
        }
    }
    // What was so already may have been made of a key that is another one now.
    let after = new.view();
    for wanted in kept {
        if let (Some(value), false) = (&wanted.value, is_so(&after, wanted)) {
            set(&mut new, &before, wanted, value)?;
        }
    }
    verify(tree, &new, &before, wish)?;
    Ok(new)
}

/// Whether Barman reads a key as it is wanted.
fn is_so(view: &View, wanted: &Wanted) -> bool {
    let Wanted { section, key, .. } = wanted;
    let Some(value) = &wanted.value else {
        return view.entry(section, key).is_none();
    };
    let seen = view.seen(section, key).and_then(|seen| seen.value.ok());
    view.entry(section, key).is_some() && seen.as_ref() == Some(value)
}

fn set(new: &mut Tree, before: &View, wanted: &Wanted, value: &str) -> Result<(), ConfigError> {
    let Wanted { section, key, .. } = wanted;
    refuse_if_auto(new, before, wanted)?;
    let text = new.reading.written(value);
    let files = new.files.iter().enumerate().rev();
    let ours = files.filter(|(_, file)| file.role != Role::Auto);
    let own = ours
        .clone()
        .find(|(_, file)| file.document.get(section, key).is_some());
    let found = own.or_else(|| {
        ours.clone()
            .find(|(_, file)| file.document.has_section(section))
    });
    let file = match found.map(|(at, _)| at) {
        Some(at) => at,
        None if before.section(section).is_some() => {
            return Err(belongs_to_config_update(new, wanted));
        }
        None => add_file(new, section)?,
    };
    let Some(file) = new.files.get_mut(file) else {
        return Ok(());
    };
    file.document
        .set_raw(section, key, &text)
        .map_err(|error| not_editable(&file.path, &error))
}

fn unset(new: &mut Tree, before: &View, wanted: &Wanted) -> Result<(), ConfigError> {
    let Wanted { section, key, .. } = wanted;
    refuse_if_auto(new, before, wanted)?;
    let ours = new.files.iter_mut().filter(|file| file.role != Role::Auto);
    for file in ours {
        file.document
            .remove_key(section, key)
            .map_err(|error| not_editable(&file.path, &error))?;
    }
    Ok(())
}

fn not_editable(path: &Path, error: &EditError) -> ConfigError {
    ConfigError::Conflict(format!("{}: {error}", path.display()))
}

/// What `config-update` wrote counts, whatever other files say.
fn refuse_if_auto(tree: &Tree, before: &View, wanted: &Wanted) -> Result<(), ConfigError> {
    let entry = before.entry(&wanted.section, &wanted.key);
    let file = entry.and_then(|entry| tree.files.get(entry.file));
    match file {
        Some(file) if file.role == Role::Auto => Err(belongs_to_config_update(tree, wanted)),
        _ => Ok(()),
    }
}

fn belongs_to_config_update(tree: &Tree, wanted: &Wanted) -> ConfigError {
    let mut autos = tree.files.iter().filter(|file| file.role == Role::Auto);
    let path = autos.next().map(|file| file.path.display().to_string());
    ConfigError::Conflict(format!(
        "{} stands in {}, which counts above all other files; change it by barman config-update",
        wanted.name(),
        path.unwrap_or_default()
    ))
}

/// An empty file for a new section.
fn add_file(tree: &mut Tree, section: &str) -> Result<usize, ConfigError> {
    let Some(folder) = &tree.folder else {
        let words = format!(
            "[{section}] gets a file of its own, and [{GLOBAL}] names no \
             configuration_files_directory"
        );
        return Err(ConfigError::Conflict(words));
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    if !section.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        || !section.chars().all(plain)
    {
        let words = format!(
            "a new section is letters, digits, _, -, . and :, and {section:?} is not; it names \
             a file"
        );
        return Err(ConfigError::Invalid(words));
    }
    let path: PathBuf = folder.join(format!("{section}.conf"));
    if tree.files.iter().any(|file| file.path == path) {
        let words = format!(
            "{} is there already and has no section [{section}]: write it there by hand",
            path.display()
        );
        return Err(ConfigError::Conflict(words));
    }
    let mut document = Document::default();
    document
        .add_section(section)
        .map_err(|error| not_editable(&path, &error))?;
    // Where Barman reads it: among the included ones, by its name.
    let is_later = |file: &ConfFile| match file.role {
        Role::Main => false,
        Role::Included => file.path.as_os_str() > path.as_os_str(),
        Role::Auto => true,
    };
    let at = tree.files.iter().position(is_later);
    let at = at.unwrap_or(tree.files.len());
    tree.files.insert(
        at,
        ConfFile {
            role: Role::Included,
            path,
            document,
            access: Access::Replace,
        },
    );
    Ok(at)
}

/// Reads the new files as Barman does and compares.
fn verify(old: &Tree, new: &Tree, before: &View, wish: &Wish) -> Result<(), ConfigError> {
    let after = new.view();
    for wanted in &wish.wanted {
        let Wanted { section, key, .. } = wanted;
        if !is_so(&after, wanted) {
            let entry = after.entry(section, key);
            let place = entry.map(|entry| {
                let default = if entry.inherited { " in [DEFAULT]" } else { "" };
                let path = new.path(entry.file);
                format!(": {}, line {}{default}", path.display(), entry.line)
            });
            let words = format!(
                "{} would not be read as wanted{}; edit the files by hand",
                wanted.name(),
                place.unwrap_or_default()
            );
            return Err(ConfigError::Conflict(words));
        }
    }
    let wanted = |section: &str, key: &str| {
        wish.wanted
            .iter()
            .any(|wanted| wanted.section == section && wanted.key == key)
    };
    for (section, key) in changed(before, &after) {
        if !wanted(&section, &key) {
            let place =
                |tree: &Tree, view: &View| Some(tree.path(view.entry(&section, &key)?.file));
            let path = place(old, before).or_else(|| place(new, &after));
            let words = format!(
                "[{section}] {key} would change too; edit {} by hand",
                path.unwrap_or_default().display()
            );
            return Err(ConfigError::Conflict(words));
        }
    }
    Ok(())
}

/// The keys that are not the same in both.
pub(super) fn changed(before: &View, after: &View) -> Vec<(String, String)> {
    let mut names = Vec::new();
    let mut look = |one: &View, other: &View, both: bool| {
        for section in one.sections() {
            for entry in section.entries() {
                let found = other.entry(&section.name, &entry.key);
                let differs = found.is_none_or(|found| both && !found.same(entry));
                if differs {
                    names.push((section.name.clone(), entry.key.clone()));
                }
            }
        }
    };
    look(before, after, true);
    look(after, before, false);
    names
}
