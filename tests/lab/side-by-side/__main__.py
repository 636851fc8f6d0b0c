"""Sends the same requests to pg-backup-api and to barmanapi and prints a table of what each answered.

Called by side-by-side.sh, which starts both and tells by the environment where they are. Status, keys,
status words and texts are compared. Keys of barmanapi beside those of pg-backup-api are fine in an
operation and in a list, and nowhere else; the page of an error counts by its text. An answer that
differs must have a reason here; a reason where nothing differs is as wrong.
"""

import json
import os
import sys
import threading
import time

from diagnosis import diagnosed
from sides import FACTS, JSON, OURS, THEIRS
from table import TABLE, ask, begin, post, spare

TARGET = FACTS["TARGET"]
MAIN = "/servers/main/operations"
OTHER = "/servers/other/operations"
NOWHERE = "/servers/nosuch/operations"

# Why an answer is meant to differ; API.md and CHANGELOG.md say the same.
WHO = "whoever asks must say who it is"
SLASH = "a slash at the end is taken on all of these routes"
METHODS = "every method but those that do something is 405"
WORDS = "what is a page of its framework there is words here: which methods work; the header Allow is the same"
PARAMETERS = "a parameter that means nothing here is refused"
KEYS = "a key that means nothing here is refused, not passed over"
UNCAUGHT = "what pg-backup-api has no answer to (500) is 400"
MEDIA = "a body that does not say it is JSON is 400, as pg-backup-api's own documents say"
SYNTAX = "what is a page of its framework there is words here: where a body stops being JSON"
EMPTY = "what is a page of its framework there is words here: an empty body says nothing"
TYPES = "a value of another type is refused, where pg-backup-api begins what can't end"
TARGETS = "a restore goes to a [target:NAME] and nowhere else"
NAMED = "a target may be named in place of its command"
BACKUPS = "every word for a backup that Barman takes is taken"
PIECES = "pg-backup-api takes any piece of the word last-failed for it"
CHANGES = "changes that can't be made are refused before they begin"
SAME = "the same recovery while it runs is the one that runs"
SECONDS = "operations of one second are different ones"


def recovery(folder, **changes):
    body = {
        "type": "recovery",
        "backup_id": "latest",
        "remote_ssh_command": TARGET,
        "destination_directory": "{dir}/" + folder,
    }
    body.update(changes)
    return {key: value for key, value in body.items() if value is not None}


def looked_at():
    """Everything that begins nothing."""
    ask("GET", "/status")
    ask("GET", "/status/", SLASH)
    ask("GET", "/status", WHO, known=False, note="by nobody")
    for path in ("/diagnose", "/operations", MAIN, MAIN + "/20200101T000000"):
        ask("GET", path, WHO, known=False, note="by nobody")
    for path in ("/operations", MAIN, OTHER):
        ask("GET", path, beside=True)
        ask("GET", path + "/", SLASH)
    ask("GET", NOWHERE)
    ask("GET", NOWHERE + "/20200101T000000")
    ask("GET", "/servers/a%20b/operations", note="(no name of a server)")
    for place in ("/operations", MAIN):
        for number in ("20200101T000000", "x", "20200101T000000-x"):
            ask("GET", "%s/%s" % (place, number))
    paths = ("/status", "/diagnose", "/operations", MAIN, "/operations/x", MAIN + "/x")
    for path in paths:
        for method in ("POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"):
            if method == "POST" and path in ("/operations", MAIN):
                continue
            ask(method, path, METHODS if method in ("HEAD", "OPTIONS") else WORDS)
    for path in ("/servers/main/nowhere", "/operations/x/y", "/servers/main", MAIN + "/x/y"):
        ask("GET", path)
    ask("GET", "/operations?limit=1", PARAMETERS)


