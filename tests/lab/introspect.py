#!/usr/bin/env python3
"""Print what Barman's argparse objects say, and the help texts they print, as one JSON document.

    introspect.py [COLUMNS...]

Imports Barman and the standard library, nothing else, and knows no command, option or version by
name. Whatever Barman's `main` is about to parse its command line with is the parser that is read.
With COLUMNS, `pages` holds for each width the text of `--version`, `--help` and every
`COMMAND --help`, printed by Barman's own `main`. Runs on Python 2.7 and 3.
"""

from __future__ import print_function

import argparse
import io
import json
import os
import re
import sys

sys.argv = ["barman"] + sys.argv[1:]  # Barman takes its program name when it is imported.


class Parser(BaseException):
    """Carries the parser out of Barman's `main`, past what it catches."""


class Shown(object):
    """Stands in for a default, to see whether the help text prints it."""

    def __repr__(self):
        return "<the default>"


def run(*arguments):
    """Run Barman's `main` and return what it printed before it ended."""
    from barman import cli

    kept = sys.argv, sys.stdout, sys.stderr
    sys.argv = ["barman"] + list(arguments)
    printed = io.BytesIO()
    text = printed if sys.version_info[0] == 2 else io.TextIOWrapper(printed, "utf-8", newline="")
    sys.stdout = sys.stderr = text
    try:
        cli.main()
    except SystemExit as end:
        if end.code not in (None, 0):
            raise RuntimeError("barman %s: exit %s" % (" ".join(arguments), end.code))
    finally:
        sys.argv, sys.stdout, sys.stderr = kept
    text.flush()
    return printed.getvalue().decode("utf-8")


def parser():
    """The parser that Barman builds, caught where it starts to parse."""
    kept = argparse.ArgumentParser.parse_known_args

    def caught(self, *_args, **_more):
        raise Parser(self)

    argparse.ArgumentParser.parse_known_args = caught
    try:
        run("--help")
    except Parser as found:
        return found.args[0]
    finally:
        argparse.ArgumentParser.parse_known_args = kept
    raise RuntimeError("barman did not parse its command line with argparse")


def folded(text):
    return " ".join((text or "").split())


def described(formatter, action):
    return folded(formatter._expand_help(action)) if action.help else ""


def default(formatter, action):
    """What the help text states as `(default: ...)`: the action's own default, or its author's."""
    kept = action.default
    action.default = Shown()
    try:
        text = described(formatter, action)
    finally:
        action.default = kept
    shown = repr(Shown())
    for quote in ("", "'", '"'):
        if "(default: %s)" % (quote + shown + quote) in text:
            return None if kept in (None, "-", argparse.SUPPRESS) else str(kept)
    stated = re.search(r"\(default: ([^()]*)\)", text)
    return stated.group(1) if stated and stated.group(1) not in ("-", "None") else None


def bounds(action):
    """The least and the greatest number of values; None = no bound."""
    known = {None: (1, 1), "?": (0, 1), "+": (1, None), "*": (0, None), argparse.REMAINDER: (0, None)}
    return known[action.nargs] if action.nargs in known else (action.nargs, action.nargs)


def takes(action):
    return {(0, 0): "none", (1, 1): "one", (0, 1): "optional"}.get(bounds(action), "many")


def choices(action):
    return [str(choice) for choice in action.choices or []]


def positional(formatter, action):
    least, most = bounds(action)
    return {
        "name": action.metavar or action.dest,
        "min": least,
        "max": most,
        "choices": choices(action),
        "description": described(formatter, action),
    }


def option(formatter, action):
    metavar = action.metavar or (None if action.choices else action.dest.upper())
    return {
        "flags": list(action.option_strings),
        "takes": takes(action),
        "metavar": metavar if takes(action) != "none" else None,
        "choices": choices(action),
        "default": default(formatter, action),
        "description": described(formatter, action),
    }


def seen(actions):
    """The actions that a help text lists, `--help` itself left out."""
    return [
        action
        for action in actions
        if action.help is not argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)
    ]


def command(name, aliases, summary, parser):
    formatter = parser._get_formatter()
    actions = seen(parser._actions)
    return {
        "name": name,
        "aliases": aliases,
        "summary": folded(summary),
        "description": folded(parser.description),
        "positionals": [positional(formatter, a) for a in actions if not a.option_strings],
        "options": [option(formatter, a) for a in actions if a.option_strings],
    }


def commands(parser):
    """Every command once; names that lead to one and the same parser are its aliases."""
    subparsers = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)][0]
    # On Python 2.7 Barman's own pseudo action has the aliases in its name, too.
    listed = dict((entry.dest.split()[0], entry) for entry in subparsers._choices_actions)
    for name, entry in listed.items():
        same = [n for n, p in subparsers.choices.items() if p is subparsers.choices[name]]
        yield command(name, [n for n in same if n != name], entry.help, subparsers.choices[name])


def main(widths):
    found = list(commands(parser()))
    pages = {}
    for width in widths:
        os.environ["COLUMNS"] = width
        page = dict((each["name"], run(each["name"], "--help")) for each in found)
        page[""] = run("--help")
        page["--version"] = run("--version")
        pages[width] = page
    from barman.version import __version__

    json.dump(
        {
            "version": __version__,
            "python": "%d.%d.%d" % sys.version_info[:3],
            "commands": found,
            "pages": pages,
        },
        sys.stdout,
    )


main(sys.argv[1:])
