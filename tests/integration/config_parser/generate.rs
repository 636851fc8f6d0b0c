//! Files: written after the grammar, or real ones that were changed.

use std::path::Path;

/// The share of files, of a hundred, that have something that Python refuses.
const FAULTY: usize = 38;

/// Makes files from a seed.
pub(crate) struct Generator {
    /// splitmix64.
    state: u64,
    real: Vec<String>,
}

const KEYS: [&str; 16] = [
    "x",
    "Y",
    "home",
    "HOME",
    "path",
    "conninfo",
    "Backup_Method",
    "ssh_command",
    "a b",
    "é",
    "É",
    "İ",
    "ΑΣ",
    "ǅ",
    "k%",
    "[",
];

const NAMES: [&str; 12] = [
    "barman", "main", "Main", "a", "b", "DEFAULT", "DEFAULT", "default", "x:y", " a ", "a]b", "é ]",
];

const WORDS: [&str; 34] = [
    "on",
    "1",
    "/srv/x",
    "host=x dbname='y z'",
    "postgresql://u:p@h/db",
    "\"quoted\"",
    "'",
    "\\",
    "C:\\new\\table",
    "a, b",
    "# no comment",
    " # no comment",
    " ; no comment",
    "=",
    ":",
    "[b]",
    "é",
    "\u{1f600}",
    "\0",
    "%%",
    "100%%",
    "%",
    "%d",
    "%(home)s",
    "%(HOME)s/x",
    "%(x)s",
    "%(y)s",
    "%(nowhere)s",
    "%(x",
    "%()s",
    "%(a b)s",
    "%(path)s",
    "\t",
    "\u{feff}",
];

const SPACES: [&str; 14] = [
    "", "", "", " ", " ", "  ", "\t", "\u{c}", "\u{b}", "\u{85}", "\u{2028}", "\u{a0}", "\u{1c}",
    "\u{3000}",
];