def refused():
    """Bodies that make no operation."""
    for body in ("{}", "null", "[]", '""', "0", "false"):
        post(MAIN, body)
        post("/operations", body)
    post(NOWHERE, "{}")
    post(NOWHERE, recovery("x"))
    post(NOWHERE, {"type": "nosuch"})
    for body in ("[1]", '"x"', "1", "true"):
        post(MAIN, body, UNCAUGHT)
        post("/operations", body, UNCAUGHT)
    for body in ({"type": "nosuch"}, {"type": None}, {"type": []}, {"type": "config_update", "changes": []}):
        post(MAIN, body, UNCAUGHT)
    for body in ({"type": "nosuch"}, {"type": "recovery"}, {"changes": []}, {"type": "config_switch", "reset": True}):
        post("/operations", body, UNCAUGHT)
    for body in ("{", "{'type': 'recovery'}", '{"a":1}x'):
        post(MAIN, body, SYNTAX)
        post("/operations", body, SYNTAX)
    for path in (MAIN, "/operations"):
        for kind in (None, "text/plain", "application/x-www-form-urlencoded"):
            headers = {"Content-Type": kind} if kind else {}
            ask("POST", path, MEDIA, headers, '{"type":"recovery"}', note="as %s" % kind)
        ask("POST", path, EMPTY, JSON, "", note="with nothing")
    post(MAIN, recovery("x", backup_id=None))
    post(MAIN, {"x": 1}, KEYS)
    post(MAIN, {"type": "recovery"})
    post(MAIN, recovery("x", destination_directory=None))
    post(MAIN, recovery("x", remote_ssh_command=None))
    post(MAIN, {"backup_id": "latest"})
    for word in ("20200101T000000", "no-such-name", "../x", "x" * 80):
        post(MAIN, recovery("x", backup_id=word))
    post(MAIN, {"backup_id": "20200101T000000"}, note="(the backup comes first)")
    for word in ([], {}, True, 1):
        post(MAIN, recovery("x", backup_id=word), UNCAUGHT)
    switch = {"type": "config_switch"}
    post(MAIN, switch)
    for value in (False, None, "true", 1):
        post(MAIN, dict(switch, reset=value))
    for value in (1, None):
        post(MAIN, dict(switch, model_name=value))
    post(MAIN, dict(switch, model_name="main:small", reset=True))
    post(MAIN, dict(switch, model_name="main:small", reset=False))
    post("/operations", {"type": "config_update"})


def begun():
    """Operations, and what becomes of them."""
    begin("a recovery", MAIN, recovery("a"), end="DONE")
    begin("a recovery without a type", MAIN, recovery("b", type=None), end="DONE")
    begin("a recovery by id", MAIN, recovery("c", backup_id=backup()), end="DONE")
    begin("a recovery of the oldest", MAIN, recovery("d", backup_id="oldest"), end="DONE")
    begin("a recovery of the first", MAIN, recovery("e", backup_id="first"), end="DONE")
    begin("a recovery of the last", MAIN, recovery("f", backup_id="last"), end="DONE")
    begin("a second recovery to the same place", MAIN, recovery("a"), end="FAILED")
    begin("a recovery of a name", MAIN, recovery("g", backup_id="weekly"), BACKUPS)
    begin("a recovery of the latest full one", MAIN, recovery("h", backup_id="latest-full"), BACKUPS)
    begin("a recovery to a named target", MAIN, recovery("i", remote_ssh_command=None, target="lab"), NAMED)
    begin("a recovery of the last one that failed", MAIN, recovery("j", backup_id="last-failed"), end="FAILED")
    begin("a switch", MAIN, {"type": "config_switch", "model_name": "main:small"}, end="DONE")
    begin("a reset", MAIN, {"type": "config_switch", "reset": True}, end="DONE")
    begin("a switch to no model", MAIN, {"type": "config_switch", "model_name": "nosuch"}, end="FAILED")
    change = {"scope": "server", "server_name": "main", "description": "changed"}
    begin("an update", "/operations", {"type": "config_update", "changes": [change]}, end="DONE")
    ask("GET", "/operations/{a recovery}", note="(of a server)")
    ask("GET", MAIN + "/{an update}", note="(of the installation)")
    ask("GET", OTHER + "/{a recovery}", note="(of another server)")
    ask("GET", MAIN + "/{a recovery}/", SLASH)
    for path in ("/operations", MAIN):
        ask("GET", path, beside=True, note="(with what was begun)")
    for place, name in (
        (MAIN, "a recovery"),
        (MAIN, "a switch"),
        (MAIN, "a switch to no model"),
        ("/operations", "an update"),
    ):
        path = "%s/%s" % (place, THEIRS.ids[name])
        ask("GET", path, beside=True, ids=False, note="(%s, as pg-backup-api began it)" % name)


