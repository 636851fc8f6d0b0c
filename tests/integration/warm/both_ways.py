"""Asks the warm parent and a plain start for the same, and compares what they say.

both_ways.py TEXT LAB_ENV: TEXT is what the parent runs. Ends with 0 when all is equal. Runs as the account of the lab.
"""

import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time

HEADER = struct.Struct("!cII")
NUMBER = struct.Struct("!I")
READER = (
    "import os;r=lambda n,b:b if len(b)>=n else r(n,b+(os.read(0,n-len(b))or os._exit(0)));"
    "exec(compile(r(int(r(10,b'')),b''),'<barmanapi warm>','exec'))"
)
PLURAL = ["list-backups", "list-backup", "status", "replication-status", "show-servers", "show-server", "check"]
SINGLE = ["list-processes", "sync-info", "check-wal-archive"]
OF_A_BACKUP = ["show-backup", "list-files"]
COMMANDS = PLURAL + SINGLE + OF_A_BACKUP + ["help", "list-servers", "list-server", "diagnose", "get-wal"]


class Warm:
    def __init__(self, text, barman, environment, idle=600):
        self.environment = environment
        with open(barman) as file:
            python = file.readline()[2:].split()
        self.process = subprocess.Popen(
            python + ["-c", READER, barman, str(idle), ",".join(COMMANDS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd="/", env=environment,
        )
        self.process.stdin.write(b"%010d" % len(text) + text)
        self.number = 0
        self.first = self.frame()

    def read(self, length):
        content = b""
        while len(content) < length:
            part = self.process.stdout.read(length - len(content))
            if not part:
                return None
            content += part
        return content

    def frame(self):
        header = self.read(HEADER.size)
        if header is None:
            return (b"", 0, b"")
        kind, number, length = HEADER.unpack(header)
        return (kind, number, self.read(length))

    def ask(self, words, environment=None):
        self.number += 1
        fields = [str(len(words)).encode()] + [os.fsencode(word) for word in words]
        for name, value in (environment or self.environment).items():
            fields += [name.encode(), value.encode()]
        content = b"".join(NUMBER.pack(len(field)) + field for field in fields)
        self.process.stdin.write(HEADER.pack(b"R", self.number, len(content)) + content)

    def stop(self, number):
        self.process.stdin.write(HEADER.pack(b"S", self.number, 1) + bytes([number]))

    def answer(self):
        out = err = b""
        while True:
            kind, _, content = self.frame()
            if kind == b"O":
                out += content
            elif kind == b"E":
                err += content
            elif kind == b"N":
                return ("refused", content, b"")
            elif kind == b"X":
                code = NUMBER.unpack(content[1:])[0]
                return (code if content[:1] == b"e" else -code, out, err)
            elif kind == b"":
                return ("gone", out, err)

    def run(self, words, environment=None):
        self.ask(words, environment)
        return self.answer()


def plain(barman, words, environment):
    done = subprocess.run(
        [barman] + words, stdin=subprocess.DEVNULL, capture_output=True, cwd="/", env=environment, start_new_session=True
    )
    return (done.returncode, done.stdout, done.stderr)


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


def questions(conf, backup, wal):
    asked = []
    for name in ("help", "list-servers", "list-server", "diagnose"):
        asked += [[name], [name, "--help"], [name, "extra"], [name, "--nosuch"]]
    for name in PLURAL + SINGLE:
        asked += [[name, *rest] for rest in ([], ["--help"], ["--", "main"], ["other"], ["nosuch"], ["all"])]
        asked += [[name, *rest] for rest in (["main", "other"], ["main", "--nosuch"], ["s\u00e4rver"], [""], ["ma\udcffin"])]
    for name in OF_A_BACKUP:
        asked += [[name, *rest] for rest in ([], ["--help"], ["main"], ["main", "latest"], ["main", backup], ["main", ""])]
        asked += [[name, *rest] for rest in (["main", "nosuch"], ["nosuch", "latest"], ["other", "oldest"], ["main", backup, "x"])]
    asked += [["list-files", "--target", target, "main", backup] for target in ("data", "full", "standalone", "wal", "bad")]
    asked += [
        ["list-backups", "--minimal", "main"],
        ["list-servers", "--minimal"],
        ["check", "--nagios", "main"],
        ["check", "--nagios", "nosuch"],
        ["replication-status", "--target", "hot-standby", "main"],
        ["replication-status", "--target", "bad", "main"],
        ["sync-info", "main", wal],
        ["sync-info", "main", wal, "0"],
        ["sync-info", "main", "bad"],
        ["check-wal-archive", "--timeline", "1", "main"],
        ["check-wal-archive", "--timeline", "x", "main"],
        ["get-wal", "main", wal],
        ["get-wal", "main", "bad"],
        ["get-wal", "main", "0000000100000000000000FF"],
        ["get-wal", "--peek", "2", "main", wal],
        ["get-wal", "nosuch", wal],
    ]
    texts = [["-c", conf, *words] for words in asked]
    documents = [["-c", conf, "-f", "json", *words] for words in asked if "--help" not in words]
    broken = [["-c", path, "list-backups", "main"] for path in ("/nonexistent", "/etc/passwd")]
    return texts + documents + broken + [["list-servers"]]


def hold_equality(warm, barman, environment, asked):
    failures = 0
    for words in asked:
        want = without_clocks(plain(barman, words, environment))
        got = without_clocks(warm.run(words))
        if got != want:
            failures += 1
            print("differs: %r: %r, %r\n%s" % (words, want[0], got[0], first_difference(want[1:], got[1:])))
    print("%d questions, %d answers differ" % (len(asked), failures))
    return failures


def first_difference(want, got):
    lines = []
    for one, other in zip(want, got):
        at = len(os.path.commonprefix([one, other]))
        if one != other:
            lines.append(" plain %r\n warm  %r" % (one[max(0, at - 100) : at + 200], other[max(0, at - 100) : at + 200]))
    return "\n".join(lines)


def hold(name, condition):
    print("%s: %s" % ("ok" if condition else "FAILED", name))
    return 0 if condition else 1


def ended(pid):
    for _ in range(500):
        if not os.path.exists("/proc/%d" % pid):
            return True
        time.sleep(0.01)
    return False


def hold_refusals(warm, conf, environment):
    failures = 0
    for words in (
        ["-c", conf, "backup", "main"],
        ["-c", conf, "cron"],
        ["-c", conf, "-q", "list-servers"],
        ["-c", conf],
        ["--version"],
        ["-c", conf, "-f", "console", "list-servers"],
        ["/bin/sh"],
    ):
        failures += hold("%r is refused" % words, warm.run(words)[0] == "refused")
    for name in ("PYTHONPATH", "LD_PRELOAD", "LC_ALL", "TZ"):
        other = dict(environment, **{name: "x"})
        failures += hold("another %s is refused" % name, warm.run(["-c", conf, "list-servers"], other)[0] == "refused")
    other = dict(environment, COLUMNS="40")
    words = ["-c", conf, "list-backups", "--help"]
    return failures + hold("another width counts", warm.run(words, other) == plain(warm.barman, words, other))


def hold_logs(warm, barman, lab, environment):
    """What Barman logs, and what Python prints when it can't be logged."""
    failures = 0
    with open(lab["BARMAN_CONF"]) as file:
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
                    answer = plain(barman, words, environment) if way == "plain" else warm.run(words)
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
    return failures


def hold_stops(text, barman, environment, user):
    """A server whose PostgreSQL takes connections and says nothing."""
    failures = 0
    with socket.socket() as listener, tempfile.TemporaryDirectory() as folder:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        conf = os.path.join(folder, "barman.conf")
        with open(conf, "w") as file:
            file.write("[barman]\nbarman_user = %s\nbarman_home = %s\nlog_file = %s/log\n" % (user, folder, folder))
            file.write("[slow]\ndescription = x\nbackup_method = postgres\narchiver = on\n")
            file.write("conninfo = host=127.0.0.1 port=%d user=x dbname=x\n" % listener.getsockname()[1])
            file.write("streaming_conninfo = host=127.0.0.1 port=%d user=x\n" % listener.getsockname()[1])
        warm = Warm(text, barman, environment)
        warm.ask(["-c", conf, "status", "slow"])
        child = NUMBER.unpack(warm.frame()[2])[0]
        connection, _ = listener.accept()
        failures += hold("the child leads a group and a session", os.getpgid(child) == child == os.getsid(child))
        warm.stop(9)
        failures += hold("a stop ends it", warm.answer()[0] == -9)
        warm.ask(["-c", conf, "status", "slow"])
        child = NUMBER.unpack(warm.frame()[2])[0]
        other, _ = listener.accept()
        warm.process.stdin.close()
        failures += hold("the end of its input ends it", warm.process.wait(10) == 0)
        failures += hold("and its children", ended(child))
        connection.close()
        other.close()
    return failures


def main():
    script, lab_env = sys.argv[1:]
    with open(script, "rb") as file:
        text = file.read()
    with open(lab_env) as file:
        lab = dict(line.strip().split("=", 1) for line in file if "=" in line)
    lab = {name: value.strip("'") for name, value in lab.items()}
    os.umask(0o022)
    barman, conf = lab["BARMAN"], lab["BARMAN_CONF"]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": lab["LAB_HOME"], "LANG": "C.UTF-8"}
    environment["USER"] = environment["LOGNAME"] = lab["LAB_USER"]
    backups = plain(barman, ["-c", conf, "list-backups", "--minimal", "main"], environment)[1].decode().split()
    wals = []
    for folder, _, files in os.walk(lab["BARMAN_HOME"] + "/main/wals"):
        wals += [name for name in files if len(name) == 24]
    warm = Warm(text, barman, environment)
    warm.barman = barman
    failures = hold("it is ready", warm.first[0] == b"H")
    if not failures:
        asked = questions(conf, (backups or ["20260101T000000"])[0], (sorted(wals) or ["bad"])[-1])
        failures += hold_equality(warm, barman, environment, asked)
        failures += hold_refusals(warm, conf, environment)
        failures += hold_logs(warm, barman, lab, environment)
        failures += hold_stops(text, barman, environment, lab["LAB_USER"])
        idle = Warm(text, barman, environment, idle=0.2)
        failures += hold("without work it ends", idle.process.wait(10) == 0)
    sys.exit(1 if failures else 0)


main()
