//! The lines of a manual in roff, as the few things that matter to reading its keys.
//!
//! Knows the requests of man(7), those of groff that pandoc and docutils write, and the two macros
//! that docutils defines for itself; passes over all others.

use super::escape::plain;

/// What a line of the manual says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// `.SH`: the title of a section.
    Section(String),
    /// `.SS`: the title of a part of a section.
    Subsection(String),
    /// The text before goes no further.
    Paragraph,
    /// `.TP`: the next line is a term.
    Term,
    /// `.IP`: an item of a list, with the mark before it.
    Item(String),
    /// What follows is further in.
    In,
    /// What follows is further out.
    Out,
    /// A line of text. `bold` when nothing of it is outside one change of font.
    Text {
        /// The text.
        text: String,
        /// Whether the whole of it is in bold.
        bold: bool,
    },
    /// A line as it is, of an example or a table.
    Line(String),
}

/// Reads a manual.
pub(super) fn events(page: &str) -> Vec<Event> {
    let mut reader = Reader::default();
    for line in page.lines() {
        reader.line(line.trim_end_matches('\r'));
    }
    reader.events
}

#[derive(Default)]
struct Reader {
    events: Vec<Event>,
    /// What ends the definition or the ignored part that is being passed over.
    until: Option<String>,
    /// Lines are as they are.
    verbatim: bool,
    table: Option<Table>,
    /// The address of the link whose text is being read.
    link: String,
}

/// A table of tbl(1).
#[derive(Default)]
struct Table {
    /// The format has been read; rows follow.
    rows: bool,
    /// The cells of the row that is being read.
    cells: Vec<String>,
    /// Inside `T{ … T}`.
    block: bool,
}

impl Reader {
    fn line(&mut self, line: &str) {
        if let Some(end) = &self.until {
            if line
                .strip_prefix('.')
                .is_some_and(|rest| rest.trim() == end)
            {
                self.until = None;
            }
            return;
        }
        if self.table.is_some() && !line.starts_with(".TE") {
            self.table_line(line);
            return;
        }
        match line.strip_prefix(['.', '\'']) {
            Some(request) => self.request(request.trim_start_matches([' ', '\t'])),
            None => self.text(line),
        }
    }

    fn text(&mut self, line: &str) {
        if self.verbatim {
            self.events.push(Event::Line(plain(line)));
        } else if line.trim().is_empty() {
            self.events.push(Event::Paragraph);
        } else {
            self.events.push(Event::Text {
                text: plain(line),
                bold: is_bold(line),
            });
        }
    }

    fn request(&mut self, request: &str) {
        let (name, rest) = request
            .find(|c: char| !c.is_ascii_alphanumeric())
            .map_or((request, ""), |end| request.split_at(end));
        // A comment, or the lone dots of docutils.
        if name.is_empty() {
            return;
        }
        let rest = rest.trim_start();
        match name {
            "SH" => self.events.push(Event::Section(words(rest).join(" "))),
            "SS" => self.events.push(Event::Subsection(words(rest).join(" "))),
            "TP" | "TQ" => self.events.push(Event::Term),
            "sp" if self.verbatim => self.events.push(Event::Line(String::new())),
            "PP" | "P" | "LP" | "HP" | "sp" => self.events.push(Event::Paragraph),
            "IP" => {
                let mark = words(rest).into_iter().next().unwrap_or_default();
                self.events.push(Event::Item(mark));
            }
            "RS" | "INDENT" => self.events.push(Event::In),
            "RE" | "UNINDENT" => self.events.push(Event::Out),
            "nf" | "EX" => {
                self.events.push(Event::Paragraph);
                self.verbatim = true;
            }
            "fi" | "EE" => {
                self.events.push(Event::Paragraph);
                self.verbatim = false;
            }
            "B" | "SB" => self.font(&words(rest).join(" "), true),
            "I" | "R" | "SM" | "CW" => self.font(&words(rest).join(" "), false),
            "BR" | "BI" | "IB" | "IR" | "RB" | "RI" => self.font(&words(rest).concat(), false),
            "UR" | "MT" => self.link = plain(rest.trim()),
            "UE" | "ME" => {
                let link = std::mem::take(&mut self.link);
                self.font(&format!("<{link}>{}", plain(rest.trim())), false);
            }
            "TS" => {
                self.events.push(Event::Paragraph);
                self.table = Some(Table::default());
            }
            "TE" => {
                self.events.push(Event::Paragraph);
                self.table = None;
            }
            "de" | "de1" | "am" | "am1" | "ig" => {
                // `.de NAME END` ends with `.END`, all others with `..`.
                let place = usize::from(name != "ig");
                let end = words(rest).into_iter().nth(place);
                self.until = Some(end.unwrap_or_else(|| ".".to_owned()));
            }
            _ => {}
        }
    }