def left_behind():
    """Files of operations whose process has died, and such that nobody can read."""
    job = {"operation_type": "recovery", "start_time": "2024-01-02T03:04:05.000006", "backup_id": "latest"}
    end = dict(job, success=True, end_time="2024-01-02T03:05:05.000006", output="x")
    files = {
        "20240102T000001": (json.dumps(job), None),
        "20240102T000002": (json.dumps(job), json.dumps(end)),
        "20240102T000003": (json.dumps(job), json.dumps(dict(end, success=False))),
        "20240102T000004": (json.dumps(job), "{}"),
        "20240102T000005": (None, json.dumps(end)),
    }
    for number, texts in files.items():
        for part, text in zip(("jobs", "output"), texts):
            if text is not None:
                path = os.path.join(FACTS["BARMAN_HOME"], "main", part, number + ".json")
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
                os.chown(path, int(FACTS["LAB_UID"]), int(FACTS["LAB_GID"]))
        note = "(job %s, output %s)" % tuple("there" if text is not None else "missing" for text in texts)
        ask("GET", "%s/%s" % (MAIN, number), beside=True, ids=False, note=note)
    ask("GET", MAIN, beside=True, note="(with what was left behind)")


def meant():
    """Where barmanapi refuses, or does, what pg-backup-api does not; nothing of theirs is waited for."""
    for key, value in (
        ("remote_ssh_command", "ssh nobody@127.0.0.1"),
        ("remote_ssh_command", "false"),
        ("destination_directory", "/nonexistent/x"),
        ("destination_directory", "{dir}/../../x"),
    ):
        post(MAIN, recovery("y", **{key: value}), TARGETS)
    for key, value in (("remote_ssh_command", 1), ("destination_directory", 1), ("destination_directory", "")):
        post(MAIN, recovery("y", **{key: value}), TYPES)
    post(MAIN, recovery("y", remote_ssh_command="false", server_name="other"), KEYS)
    for word in ("a", "-", "last-"):
        post(MAIN, recovery("y", remote_ssh_command="false", backup_id=word), PIECES)
    nosuch = {"scope": "server", "server_name": "nosuch", "description": "x"}
    for changes in ("x", 1, [{"scope": "server"}], [nosuch]):
        post("/operations", {"type": "config_update", "changes": changes}, CHANGES)
    script = {"scope": "server", "server_name": "other", "pre_backup_script": "true"}
    post("/operations", {"type": "config_update", "changes": [script]}, CHANGES)


def twice():
    """The same recovery twice, and many operations in one second."""
    for show, why, folders in (
        ("POST %s twice, the same recovery: different ids" % MAIN, SAME, ("z", "z")),
        ("POST %s four times at once: answers 202 with different ids" % MAIN, SECONDS, ("z1", "z2", "z3", "z4")),
    ):
        counts = []
        for side in (THEIRS, OURS):
            answers = []
            spare()

            def send(folder, side=side, answers=answers):
                body = side.fill(json.dumps(recovery(folder)))
                answers.append(side.send("POST", MAIN, JSON, body.encode()))

            if why is SAME:
                send(folders[0])
                time.sleep(1.05 if side is THEIRS else 0)
                send(folders[1])
                THEIRS.begun = time.monotonic()
            else:
                threads = [threading.Thread(target=send, args=(folder,)) for folder in folders]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            numbers = {answer.body["operation_id"] for answer in answers if answer.status == 202}
            for number in numbers:
                side.end("%s/%s" % (MAIN, number))
            counts.append("%d: %s" % (len(numbers), ", ".join(sorted(str(answer.status) for answer in answers))))
        TABLE.add(show, counts[0], counts[1], [] if counts[0] == counts[1] else ["ids"], why)


def backup():
    """The id of a backup of main."""
    backups = OURS.send("GET", "/diagnose").body["servers"]["main"]["backups"]
    return sorted(number for number, about in backups.items() if about["status"] == "DONE")[0]


def ready():
    """Both answer, ours with a catalogue."""
    for side, path in ((THEIRS, "/status"), (OURS, "/readyz")):
        for _ in range(300):
            try:
                if side.send("GET", path).status == 200:
                    break
            except OSError:
                pass
            time.sleep(0.1)
        else:
            sys.exit("failed: %s does not answer" % side.name)


def main():
    ready()
    diagnosed()
    looked_at()
    refused()
    begun()
    left_behind()
    meant()
    twice()
    TABLE.show()
    if TABLE.counts["requests"] < 60:
        sys.exit("failed: fewer than sixty requests")
    sys.exit(1 if TABLE.wrong else 0)


if __name__ == "__main__":
    main()
