//! What holds for any parameters at all.

use proptest::prelude::*;

use super::*;

/// Values that are often legal, and some that never are.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("main".to_owned()),
        Just("latest".to_owned()),
        Just("true".to_owned()),
        Just("all".to_owned()),
        Just("/srv/r/x".to_owned()),
        Just("full".to_owned()),
        Just("000000010000000000000003".to_owned()),
        "[0-9]{1,3}",
        "-{0,2}[a-z=]{0,8}",
        "\\PC{0,12}",
        any::<String>(),
    ]
}

/// A value for a positional: mostly one that fits.
fn fitting(name: &str) -> BoxedStrategy<String> {
    let fit = match name {
        "server_name" => "main",
        "wal_name" | "last_wal" => "000000010000000000000003",
        "destination_directory" | "output_directory" | "input_tarball" => "/srv/r/x",
        "task" => "receive-wal",
        _ => "latest",
    };
    prop_oneof![4 => Just(fit.to_owned()), 1 => value()].boxed()
}

/// A command and parameters, most of them by names the command knows.
fn request() -> impl Strategy<Value = (usize, Vec<(String, String)>)> {
    let count = catalogue().commands.len();
    (0..count).prop_flat_map(|index| {
        let command = &catalogue().commands[index];
        let required: Vec<String> = command
            .positionals
            .iter()
            .filter(|positional| positional.min > 0)
            .map(|positional| positional.name.clone())
            .collect();
        let names: Vec<String> = command
            .options
            .iter()
            .map(|option| option.name().to_owned())
            .chain(
                command
                    .positionals
                    .iter()
                    .map(|positional| positional.name.clone()),
            )
            .chain(["target".to_owned(), "config".to_owned()])
            .collect();
        let more = prop::collection::vec((prop::sample::select(names), value()), 0..4);
        let values: Vec<_> = required.iter().map(|name| fitting(name)).collect();
        (Just(index), values, more).prop_map(move |(index, values, more)| {
            let pairs = required.iter().cloned().zip(values).chain(more);
            (index, pairs.collect())
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn every_argument_is_a_known_option_or_a_value_as_it_came((index, pairs) in request()) {
        let catalogue = catalogue();
        let command = &catalogue.commands[index];
        let parameters: Vec<_> = pairs
            .iter()
            .map(|(name, value)| (name.clone(), Value::Text(value.clone())))
            .collect();
        let mut places = restores::local();
        places.allow_commands.push(command.name.clone());
        places.exchange_directory = Some("/srv/r".into());
        let Ok(invocation) = build(command, &Traits::builtin(), &parameters, &places) else {
            return Ok(());
        };
        let came = |value: &str| pairs.iter().any(|(_, known)| known == value);
        let mut words = invocation.arguments.iter();
        for argument in words.by_ref().take_while(|argument| *argument != "--") {
            let (flag, value) = argument.split_once('=').map_or((argument.as_str(), None), |(flag, value)| (flag, Some(value)));
            prop_assert!(command.options.iter().any(|option| option.long_flag() == flag), "{argument}");
            prop_assert!(value.is_none_or(came), "{argument}");
        }
        let positionals: Vec<_> = words.collect();
        prop_assert!(positionals.iter().all(|word| !word.starts_with('-')), "{positionals:?}");
        if command.name.as_str() != "config-update" {
            prop_assert!(positionals.iter().all(|word| came(word)), "{positionals:?}");
        }
        prop_assert!(!invocation.arguments.iter().any(|word| word.contains(['\0', '\n', '\r'])));
    }

    #[test]
    fn no_path_of_letters_dots_and_slashes_leaves_its_root(path in "(/srv/r)?/(srv|r|\\.|\\.\\.|x|/){1,6}") {
        let roots = restores::local();
        let pairs = [("server_name", "main"), ("backup_id", "latest"), ("destination_directory", path.as_str())];
        if start("restore", &text(&pairs), &roots).is_ok() {
            prop_assert!(path == "/srv/r" || path.starts_with("/srv/r/"), "{path}");
            let mut segments = path[1..].split('/');
            prop_assert!(!segments.any(|segment| matches!(segment, "" | "." | "..")), "{path}");
        }
    }
}
