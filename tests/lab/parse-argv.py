"""Hands argument vectors to Barman's own parser and compares what it reads with what was asked.

Run by the Python that has Barman. Standard input: one JSON object a line, {"argv": [...], "asked": {NAME: [TEXT, ...]}}; a flag
that was asked for has an empty list. Every name that was not asked for must have its default. Prints one line for each difference, then how
many vectors Barman refuses for a value that it does not take, then the number of vectors, and exits with 1 when there is a difference.
"""

import argparse
import json
import sys

sys.argv = ["barman"]

import barman.cli  # noqa: E402


def parser_of(command):
    subparsers = next(a for a in barman.cli.p._actions if isinstance(a, argparse._SubParsersAction))
    return subparsers.choices[command]


def folded(name):
    return name.lstrip("-").replace("-", "").replace("_", "").lower()


def action_of(parser, name):
    found = [
        action
        for action in parser._actions
        if folded(name) in [folded(word) for word in action.option_strings or [action.dest]]
    ]
    assert len(found) == 1, (name, found)
    return found[0]


def expected(parser, command, asked):
    """What the namespace must hold: the defaults, and what was asked for."""
    values = dict(parser._defaults, command=command)
    for action in parser._actions:
        if action.default is not argparse.SUPPRESS and action.dest not in values:
            default = action.default
            values[action.dest] = parser._get_value(action, default) if isinstance(default, str) else default
    for name, texts in asked.items():
        action = action_of(parser, name)
        read = [parser._get_value(action, text) for text in texts]
        if action.option_strings and action.nargs == 0:
            assert not texts, (name, texts)
            values[action.dest] = action.const
        elif not texts:
            values[action.dest] = action.const
        elif action.nargs in ("+", "*") or isinstance(action, argparse._AppendAction):
            values[action.dest] = read
        else:
            assert len(read) == 1, (name, texts)
            values[action.dest] = read[0]
    return values


def refuses(parser, asked):
    """Whether Barman takes no such value of a parameter that was asked for."""
    for name, texts in asked.items():
        action = action_of(parser, name)
        try:
            for text in texts:
                parser._check_value(action, parser._get_value(action, text))
        except argparse.ArgumentError:
            return True
    return False


def main():
    count = different = refused = 0
    for line in sys.stdin:
        case = json.loads(line)
        argv = case["argv"]
        command = next(word for word in argv if not word.startswith("-") and word != "json")
        parser = parser_of(command)
        if refuses(parser, case["asked"]):
            refused += 1
            count += 1
            continue
        try:
            read = vars(barman.cli.p.parse_args(argv))
        except SystemExit:
            read = {"refused": argv}
        wanted = expected(parser, command, case["asked"])
        wanted["format"] = "json" if "json" in argv[:2] else "console"
        for name in sorted(set(read) | set(wanted)):
            if name in ("color", "quiet", "debug", "config", "log_level") and name not in wanted:
                wanted[name] = barman.cli.p.get_default(name)
            if read.get(name) != wanted.get(name):
                different += 1
                print(f"{argv}: {name} is {read.get(name)!r}, asked for {wanted.get(name)!r}")
        count += 1
    print("refused by barman:", refused)
    print(count)
    return 1 if different else 0


sys.exit(main())
