"""`/diagnose` of both, value by value and against the schema that pg-backup-api publishes."""

import re

import jsonschema
import yaml

from sides import FACTS, OURS, THEIRS
from table import TABLE

# What the clock and the cluster change between two requests.
MOVES = re.compile("time|current|xlogpos|lsn|size|wal|age|stats")


def leaves(value, path=""):
    """Every value of a document by its place."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from leaves(below, "%s/%s" % (path, key))
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from leaves(below, "%s/%d" % (path, number))
    else:
        yield path, value


def diagnosed():
    """`/diagnose` of both: the same places, and the same values but for secrets and the time."""
    theirs, ours = (dict(leaves(side.send("GET", "/diagnose").body)) for side in (THEIRS, OURS))
    # Each runs Barman by a Python of its own.
    for values in (theirs, ours):
        del values["/global/system_info/python_executable"]
    found = ["place " + path for path in set(theirs) ^ set(ours)]
    changed = [path for path in theirs if path in ours and theirs[path] != ours[path]]
    masked = [path for path in changed if "*REDACTED*" in str(ours[path])]
    for path in changed:
        if path not in masked and not MOVES.search(path):
            found.append("%s: %r, %r" % (path, theirs[path], ours[path]))
    if not masked:
        TABLE.wrong.append("GET /diagnose: no secret was masked")
    counts = "%d values" % len(theirs), "%d values, %d masked" % (len(ours), len(masked))
    TABLE.add("GET /diagnose, value by value", *counts, found, None)
    with open(FACTS["SCHEMA"], encoding="utf-8") as file:
        document = yaml.safe_load(file)
    # Barman of today prints some things that the schema does not allow; they are Barman's on both sides.
    verdicts = [schema(document, side.send("GET", "/diagnose").body) for side in (THEIRS, OURS)]
    found = [] if verdicts[0] == verdicts[1] else ["schema"]
    TABLE.add("GET /diagnose, against the schema that pg-backup-api publishes", *verdicts, found, None)


def schema(document, body):
    """`valid`, or the first places that are not."""

    def nullable(value):
        # JSON Schema has no `nullable`, which OpenAPI 3.0 has.
        if isinstance(value, list):
            return [nullable(below) for below in value]
        if not isinstance(value, dict):
            return value
        value = {key: nullable(below) for key, below in value.items()}
        if value.get("nullable") and isinstance(value.get("type"), str):
            value["type"] = [value["type"], "null"]
        return value

    document = nullable(document)
    root = dict(document["components"]["schemas"]["DiagnoseOutput"], components=document["components"])
    errors = list(jsonschema.Draft4Validator(root).iter_errors(body))
    places = {"%s: %s" % ("/".join(map(str, error.absolute_path)), error.message[:60]) for error in errors}
    return "; ".join(sorted(places)[:6]) or "valid"
