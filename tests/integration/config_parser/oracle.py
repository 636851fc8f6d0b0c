#!/usr/bin/env python3
"""Read ini texts with the parser that Barman builds, and tell what it reads.

Texts come on standard input, each behind its length (4 bytes, big-endian), and each is written to a
file that the parser then opens itself. For each text one answer goes to standard output, behind its
length: fields, each behind its length.

A refused text: `refused`, the name of the exception, the line. Another: `read`, then for `DEFAULT`
and every section: its name, how many keys it has, and for each of them the key, the raw value, and
what `get` says: `=` and the value, or the kind of error; `!` in place of `=` when `set` of another
parser refuses the value.
"""

import configparser
import locale
import os
import struct
import sys
import tempfile


OTHER = configparser.ConfigParser(strict=False)
OTHER.add_section("other")


def get(parser, section, key):
    try:
        value = parser.get(section, key)
    except configparser.InterpolationMissingOptionError as error:
        return "missing " + error.reference
    except configparser.InterpolationSyntaxError:
        return "syntax"
    except configparser.InterpolationDepthError:
        return "depth"
    try:
        OTHER.set("other", "key", value)
    except ValueError:
        return "!" + value
    return "=" + value


def read(path, text):
    parser = configparser.ConfigParser(strict=False)
    try:
        if parser.read(path) != [path]:
            raise SystemExit("the file was not read")
    except configparser.MissingSectionHeaderError as error:
        return ["refused", "MissingSectionHeaderError", str(error.lineno)]
    except configparser.ParsingError as error:
        return ["refused", "ParsingError", str(error.errors[0][0])]
    except UnicodeDecodeError:
        return ["refused", "UnicodeDecodeError", str(broken_line(text))]
    fields = ["read"]
    for section in [parser.default_section] + parser.sections():
        # `options` has no answer for the default section.
        keys = list(parser[section])
        fields += [section, str(len(keys))]
        for key in keys:
            fields += [key, parser.get(section, key, raw=True), get(parser, section, key)]
    return fields


def broken_line(text):
    """The line of the first bytes that are no text."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        before = text[: error.start].decode().replace("\r\n", "\n").replace("\r", "\n")
        return before.count("\n") + 1
    raise SystemExit("text that only the parser could not decode")


def main():
    if locale.getpreferredencoding(False).lower().replace("-", "") != "utf8":
        raise SystemExit("start this under a UTF-8 locale, as Barman is")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "barman.conf")
        while True:
            head = sys.stdin.buffer.read(4)
            if not head:
                return
            text = sys.stdin.buffer.read(struct.unpack(">I", head)[0])
            with open(path, "wb") as file:
                file.write(text)
            answer = b""
            for field in read(path, text):
                field = field.encode()
                answer += struct.pack(">I", len(field)) + field
            sys.stdout.buffer.write(struct.pack(">I", len(answer)) + answer)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
