"""Requests to both, and the table of what they answered."""

import collections
import json
import re
import time

from sides import JSON, OURS, THEIRS


def differences(theirs, ours, beside, ids):
    """What a client could tell apart."""
    found = []
    if theirs.status != ours.status:
        found.append("status")
    if theirs.status == 405:
        allowed = set(re.split(", *", theirs.headers.get("Allow", ""))) - {"HEAD", "OPTIONS"}
        if allowed != set(re.split(", *", ours.headers.get("Allow", ""))):
            found.append("Allow")
    there, here = theirs.body, ours.body
    if not (isinstance(there, dict) and isinstance(here, dict)):
        return found + ([] if there == here else ["body"])
    if set(there) - set(here) or (set(here) - set(there) and not beside):
        found.append("keys")
    for key in sorted(set(there) & set(here)):
        if key == "operations":
            # Ours has those of pg-backup-api, which lie on the same disk, and its own.
            lines = [(line["id"], line["type"]) for line in here[key]]
            for line in there[key]:
                if set(line) != {"id", "type"} or (line["id"], line["type"]) not in lines:
                    found.append("operation %s" % line.get("id"))
        elif key == "operation_id" and ids:
            continue
        elif there[key] != here[key]:
            found.append("text" if key == "error" else key)
    return found


class Table:
    """The lines of the table, and what is wrong with them."""

    def __init__(self):
        self.lines = []
        self.wrong = []
        self.counts = collections.Counter()

    def add(self, request, theirs, ours, found, why):
        self.counts["requests"] += 1
        if not found:
            self.counts["equal"] += 1
            verdict = "equal"
        else:
            self.counts["different"] += 1
            verdict = "different (%s): %s" % (", ".join(found), why or "NOBODY SAID WHY")
        if bool(found) != bool(why):
            self.wrong.append("%s: %s" % (request, verdict if found else "equal, though a reason is given: " + why))
        cells = [request, theirs, ours, verdict]
        self.lines.append("| %s |" % " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells))

    def show(self):
        print("| request | pg-backup-api | barmanapi | |\n|---|---|---|---|")
        print("\n".join(self.lines))
        print("\n%(requests)s requests to each: %(equal)s answered alike, %(different)s differently." % self.counts)
        for wrong in self.wrong:
            print("failed: " + wrong)


TABLE = Table()


def both(request, send, why=None, beside=False, ids=True):
    """Has both sides answer, theirs first, and compares."""
    theirs, ours = send(THEIRS), send(OURS)
    TABLE.add(request, theirs.word(), ours.word(), differences(theirs, ours, beside, ids), why)
    return theirs, ours


def ask(method, path, why=None, headers=(), body=None, known=True, note="", beside=False, ids=True):
    """A request that begins nothing."""
    show = "%s %s%s" % (method, path, " " + note if note else "")
    data = body.encode() if isinstance(body, str) else body
    return both(show, lambda side: side.send(method, side.fill(path), headers, data, known), why, beside, ids)


def spare():
    """Waits until pg-backup-api can begin another operation: two of one second are one too many for it."""
    time.sleep(max(0, THEIRS.begun + 1.05 - time.monotonic()))


def post(path, body, why=None, note=""):
    """A body that is refused by at least one of the two."""
    text = body if isinstance(body, str) else json.dumps(body)
    shown = text if len(text) < 90 else text[:87] + "..."

    def send(side):
        if side is THEIRS:
            spare()
        answer = side.send("POST", path, JSON, side.fill(text).encode())
        if side is THEIRS and answer.status == 202:
            side.begun = time.monotonic()
        return answer

    return both("POST %s `%s`%s" % (path, shown, " " + note if note else ""), send, why)


def begin(name, path, body, why=None, end=None):
    """An operation on both sides, and how it ends."""
    theirs, ours = post(path, body, why)
    for side, answer in ((THEIRS, theirs), (OURS, ours)):
        if isinstance(answer.body, dict) and "operation_id" in answer.body:
            side.ids[name] = answer.body["operation_id"]
    show = "GET %s/ID of %s, at its end" % (path, name)
    if all(name in side.ids for side in (THEIRS, OURS)):
        theirs, ours = both(show, lambda side: side.end("%s/%s" % (path, side.ids[name])), beside=True)
        if end and ours.body["status"] != end:
            TABLE.wrong.append("%s: %s, expected %s: %s" % (show, ours.body["status"], end, ours.raw))
    elif name in OURS.ids:
        OURS.end("%s/%s" % (path, OURS.ids[name]))
