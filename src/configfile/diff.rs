//! Differences between two states of files, as a unified diff without secrets.

use std::path::Path;

use similar::{Algorithm, ChangeTag, TextDiff};

use super::mask::Mask;
use crate::inifile::Document;

/// Lines around a change.
const CONTEXT: usize = 3;

/// One file before and after; `None` = there is no file.
pub(super) fn unified(
    path: &Path,
    before: Option<&Document>,
    after: Option<&Document>,
    mask: &mut Mask<'_>,
) -> String {
    let lines = |document: Option<&Document>| -> Vec<String> {
        let lines = document.map(Document::lines).unwrap_or_default();
        lines.into_iter().map(|(line, _)| line.to_owned()).collect()
    };
    let (old, new) = (lines(before), lines(after));
    let mut shown = |document: Option<&Document>| {
        document
            .map(|document| mask.lines(document))
            .unwrap_or_default()
    };
    let (shown_old, shown_new) = (shown(before), shown(after));
    let (old_texts, new_texts): (Vec<&str>, Vec<&str>) = (
        old.iter().map(String::as_str).collect(),
        new.iter().map(String::as_str).collect(),
    );
    let diff = TextDiff::configure()
        .algorithm(Algorithm::Myers)
        .diff_slices(&old_texts, &new_texts);
    let name = |document: Option<&Document>| match document {
        Some(_) => path.display().to_string(),
        None => "/dev/null".to_owned(),
    };
    let mut text = String::new();
    for group in diff.grouped_ops(CONTEXT) {
        if text.is_empty() {
            text = ["--- ", &name(before), "\n+++ ", &name(after), "\n"].concat();
        }
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        let span = |start: usize, end: usize| {
            let start = if end > start { start + 1 } else { start };
            format!("{start},{}", end.saturating_sub(start.saturating_sub(1)))
        };
        let (old, new) = (
            span(first.old_range().start, last.old_range().end),
            span(first.new_range().start, last.new_range().end),
        );
        text.push_str(&["@@ -", &old, " +", &new, " @@\n"].concat());
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let (sign, at, shown, all) = match change.tag() {
                ChangeTag::Delete => ('-', change.old_index(), &shown_old, &old_texts),
                ChangeTag::Insert => ('+', change.new_index(), &shown_new, &new_texts),
                ChangeTag::Equal => (' ', change.old_index(), &shown_old, &old_texts),
            };
            let at = at.unwrap_or_default();
            text.push(sign);
            text.push_str(shown.get(at).map(String::as_str).unwrap_or_default());
            text.push('\n');
            let line = all.get(at).copied().unwrap_or_default();
            if !line.ends_with(['\n', '\r']) {
                text.push_str("\\ No newline at end of file\n");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::configkeys::ConfigKeys;

    fn diff(old: Option<&str>, new: Option<&str>, full: bool) -> String {
        let read = |text: &str| Document::parse(text.as_bytes()).unwrap();
        let keys = ConfigKeys::builtin();
        unified(
            Path::new("/etc/barman.conf"),
            old.map(read).as_ref(),
            new.map(read).as_ref(),
            &mut Mask::new(&keys, full),
        )
    }

    #[test]
    fn a_changed_line_is_shown_with_what_is_around_it() {
        let old = "; a\n[main]\nx = 1\ny = 2\nz = 3\n";
        let new = "; a\n[main]\nx = 1\ny = 5\nz = 3\n";
        assert_eq!(
            diff(Some(old), Some(new), true),
            "--- /etc/barman.conf\n+++ /etc/barman.conf\n@@ -1,5 +1,5 @@\n ; a\n [main]\n x = 1\n-y = 2\n+y = 5\n z = 3\n"
        );
        assert_eq!(diff(Some(old), Some(old), true), "");
    }

    #[test]
    fn a_new_file_comes_from_nowhere() {
        assert_eq!(
            diff(None, Some("[new]\nactive = false\n"), true),
            "--- /dev/null\n+++ /etc/barman.conf\n@@ -0,0 +1,2 @@\n+[new]\n+active = false\n"
        );
    }

    #[test]
    fn secrets_are_hidden_in_changed_lines_and_in_those_around() {
        let old = "[main]\n# password=s3cret\nconninfo = host=pg\n  password=s3cret\nssh_command = ssh s3cret\nx = 1\nconninfo : password=s3cret host=pg\n";
        let new = "[main]\nconninfo = host=pg user=u password=s3cret2\nencryption_passphrase_command = echo s3cret\n;  Encryption_passphrase_command: echo s3cret\n#ssh_command=s3cret\nx = 2\n";
        let shown = diff(Some(old), Some(new), false);
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(
            shown.contains("+conninfo = host=pg user=u password=*REDACTED*\n"),
            "{shown}"
        );
        assert!(shown.contains("-ssh_command = *REDACTED*\n"), "{shown}");
        let full = diff(Some(old), Some(new), true);
        assert!(full.contains("-ssh_command = ssh s3cret\n"), "{full}");
        assert!(!full.contains("echo s3cret"), "{full}");
    }
}
