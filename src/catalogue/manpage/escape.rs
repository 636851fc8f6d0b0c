//! The escapes of one line of roff, resolved to plain text (groff(7), "Escape sequences").

/// Special characters that manuals use, by their names.
const SPECIAL: &[(&str, &str)] = &[
    ("aq", "'"),
    ("dq", "\""),
    ("oq", "‘"),
    ("cq", "’"),
    ("lq", "“"),
    ("rq", "”"),
    ("bu", "•"),
    ("em", "—"),
    ("en", "–"),
    ("hy", "-"),
    ("mi", "−"),
    ("at", "@"),
    ("ha", "^"),
    ("ti", "~"),
    ("ga", "`"),
    ("rs", "\\"),
    ("sl", "/"),
    ("ul", "_"),
    ("ba", "|"),
    ("or", "|"),
    ("sh", "#"),
    ("Do", "$"),
    ("lB", "["),
    ("rB", "]"),
    ("lC", "{"),
    ("rC", "}"),
    ("la", "<"),
    ("ra", ">"),
    ("Fo", "«"),
    ("Fc", "»"),
    ("co", "©"),
    ("rg", "®"),
    ("tm", "™"),
    ("de", "°"),
    ("mu", "×"),
    ("+-", "±"),
    ("<=", "≤"),
    (">=", "≥"),
    ("!=", "≠"),
    ("->", "→"),
    ("<-", "←"),
    ("sc", "§"),
    ("aa", "´"),
    ("...", "…"),
    ("u2026", "…"),
];

/// The text of a line: fonts, sizes, hyphenation marks and device commands gone, characters in
/// their place. What is not known is left out.
pub(super) fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, escape)) = rest.split_once('\\') {
        text.push_str(before);
        let mut letters = escape.chars();
        let Some(letter) = letters.next() else {
            return text;
        };
        let after = letters.as_str();
        rest = match letter {
            '"' | '#' => return text,
            '[' => {
                let (name, after) = after.split_once(']').unwrap_or((after, ""));
                push_special(&mut text, name);
                after
            }
            '(' => {
                let (name, after) = split_chars(after, 2);
                push_special(&mut text, name);
                after
            }
            // With a name of one character, two, or any: fonts, strings, registers, colours.
            'f' | 'F' | '*' | 'n' | 'm' | 'M' | 'g' | 'k' | 'V' | 'Y' => skip_name(after),
            's' => skip_size(after),
            // With something in quotes: movements, lines, device commands.
            'X' | 'h' | 'v' | 'w' | 'l' | 'L' | 'D' | 'b' | 'o' | 'x' | 'A' | 'B' | 'C' | 'H'
            | 'N' | 'R' | 'S' | 'Z' => skip_quoted(after),
            ' ' | '~' | '0' => {
                text.push(' ');
                after
            }
            't' => {
                text.push('\t');
                after
            }
            'e' | '\\' => {
                text.push('\\');
                after
            }
            // Hyphenation, zero and thin widths, line control.
            '&' | ')' | '%' | ':' | ',' | '/' | '|' | '^' | 'c' | 'p' | 'z' | 'd' | 'u' | 'r'
            | 'a' | '{' | '}' | '!' | '?' => after,
            // `\-`, `\.`, `\'`, `\@` and whatever else stands for itself.
            other => {
                text.push(other);
                after
            }
        };
    }
    text.push_str(rest);
    text
}

/// Cuts after a number of characters.
fn split_chars(text: &str, count: usize) -> (&str, &str) {
    let end = text
        .char_indices()
        .nth(count)
        .map_or(text.len(), |(end, _)| end);
    text.split_at(end)
}

fn push_special(text: &mut String, name: &str) {
    if let Some((_, known)) = SPECIAL.iter().find(|(known, _)| *known == name) {
        text.push_str(known);
        return;
    }
    let number = name
        .strip_prefix('u')
        .filter(|digits| (4..=6).contains(&digits.len()))
        .and_then(|digits| u32::from_str_radix(digits, 16).ok());
    text.extend(number.and_then(char::from_u32));
}

/// Passes over `X`, `(XX` or `[ANY]`.
fn skip_name(after: &str) -> &str {
    match after.chars().next() {
        Some('[') => after.split_once(']').map_or("", |(_, rest)| rest),
        Some('(') => split_chars(after, 3).1,
        _ => split_chars(after, 1).1,
    }
}

/// Passes over a size: `0`, `+1`, `-1`, `10`, `(12` or `[12]`.
fn skip_size(after: &str) -> &str {
    let unsigned = after.strip_prefix(['+', '-']).unwrap_or(after);
    match unsigned.chars().next() {
        Some('[' | '(') => skip_name(unsigned),
        Some('\'') => skip_quoted(unsigned),
        Some('1'..='3') if unsigned.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) => {
            split_chars(unsigned, 2).1
        }
        _ => split_chars(unsigned, 1).1,
    }
}

/// Passes over `'anything'`, whatever character stands for the quotes.
fn skip_quoted(after: &str) -> &str {
    let (_, inside) = split_chars(after, 1);
    match after.chars().next() {
        Some(quote) => inside.split_once(quote).map_or("", |(_, rest)| rest),
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fonts_and_marks_go_and_characters_come() {
        for (line, text) in [
            (r"\f[C]a\f[R] \fBb\fP \f(CWc\fR \f[]d", "a b c d"),
            (r"one\-two \fBx\fP\&.", "one-two x."),
            (r"Barman\(aqs \(dqlog\(dq\[aq]s", "Barman's \"log\"'s"),
            (r"a\ =\ b\~c", "a = b c"),
            (r"\%<https://\:www\:.x\:.org/>", "<https://www.x.org/>"),
            (r"\X'tty: link #'name\X'tty: link'", "name"),
            (r"\s-1SMALL\s0 \s+2big\s10 \s[12]x", "SMALL big x"),
            (r#"a \" comment"#, "a "),
            (r"\e \\ \[rs]", r"\ \ \"),
            (r"\[u20AC] \[u110000] \[nothing]\(zz", "€  "),
            (r"user\@host \(co \(->", "user@host © →"),
        ] {
            assert_eq!(plain(line), text, "{line}");
        }
    }

    #[test]
    fn an_escape_that_is_cut_off_ends_the_line() {
        for line in [
            r"a\", r"a\f", r"a\f[", r"a\(", r"a\(a", r"a\X'", r"a\s", r"a\[x", r"a\fé",
        ] {
            assert_eq!(plain(line), "a", "{line}");
        }
    }
}
