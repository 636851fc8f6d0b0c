#!/usr/bin/env python3
"""Print what Barman's own code says of the keys of its configuration, as one JSON document.

    config-keys.py < PAIRS

Knows no key by name but those that Barman looks at outside of its table of parsers. PAIRS is a
JSON array of [KEY, VALUE]; `taken` tells of each whether this Barman takes the value as it stands
in a file, without an error, without a warning and without another value in its place.
"""

import ast
import inspect
import io
import json
import logging
import re
import sys
from types import SimpleNamespace

from barman import config, output

FILE = "[barman]\nbarman_home = /nowhere\n[main]\nconninfo = host=x\n"


def global_keys():
    """The keys of [barman] alone: those that Config reads, and those that it lets pass."""
    source = inspect.getsource(config)
    keys = set(re.findall(r"""get\(\s*["']barman["'],\s*["'](\w+)["']""", source))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == "validate_global_config":
            for part in ast.walk(node):
                if isinstance(part, ast.List):
                    keys.update(word.value for word in part.elts if isinstance(word, ast.Constant))
    return keys


def keys():
    """Every key with the places where it has an effect."""
    server = set(config.ServerConfig.KEYS)
    model = set(config.ModelConfig.KEYS) if hasattr(config, "ModelConfig") else set()
    alone = global_keys()
    inherited = alone | (server & set(config.ServerConfig.BARMAN_KEYS))
    return {
        key: [
            name
            for name, of in (("Global", inherited), ("Server", server), ("Model", model))
            if key in of
        ]
        for key in sorted(server | model | alone)
    }


class Judge(logging.Handler):
    """Asks Barman about values, and hears its warnings."""

    def __init__(self):
        logging.Handler.__init__(self)
        self.warned = False
        logging.getLogger().addHandler(self)
        output.warning = lambda *_args, **_more: self.emit(None)
        self.config = config.Config(io.StringIO(FILE))

    def emit(self, record):
        self.warned = True

    def takes(self, key, value):
        self.warned = False
        try:
            self.read(key, value)
        except Exception:
            return False
        return not self.warned

    def read(self, key, value):
        parsed = self.config._config
        alone = key not in config.ServerConfig.KEYS and key != "model"
        section = "barman" if alone else "main"
        # As a file would have it: ConfigParser's own `set` is stricter than its reader.
        kept = dict(parsed._sections[section])
        parsed._sections[section][key] = value
        try:
            list(parsed.items(section))
            if alone:
                self.config._parse_global_config()
                if key == "log_level":
                    self.log_level()
            elif key == "model":
                self.config._is_model(section)
            elif key in config.ServerConfig.FIXED:
                raise ValueError("it is never read")
            else:
                self.server(key, section)
        finally:
            parsed._sections[section] = kept

    def log_level(self):
        from barman.utils import parse_log_level

        if parse_log_level(self.config.log_level) is None:
            raise ValueError("it falls back")

    def server(self, key, section):
        given = self.config.get(section, key, {}, none_value="")
        reader = config.ServerConfig.__new__(config.ServerConfig)
        value = reader.invoke_parser(key, section, None, given)
        if value == "" or value == "None":
            value = None
        self.second_look(key, value)

    def second_look(self, key, value):
        """What other parts of Barman think of a value that its configuration let pass."""
        from barman.cloud_providers import get_snapshot_interface_from_server_config
        from barman.server import Server
        from barman.utils import check_aws_snapshot_lock_mode

        settings = dict(
            name="main",
            bandwidth_limit=None,
            tablespace_bandwidth_limit=None,
            minimum_redundancy="0",
            retention_policy=None,
            retention_policy_mode="auto",
            wal_retention_policy="main",
        )
        if key in settings:
            settings[key] = value
            if key == "wal_retention_policy":
                settings["retention_policy"] = "REDUNDANCY 1"
            server = SimpleNamespace(config=SimpleNamespace(**settings), backup_manager=None)
            Server._init_bandwidth_limits(server)
            Server._init_minimum_redundancy(server)
            Server._init_retention_policies(server)
        elif key == "aws_snapshot_lock_mode" and value:
            check_aws_snapshot_lock_mode(value)
        elif key == "snapshot_provider" and value:
            chosen = SimpleNamespace(snapshot_provider=value)
            try:
                get_snapshot_interface_from_server_config(chosen)
            except (Exception, SystemExit) as error:
                if "Unsupported snapshot provider" in str(error):
                    raise


def main():
    pairs = json.load(sys.stdin)
    judge = Judge() if pairs else None
    taken = [judge.takes(key, value) for key, value in pairs]
    json.dump({"keys": keys(), "taken": taken}, sys.stdout)


main()
