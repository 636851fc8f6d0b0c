"""Asks the warm parent and a plain start for the same, here and over SSH, and compares what they say.

both_ways.py COMMANDS LAB_ENV: the commands to ask for, with commas. Ends with 0 when all is equal. Runs as the account of the lab.
With WARM_ALL in the environment everything is asked over SSH, too; without, which takes half the time, each third question.
"""

import os
import re
import sys
import tempfile

from asking import Lab, hold

# Ways to ask that tell something of one command; each command is asked in all ways of its kind, too.
OTHERS = {
    "list-backups": [["--minimal", "main"]],
    "list-servers": [["--minimal"]],
    "check": [["--nagios", "main"], ["--nagios", "nosuch"]],
    "replication-status": [["--target", "hot-standby", "main"], ["--target", "bad", "main"]],
    "sync-info": [["main", "WAL"], ["main", "WAL", "0"], ["main", "bad"]],
    "check-wal-archive": [["--timeline", "1", "main"], ["--timeline", "x", "main"]],
    "get-wal": [
        ["main", "WAL"],
        ["main", "bad"],
        ["main", "0000000100000000000000FF"],
        ["--peek", "2", "main", "WAL"],
        ["nosuch", "WAL"],
    ],
    "list-files": [["--target", target, "main", "BACKUP"] for target in ("data", "full", "standalone", "wal", "bad")],
}
ALONE = [[], ["--help"], ["extra"], ["--nosuch"]]
OF_SERVERS = [[], ["--help"], ["--", "main"], ["other"], ["nosuch"], ["all"], ["main", "other"], ["main", "--nosuch"]]
OF_SERVERS += [["s\u00e4rver"], [""], ["ma\udcffin"]]
OF_A_BACKUP = [[], ["--help"], ["main"], ["main", "latest"], ["main", "BACKUP"], ["main", ""], ["main", "nosuch"]]
OF_A_BACKUP += [["nosuch", "latest"], ["other", "oldest"], ["main", "BACKUP", "x"]]
WAYS = {"help": ALONE, "list-servers": ALONE, "list-server": ALONE, "diagnose": ALONE}
WAYS.update((name, OF_A_BACKUP) for name in ("show-backup", "show-backups", "list-files"))


def questions(lab, commands):
    backups = lab.here.plain(lab.barman, ["-c", lab.conf, "list-backups", "--minimal", "main"])[1].decode().split()
    wals = []
    for _, _, files in os.walk(lab.facts["BARMAN_HOME"] + "/main/wals"):
        wals += [name for name in files if len(name) == 24]
    stand_for = {"BACKUP": (backups or ["20260101T000000"])[0], "WAL": (sorted(wals) or ["bad"])[-1]}
    asked = [
        [name] + [stand_for.get(word, word) for word in words]
        for name in commands
        for words in WAYS.get(name, OF_SERVERS) + OTHERS.get(name, [])
    ]
    texts = [["-c", lab.conf, *words] for words in asked]
    documents = [["-c", lab.conf, "-f", "json", *words] for words in asked if "--help" not in words]
    broken = [["-c", path, "list-backups", "main"] for path in ("/nonexistent", "/etc/passwd")]
    return texts + documents + broken + [["list-servers"]]


def without_clocks(answer):
    code, *texts = answer
    for pattern, to in (
        (rb"\d+ (second|minute|hour|millisecond|microsecond)s?", b"TIME"),
        (rb"(\d{4}-\d\d-\d\d[ T])?\d\d:\d\d:\d\d(\.\d+)?", b"TIME"),
        (rb"\b\d{10}\.\d+", b"TIME"),
        (rb"0x[0-9a-f]+", b"PLACE"),
        (rb'(wals_per_second\\?"?: \\?"?)[0-9.e-]+', rb"\1RATE"),
        (rb"[0-9.]+/hour", b"RATE"),
    ):
        texts = [re.sub(pattern, to, text) for text in texts]
    return (code, *texts)


def first_difference(want, got):
    lines = []
    for one, other in zip(want, got):
        at = len(os.path.commonprefix([one, other]))
        if one != other:
            lines.append(" plain %r\n warm  %r" % (one[max(0, at - 100) : at + 200], other[max(0, at - 100) : at + 200]))
    return "\n".join(lines)


def hold_equality(where, lab, host, commands, asked):
    warm = lab.warm(host, commands)
    failures = hold("it is ready %s: %r" % (where, warm.first), warm.first[0] == b"H")
    codes = {}
    for words in [] if failures else asked:
        # What the lab's PostgreSQL does meanwhile shows in one of both; not twice.
        for _ in range(3):
            want, got = without_clocks(host.plain(lab.barman, words)), without_clocks(warm.run(words))
            if want == got:
                break
        else:
            failures += 1
            print("differs %s: %r: %r, %r\n%s" % (where, words, want[0], got[0], first_difference(want[1:], got[1:])))
        codes[want[0]] = codes.get(want[0], 0) + 1
    failures += hold("the parent %s ends" % where, warm.close() == 0)
    print("Barman %s %s: %d questions, %d differ; exit codes %r" % (lab.facts["BARMAN_VERSION"], where, len(asked), failures, codes))
    return failures


def hold_logs(lab, commands):
    """What Barman logs, and what Python prints when it can't be logged."""
    failures = 0
    warm = lab.warm(commands=commands)
    with open(lab.conf) as file:
        conf = re.sub(r"(?m)^log_level.*$", "log_level = DEBUG", file.read())
    with tempfile.TemporaryDirectory() as folder:
        path, log = os.path.join(folder, "barman.conf"), os.path.join(folder, "log")
        logs = {}
        for name, file in (("kept", log), ("lost", "/dev/full")):
            with open(path, "w") as out:
                out.write(re.sub(r"(?m)^log_file.*$", "log_file = " + file, conf))
            for words in (["list-backups", "nosuch"], ["list-backups", "main"], ["check", "main"], ["show-backup", "main", "x"]):
                words = ["-c", path, *words]
                answers = []
                for way in ("plain", "warm"):
                    answer = lab.here.plain(lab.barman, words) if way == "plain" else warm.run(words)
                    answers.append(without_clocks(answer))
                    if name == "kept":
                        with open(log, "rb") as written:
                            logs[way] = [re.sub(rb"0x[0-9a-f]+|[0-9]+", b"N", line) for line in written]
                        os.remove(log)
                failures += hold("%s log: %r says the same" % (name, words), answers[0] == answers[1])
                if answers[0] != answers[1]:
                    print(first_difference(answers[0][1:], answers[1][1:]))
                if name == "kept":
                    failures += hold("%r logs the same" % words, logs["plain"] == logs["warm"])
                    if logs["plain"] != logs["warm"]:
                        print(first_difference([b"".join(logs["plain"])], [b"".join(logs["warm"])]))
    warm.close()
    return failures


def main():
    commands, lab_env = sys.argv[1].split(","), sys.argv[2]
    os.umask(0o022)
    lab = Lab(os.path.dirname(os.path.abspath(__file__)), lab_env)
    asked = questions(lab, commands)
    failures = hold_equality("here", lab, lab.here, commands, asked)
    there = lab.there()
    try:
        some = asked if os.environ.get("WARM_ALL") else asked[::3]
        failures += hold_equality("over SSH", lab, there, commands, some)
    finally:
        there.close()
    failures += hold_logs(lab, commands)
    sys.exit(1 if failures else 0)


main()
