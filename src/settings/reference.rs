//! The table of keys as a sample file and as documentation.

use super::keys::{Applies, Blank, KEYS, Key, Kind, OverHttp, SECTIONS};

impl Kind {
    /// The form of the value, for a reader.
    fn form(self) -> String {
        match self {
            Self::Switch => "true or false".to_owned(),
            Self::Number(..) => "number".to_owned(),
            Self::Size(..) => "size".to_owned(),
            Self::Time(..) => "time".to_owned(),
            Self::Path => "absolute path".to_owned(),
            Self::Address => "IP address".to_owned(),
            Self::Port => "port".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Choice(words) => words.join(", "),
            Self::Commands => "list of commands".to_owned(),
            Self::Keys => "list of keys".to_owned(),
            Self::Paths => "list of paths".to_owned(),
        }
    }
}

fn default(key: &Key) -> &'static str {
    match (key.secret, key.default, key.blank) {
        (true, _, _) => "(generated)",
        (false, "", Blank::Default | Blank::Meant) => "–",
        (false, default, _) => default,
    }
}

/// The configuration reference: a Markdown table.
#[must_use]
pub fn reference() -> String {
    let mut rows = vec![
        "| section | key | value | default | counts | over HTTP | meaning |\n".to_owned(),
        "|---|---|---|---|---|---|---|\n".to_owned(),
    ];
    for key in KEYS {
        let (section, name, about) = (key.section, key.name, key.about.replace('|', "\\|"));
        let (form, default) = (key.kind.form(), default(key));
        let counts = match key.applies {
            Applies::Now => "at once",
            Applies::Restart => "next start",
        };
        let over_http = match key.over_http {
            OverHttp::Yes => "yes".to_owned(),
            OverHttp::Never(reason) => format!("no: {reason}"),
        };
        rows.push(format!(
            "| {section} | `{name}` | {form} | {default} | {counts} | {over_http} | {about} |\n"
        ));
    }
    rows.concat()
}

/// The sample file: every key with its default, commented.
#[must_use]
pub fn sample() -> String {
    let mut parts = vec![String::from(
        "# barmanapi's configuration.\n\
         #\n\
         # Every key stands here with its default. A key that is left out or blank has its default too.\n\
         # Times take s, min and h, sizes KiB, MiB and GiB; a bare number is seconds or bytes.\n\
         # Lists are ['a','b'] or a, b. Check the file with: barmanapi check-config\n\
         # A change counts when the running service is told to read the file again: barmanapi reload.\n\
         # A key that counts from the next start only says so, and so does one that is never set over\n\
         # HTTP (/config/barmanapi/change).\n\
         # Keep it from other accounts when it holds a secret: chmod 640.\n",
    )];
    for (section, about) in SECTIONS {
        // A section that stands for many has no defaults: it is only shown.
        let mark = if section.contains(':') { "#" } else { "" };
        parts.push(format!("\n\n# {about}\n{mark}[{section}]\n"));
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let mark = if key.name.contains("COMMAND") {
                "#"
            } else {
                mark
            };
            let line = format!("{mark}{} = {}", key.name, key.default);
            parts.push(format!("\n{}{}\n", comment(key), line.trim_end()));
        }
    }
    parts.concat()
}

fn comment(key: &Key) -> String {
    let facts = match (key.applies, key.over_http) {
        (Applies::Now, OverHttp::Yes) => None,
        (Applies::Restart, OverHttp::Yes) => Some("Counts from the next start.".to_owned()),
        (Applies::Now, OverHttp::Never(reason)) => Some(format!("Never over HTTP: {reason}.")),
        (Applies::Restart, OverHttp::Never(reason)) => Some(format!(
            "Counts from the next start. Never over HTTP: {reason}."
        )),
    };
    let texts = [Some(key.about.to_owned()), facts];
    texts.iter().flatten().map(|text| wrapped(text)).collect()
}

/// A text as lines of comment.
fn wrapped(words: &str) -> String {
    let mut text = String::new();
    let mut line = String::from("#");
    for word in words.split(' ') {
        if line.len() + word.len() > 98 {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text + &line + "\n"
}
