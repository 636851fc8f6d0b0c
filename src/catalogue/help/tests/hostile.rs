//! Texts that contradict themselves, exceed every measure or are no help at all.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::*;

#[test]
fn options_inside_descriptions_are_no_options() {
    let text = run(
        "[--go]",
        &[
            "--go        use this or",
            "          --stop or",
            "            -x, --exec PROGRAM  to stop",
        ],
    );
    let command = read("run", &text).unwrap();
    assert_eq!(command.options.len(), 1);
    assert!(
        command.options[0]
            .description
            .starts_with("use this or --stop or -x,")
    );
}

#[test]
fn an_option_that_only_one_of_usage_and_list_has_is_refused() {
    for text in [
        run("[--go]", &[]),
        run("", &["--go  go"]),
        run("[--go N]", &["--go  go"]),
        run("[--go]", &["--go N  go"]),
        run("[--go {a,b}]", &["--go {a,c}  go"]),
        run("[--go] server_name", &["--go  go"]),
    ] {
        let read = read("run", &text);
        assert!(matches!(read, Err(HelpError::Disagree { .. })), "{text}");
    }
    assert!(read("run", &run("[--go N]", &["--go N  go"])).is_ok());
}

#[test]
fn help_is_not_in_the_list_however_often_it_is_offered() {
    let text = "usage: barman run [-h] [--go]\n\noptions:\n  -h, --help  show\n  --go  go\n";
    assert_eq!(read("run", text).unwrap().options.len(), 1);
    let text = text
        .replace("[-h]", "[--help HOST]")
        .replace("-h, --help", "--help HOST");
    assert_eq!(read("run", &text).unwrap().options.len(), 1);
    let text = text.replace("  --go", "  --help\n  --go");
    assert!(matches!(read("run", &text), Err(HelpError::Twice { .. })));
}

#[test]
fn an_alias_leads_to_one_command_only() {
    for lines in [
        ["a (b)   x", "b (a)   y", "c  z"],
        ["a (b)   x", "b       y", "c  z"],
        ["a (d)   x", "b (d)   y", "c  z"],
    ] {
        assert!(
            matches!(
                parse_overview(&overview("a,b,c,d", &lines)),
                Err(HelpError::AliasClash { .. })
            ),
            "{lines:?}"
        );
    }
    let text = overview("a,b", &["a (b, b, a)   x"]);
    assert_eq!(parse_overview(&text).unwrap()[0].aliases, [name("b")]);
    let text = overview("a,b", &["a   x", "a   y", "b   z"]);
    assert!(matches!(
        parse_overview(&text),
        Err(HelpError::Twice { .. })
    ));
}

#[test]
fn a_name_that_is_none_is_refused() {
    for bad in [
        "..", "../x", "-x", "a b", "A", "a/b", "é", "--help", "a (..)", "a (", "()",
    ] {
        let set = format!("{bad},b");
        let label = format!("{bad}   x");
        assert!(
            parse_overview(&overview(&set, &[&label, "b   y"])).is_err(),
            "{bad}"
        );
    }
    for bad in ["---x", "--", "-", "--x=y", "--é", "--$(id)", "--a b c"] {
        let usage = format!("[{bad}]");
        let line = format!("{bad}   x");
        assert!(read("run", &run(&usage, &[&line])).is_err(), "{bad}");
    }
}

#[test]
fn a_text_that_is_no_help_is_refused() {
    let long = "x".repeat(10_000_000);
    let many_lines = "x\n".repeat(100_000);
    let bare = "usage: barman [-h] {a,b} ...\n";
    let empty_set = overview("", &[]);
    for text in [
        "",
        "\n\n",
        "usage:",
        "usage: barman",
        "bash: barman: command not found\n",
        "Traceback (most recent call last):\n  File \"x\", line 1\n",
        bare,
        &empty_set,
        &overview("a,b,c,d,e,f,g,h,i", &["a  x", "b  y"]),
        &long,
        &many_lines,
    ] {
        let start = start(text);
        assert!(parse_overview(text).is_err(), "{start:?}");
        assert!(read("run", text).is_err(), "{start:?}");
    }
    assert!(matches!(
        parse_overview(&long),
        Err(HelpError::TooLong { .. })
    ));
    assert!(matches!(
        parse_version(&long),
        Err(HelpError::TooLong { .. })
    ));
}