const INDENTS: [&str; 8] = [
    " ",
    "  ",
    "    ",
    "\t",
    "\t\t",
    "\u{c} ",
    "\u{a0}",
    "\u{2003}\u{2028}",
];

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config");
        let mut files = vec![fixtures.join("barman.conf"), fixtures.join("servers.conf")];
        // The lab's own, where there is one.
        if let Some(facts) = std::env::var("LAB_ENV")
            .ok()
            .and_then(|path| std::fs::read_to_string(path).ok())
        {
            let fact = facts
                .lines()
                .find_map(|line| line.strip_prefix("BARMAN_CONF="));
            files.extend(fact.map(|path| path.trim_matches('\'').into()));
        }
        let content = |path: &std::path::PathBuf| std::fs::read_to_string(path).unwrap();
        let real = files.iter().map(content).collect();
        Self { state: seed, real }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap()
    }

    /// So many times of a hundred.
    pub(crate) fn often(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// A file.
    pub(crate) fn file(&mut self) -> Vec<u8> {
        let real = self.often(25);
        let mut lines = if real {
            self.real_lines()
        } else {
            self.written_lines()
        };
        let mut mark = false;
        let mut broken = false;
        if self.often(FAULTY) {
            let at = self.below(lines.len() + 1);
            match self.below(12) {
                0 => lines.insert(0, self.pick(&["x = 1", "word", "  y: 2"]).to_owned()),
                1 | 2 => lines.insert(at, self.pick(&["word", "[open", "a b", "]"]).to_owned()),
                3..=5 => lines.insert(at, self.pick(&["= 1", ": x", "  =", "=="]).to_owned()),
                6 | 7 => lines.insert(at, self.pick(&["[]", "[] x", "[]\u{c}"]).to_owned()),
                8 | 9 => broken = true,
                _ => mark = true,
            }
        }
        let style = self.below(10);
        let mut text = Vec::new();
        if mark {
            text.extend("\u{feff}".bytes());
        }
        let count = lines.len();
        for (at, line) in lines.iter().enumerate() {
            text.extend(line.bytes());
            let end = match style {
                0..5 => "\n",
                5 | 6 => "\r\n",
                7 => "\r",
                _ => self.pick(&["\n", "\r\n", "\r"]),
            };
            if at + 1 < count || self.often(75) {
                text.extend(end.bytes());
            }
        }
        if broken {
            let bytes: [&[u8]; 5] = [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x80", b"\xf8\x88"];
            let at = self.below(text.len() + 1);
            let bytes = bytes[self.below(bytes.len())];
            text.splice(at..at, bytes.iter().copied());
        }
        text
    }

    fn written_lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..self.below(3) {
            lines.push(self.silent());
        }
        for _ in 0..[0, 1, 1, 2, 2, 3, 4, 5][self.below(8)] {
            let indent = if self.often(18) {
                self.pick(&INDENTS)
            } else {
                ""
            };
            let name = self.pick(&NAMES);
            let junk = if self.often(12) {
                self.pick(&[" junk", "x", " # note", "\u{85}"])
            } else {
                ""
            };
            lines.push(format!("{indent}[{name}]{junk}"));
            for _ in 0..self.below(6) {
                self.entry(&mut lines);
            }
            if self.often(6) {
                let count = 8 + self.below(5);
                lines.extend((0..count).map(|at| format!("k{at} = %(k{})s", at + 1)));
                lines.push(format!("k{count} = end%%"));
            }
        }
        lines
    }

    /// A line that says nothing.
    fn silent(&mut self) -> String {
        let (indent, text) = (self.pick(&SPACES), self.pick(&WORDS));
        match self.below(4) {
            0 => String::new(),
            1 => indent.to_owned(),
            2 => format!("{indent}#{text}"),
            _ => format!("{indent}; {text}"),
        }
    }

    fn entry(&mut self, lines: &mut Vec<String>) {
        let indent = if self.often(14) {
            self.pick(&INDENTS)
        } else {
            ""
        };
        // A key that looks like a header is one line in a hundred.
        let most = if self.often(2) {
            KEYS.len()
        } else {
            KEYS.len() - 1
        };
        let key = KEYS[self.below(most)];
        let (before, after) = (self.pick(&SPACES), self.pick(&SPACES));
        let separator = self.pick(&["=", "=", ":"]);
        let value = self.value();
        lines.push(format!("{indent}{key}{before}{separator}{after}{value}"));
        for _ in 0..[0, 0, 0, 0, 1, 1, 2, 3][self.below(8)] {
            match self.below(5) {
                0 | 1 => lines.push(self.silent()),
                _ => {
                    let (indent, value) = (self.pick(&INDENTS), self.value());
                    lines.push(format!("{indent}{value}"));
                }
            }
        }
        if self.often(15) {
            lines.push(self.silent());
        }
    }

    fn value(&mut self) -> String {
        let count = [0, 1, 1, 1, 2, 2, 3][self.below(7)];
        let words: Vec<&str> = (0..count).map(|_| self.pick(&WORDS)).collect();
        let between = self.pick(&["", " ", "\u{85}"]);
        let mut value = words.join(between);
        value.push_str(self.pick(&SPACES));
        value
    }

    /// A real file, changed here and there.
    fn real_lines(&mut self) -> Vec<String> {
        let from = self.below(self.real.len());
        let mut lines: Vec<String> = self.real[from].lines().map(str::to_owned).collect();
        for _ in 0..=self.below(6) {
            let at = self.below(lines.len());
            let Some(line) = lines.get(at).cloned() else {
                break;
            };
            match self.below(9) {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, line),
                2 => {
                    let other = self.below(lines.len());
                    lines.swap(at, other);
                }
                3 => lines[at] = format!("{}{line}", self.pick(&INDENTS)),
                4 => line
                    .trim_start_matches(['#', ';'])
                    .clone_into(&mut lines[at]),
                5 => lines[at] = line.to_uppercase(),
                6 => {
                    let (mut chars, place): (Vec<char>, usize) =
                        (line.chars().collect(), self.below(line.len() + 1));
                    let word = self.pick(&WORDS);
                    let place = place.min(chars.len());
                    chars.splice(place..place, word.chars());
                    lines[at] = chars.into_iter().collect();
                }
                7 => {
                    let kept = self.below(line.len() + 1);
                    lines[at] = line.chars().take(kept).collect();
                }
                _ => self.entry(&mut lines),
            }
        }
        lines
    }
}