    fn font(&mut self, text: &str, bold: bool) {
        if self.verbatim {
            self.events.push(Event::Line(text.to_owned()));
        } else if !text.is_empty() {
            self.events.push(Event::Text {
                text: text.to_owned(),
                bold,
            });
        }
    }

    fn table_line(&mut self, line: &str) {
        let Some(table) = &mut self.table else {
            return;
        };
        if !table.rows {
            table.rows = line.trim_end().ends_with('.');
            return;
        }
        let mut rest = line;
        if table.block {
            let Some(after) = line.strip_prefix("T}") else {
                if let Some(cell) = table.cells.last_mut() {
                    if !cell.is_empty() {
                        cell.push(' ');
                    }
                    cell.push_str(plain(line).trim());
                }
                return;
            };
            table.block = false;
            let Some(after) = after.strip_prefix('\t') else {
                return self.row();
            };
            rest = after;
        } else if matches!(line, "_" | "=") || line.starts_with('.') {
            return;
        }
        for cell in rest.split('\t') {
            table.block = cell == "T{";
            let cell = if table.block { "" } else { cell };
            table.cells.push(plain(cell).trim().to_owned());
        }
        if !table.block {
            self.row();
        }
    }

    fn row(&mut self) {
        if let Some(table) = &mut self.table {
            let row = std::mem::take(&mut table.cells).join(" | ");
            self.events.push(Event::Line(row));
        }
    }
}

/// Whether a line is one piece of text in bold.
fn is_bold(line: &str) -> bool {
    let line = line.trim();
    let inside = ["\\fB", "\\f[B]", "\\f(CB", "\\f[CB]", "\\f[V]"]
        .iter()
        .find_map(|start| line.strip_prefix(start));
    let Some(inside) = inside else {
        return false;
    };
    ["\\fP", "\\fR", "\\f[R]", "\\f[P]", "\\f[]"]
        .iter()
        .find_map(|end| inside.strip_suffix(end))
        .is_some_and(|inside| !inside.contains("\\f"))
}

/// The arguments of a request: words, or texts in double quotes.
fn words(rest: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = rest.trim_start_matches([' ', '\t']);
    while !rest.is_empty() && !rest.starts_with("\\\"") {
        let (word, after) = match rest.strip_prefix('"') {
            Some(inside) => inside.split_once('"').unwrap_or((inside, "")),
            None => rest.split_at(end_of_word(rest)),
        };
        words.push(plain(word));
        rest = after.trim_start_matches([' ', '\t']);
    }
    words
}

/// Where a word ends: at a blank that no backslash stands before.
fn end_of_word(text: &str) -> usize {
    let mut escaped = false;
    for (place, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ' ' | '\t' => return place,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str, bold: bool) -> Event {
        Event::Text {
            text: text.to_owned(),
            bold,
        }
    }

    #[test]
    fn requests_are_read_in_every_spelling() {
        let page = ".\\\" a comment\n'\\\" t\n.\n.TH X 5\n.hy\n.SH \"THE OPTIONS\"\n. sp\n.B one two\n\
                    .BR bar (1),\n.IP \\(bu 2\n.IP\n\\fBx\\fP\n\\fBx\\fP y \\fBz\\fP\n";
        assert_eq!(
            events(page),
            [
                Event::Section("THE OPTIONS".into()),
                Event::Paragraph,
                text("one two", true),
                text("bar(1),", false),
                Event::Item("•".into()),
                Event::Item(String::new()),
                text("x", true),
                text("x y z", false),
            ]
        );
    }

    #[test]
    fn what_a_macro_is_made_of_is_no_text() {
        let page = ".de1 INDENT\n.RS \\\\$1\ntext\n..\nseen\n.ig END\nnot seen\n.END\n.de X Y\nno\n.Y\nseen\n.de Z\nend";
        assert_eq!(events(page), [text("seen", false), text("seen", false)]);
    }

    #[test]
    fn examples_keep_their_lines_and_tables_their_rows() {
        let page = ".EX\na  b\n\n.sp\n.EE\n.TS\nbox;\nl|l.\nT{\nA\nlong\nT}\tT{\n\\fBB\\fP\nT}\n_\nc\td\n.TE\n";
        let line = |text: &str| Event::Line(text.to_owned());
        assert_eq!(
            events(page),
            [
                Event::Paragraph,
                line("a  b"),
                line(""),
                line(""),
                Event::Paragraph,
                Event::Paragraph,
                line("A long | B"),
                line("c | d"),
                Event::Paragraph,
            ]
        );
    }

    #[test]
    fn a_link_is_written_with_its_address() {
        assert_eq!(
            events("see\n.UR http://x/\nthe manual\n.UE .\n"),
            [
                text("see", false),
                text("the manual", false),
                text("<http://x/>.", false)
            ]
        );
    }
}