#[test]
fn more_than_any_barman_has_is_refused() {
    let names: Vec<String> = (0..=MAX_COMMANDS).map(|n| format!("c{n}")).collect();
    let lines: Vec<String> = names.iter().map(|name| format!("{name}   x")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert!(parse_overview(&overview(&names[1..].join(","), &lines[1..])).is_ok());
    let text = overview(&names.join(","), &lines);
    assert!(matches!(
        parse_overview(&text),
        Err(HelpError::TooMany { .. })
    ));
    let flags: Vec<String> = (0..MAX_OPTIONS).map(|n| format!("--o{n}")).collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let usage = |flags: &[&str]| format!("[{}]", flags.join("] ["));
    assert!(read("run", &run(&usage(&flags[1..]), &flags[1..])).is_ok());
    assert!(matches!(
        read("run", &run(&usage(&flags), &flags)),
        Err(HelpError::TooMany { .. })
    ));
    let text = overview("run", &["run   x"]);
    let page = run("", &[]) + &" ".repeat(MAX_TOTAL);
    assert!(matches!(
        assemble("3.20", &text, |_| Some(&page)),
        Err(HelpError::TooLong { .. })
    ));
}

#[test]
fn colours_and_control_characters_make_no_difference() {
    let mut coloured = String::new();
    for line in OVERVIEW.lines() {
        let (indent, text) = line.split_at(line.len() - line.trim_start().len());
        writeln!(coloured, "{indent}\u{1b}[1;36m{text}\u{1b}[0m\r").unwrap();
    }
    assert_eq!(parse_overview(&coloured), parse_overview(OVERVIEW));
    let noisy = BACKUP
        .replace("usage:", "\u{1b}]0;title\u{7}usage:")
        .replace("Perform", "P\u{0}er\u{8}f\u{2028}orm\u{1b}(B\u{9b}31m");
    assert_eq!(read("backup", &noisy), read("backup", BACKUP));
}

#[test]
fn the_worst_text_takes_no_longer_than_a_second_or_so() {
    let page = |body: &str| format!("usage: barman run [-h]\n\n{body}");
    let fill = |part: &str| part.repeat((page::MAX_BYTES - 200) / part.len());
    let option = |part: &str| page(&format!("options:\n  -h, --help  {}", fill(part)));
    let lines = "            x-a\n".repeat(19_000);
    let flush = |set: &str, line: &str| overview(set, &[&format!("a\n{}", line.repeat(9_000))]);
    let names: Vec<String> = (0..900).map(|n| format!("c{n}")).collect();
    for text in [
        format!("usage: barman run {}", fill("[")),
        format!("usage: barman run {}", fill("[-x] ")),
        format!("usage: barman run {}", fill("a ")),
        format!("usage: barman {{{}}} ...", fill("a,")),
        page(&fill("a-b ")),
        page(&fill("a-")),
        option("aa-"),
        option("(default: "),
        page(&format!("options:\n  -h, --help  x-a\n{lines}")),
        page(&format!(
            "options:\n  -h, --help\n{}",
            "  x\n".repeat(19_000)
        )),
        flush("a,b", "    b\n"),
        flush(&names.join(","), "    c1\n    c899\n"),
        "\u{1b}[".repeat(500_000),
    ] {
        let began = Instant::now();
        drop(read("run", &text));
        drop(parse_overview(&text));
        let took = began.elapsed();
        assert!(
            took < Duration::from_secs(8),
            "{took:?}: {:?}",
            start(&text)
        );
    }
}
