"""What the warm parent refuses, what its children find around them, how they end, and which Barman it does not keep.

surroundings.py LAB_ENV: ends with 0 when all is well. Runs as the account of the lab.
"""

import difflib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

from asking import Lab, hold

LAUNCHER = """#!%s
import re
import sys
from barman.cli import main
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])
    sys.exit(main())
"""
HELPERS = """
import sys


class BarmanSubProcess(object):
    def __init__(self, command=sys.argv[0], subcommand=None):
        pass
"""
# A Barman that says what it finds around itself, and ends as it is told.
CLI = """
import argparse, atexit, json, os, resource, signal, subprocess, sys, time
import barman.command_wrappers

class Parser(argparse.ArgumentParser):
    def parse_args(self, *words):
        print("parsed")
        print("parsed", file=sys.stderr)


p = Parser()


def main():
    word = sys.argv[-1]
    if word == "look":
        facts = {
            "argv": sys.argv, "prog": p.prog, "executable": sys.executable, "path": sys.path, "flags": repr(sys.flags),
            "main": [__import__("__main__").__name__, __import__("__main__").__file__, sys.modules["__main__"].main is main],
            "cwd": os.getcwd(), "umask": os.umask(0), "environment": sorted(os.environ.items()), "zone": time.tzname,
            "leads": [os.getpid() == os.getpgid(0) == os.getsid(0)], "files": sorted(os.listdir("/proc/self/fd")),
            "input": [os.readlink("/proc/self/fd/0"), sys.stdin.read()], "nice": os.nice(0),
            "signals": [line for line in open("/proc/self/status") if line.startswith(("SigBlk", "SigIgn", "SigCgt"))],
            "encodings": [[s.encoding, s.errors, s.isatty()] for s in (sys.stdin, sys.stdout, sys.stderr)],
            "limits": [resource.getrlimit(n) for n in range(16)], "children": subprocess.check_output(["sh", "-c", "echo $#"]).decode(),
            "threads": len(os.listdir("/proc/self/task")), "helper": barman.command_wrappers.BarmanSubProcess.__init__.__defaults__,
        }
        print(json.dumps(facts, indent=1))
    elif word == "raises":
        raise ValueError("so it goes")
    elif word == "text":
        atexit.register(print, "at the end")
        sys.exit("a text")
    elif word == "interrupted":
        raise KeyboardInterrupt
    elif word == "killed":
        print("said before", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
    elif word == "flood":
        sys.stdout.buffer.write(bytes(range(256)) * 20000)
        sys.stderr.write("x" * 300000)
    elif word == "leaves":
        subprocess.Popen(["sh", "-c", "sleep 0.3; echo late; sleep 5"])
        print("gone")
    elif word == "waits":
        child = subprocess.Popen(["sh", "-c", "trap '' INT; echo; while :; do sleep 0.1; done"], stdout=subprocess.PIPE)
        child.stdout.readline()
        print(child.pid, flush=True)
        signal.pause()
    elif word.isdigit():
        return int(word)
"""


class Folder:
    """A folder with a launcher and a Barman of our own."""

    def __init__(self, lab, folder, cli=CLI, helpers=HELPERS, launcher=LAUNCHER):
        self.lab = lab
        self.launcher = os.path.join(folder, "launch")
        os.mkdir(os.path.join(folder, "barman"))
        files = {"launch": launcher % lab.facts["BARMAN_PYTHON"], "barman/__init__.py": "", "barman/cli.py": cli}
        files["barman/command_wrappers.py"] = helpers
        for name, text in files.items():
            with open(os.path.join(folder, name), "w") as file:
                file.write(text)
        os.chmod(self.launcher, 0o755)

    def warm(self, host=None):
        """A parent, once these files are no longer as fresh as itself."""
        while True:
            warm = self.lab.warm(host, barman=self.launcher, commands=["do"])
            if not warm.first[2].endswith(b"is being replaced"):
                return warm
            warm.process.wait(10)
            time.sleep(0.05)


def hold_surroundings(lab, folder, hosts):
    failures = 0
    own = Folder(lab, folder)
    # Its byte code is written now, not while the parent looks at the folder.
    lab.here.plain(own.launcher, ["do", "0"])
    for where, host in hosts:
        warm = own.warm(host)
        failures += hold("a barman of our own is kept %s: %r" % (where, warm.first), warm.first[0] == b"H")
        for word in ("look", "raises", "text", "killed", "flood", "0", "7", "256"):
            want, got = host.plain(own.launcher, ["do", word]), warm.run(["do", word])
            failures += hold("%r is the same %s" % (word, where), want == got)
            if want != got:
                print(*difflib.unified_diff(*(repr(said).replace("\\n", "\n").split("\n") for said in (want, got))), sep="\n")
        want, got = host.plain(own.launcher, ["do", "interrupted"]), warm.run(["do", "interrupted"])
        failures += hold("an interruption is the same", want[0] == got[0] == -signal.SIGINT and want[2] == got[2])
        since = time.monotonic()
        got = warm.run(["do", "leaves"])
        failures += hold("what is left behind holds nothing up", got == (0, b"gone\n", b"") and time.monotonic() - since < 4)
        failures += hold("the parent still serves", warm.run(["do", "3"])[0] == 3)
        warm.begin(["do", "waits"])
        waits, left = warm.number, int(warm.frame()[2])
        want, got = host.plain(own.launcher, ["do", "look"]), warm.run(["do", "look"])
        failures += hold("'look' is the same while another one runs %s" % where, want == got)
        warm.stop(2, waits)
        failures += hold("a stop ends what a command has started, too", warm.answer()[0] == -signal.SIGINT and ended(left))
        if where == "here":
            failures += hold_waiting(warm)
        else:
            warm.close()
    return failures + hold_replaced(own)


def hold_waiting(warm):
    """One child waits, whatever becomes of it, and no zombie is left."""
    failures = 0
    for number in range(20):
        (waits,) = settled_children(warm)
        os.kill(waits, signal.SIGKILL)
        # Whether its parent knows already or not.
        while state(waits) != "Z":
            pass
        failures += hold("one that died is not missed", warm.run(["do", str(number)])[0] == number)
    (waits,) = settled_children(warm)
    os.kill(waits, signal.SIGSTOP)
    warm.ask(["do", "5"])
    failures += hold("one that is stopped takes its words all the same", warm.frame()[0] == b"B")
    os.kill(waits, signal.SIGCONT)
    failures += hold("and runs them once it may", warm.answer()[0] == 5)
    (waits,) = settled_children(warm)
    failures += hold("the end of its parent", warm.close() == 0)
    return failures + hold("is that of the one that waits", ended(waits))


def state(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def settled_children(warm):
    """The children, once there is one alone."""
    for _ in range(200):
        found = children(warm.process.pid)
        if len(found) == 1:
            break
        time.sleep(0.01)
    return [int(pid) for pid in found]


def hold_replaced(own):
    """A parent that is older than what it was made of runs nothing more, and what it runs goes on."""
    failures = 0
    module = os.path.join(os.path.dirname(own.launcher), "barman", "cli.py")

    def rewrite():
        with open(module, "a") as file:
            file.write("# another\n")

    def add():
        open(os.path.join(os.path.dirname(module), "other.py"), "w").close()

    for name, change in (
        ("a module that is written anew", rewrite),
        ("a file that comes to barman's folder", add),
        ("a launcher that may not be executed", lambda: os.chmod(own.launcher, 0o644)),
    ):
        warm = own.warm()
        warm.begin(["do", "waits"])
        waits, _ = warm.number, warm.frame()
        change()
        failures += hold("%s counts" % name, warm.run(["do", "0"]) == ("refused", b"replace", b""))
        warm.stop(2, waits)
        failures += hold("what ran goes on", warm.answer()[0] == -signal.SIGINT)
        failures += hold("and its parent ends", warm.process.wait(10) == 0)
    warm = own.warm()
    failures += hold("nobody starts it then", warm.first[0] == b"F" and b"executed" in warm.first[2])
    warm.process.wait(10)
    return failures


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        return file.read().split()


def hold_unusable(lab):
    failures = 0
    for name, parts, why in (
        ("one that prints", {"cli": "print('x')\n" + CLI}, b"prints"),
        ("one that warns", {"cli": "import warnings\nwarnings.warn('x')\n" + CLI}, b"prints"),
        ("one with threads", {"cli": "import threading, time\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n" + CLI}, b"threads"),
        ("one that can't be imported", {"cli": "import nosuch\n"}, b"imported"),
        ("one whose helpers are another program", {"helpers": HELPERS.replace("sys.argv[0]", "sys.executable")}, b"helpers"),
        ("one without helpers", {"helpers": ""}, b"helpers"),
        ("a launcher that looks elsewhere", {"launcher": LAUNCHER.replace("import sys\n", "import sys\nsys.path.insert(0, '/')\n")}, b"more than"),
    ):
        with tempfile.TemporaryDirectory() as folder:
            warm = Folder(lab, folder, **parts).warm()
            failures += hold("%s is not kept: %r" % (name, warm.first), warm.first[0] == b"F" and why in warm.first[2])
            failures += hold("and its parent ends", warm.process.wait(10) == 1)
    return failures


def hold_refusals(lab, commands):
    failures = 0
    warm = lab.warm(commands=commands)
    conf = lab.conf
    for words in (
        ["-c", conf, "backup", "main"],
        ["-c", conf, "cron"],
        ["-c", conf, "-q", "list-servers"],
        ["-c", conf],
        ["--version"],
        ["-c", conf, "-f", "console", "list-servers"],
        ["/bin/sh"],
        ["-c", "import os"],
        ["-m", "this"],
    ):
        failures += hold("%r is refused" % words, warm.run(words)[0] == "refused")
    for name in ("PYTHONPATH", "LD_PRELOAD", "LC_ALL", "TZ"):
        other = dict(warm.host.environment, **{name: "x"})
        failures += hold("another %s is refused" % name, warm.run(["-c", conf, "list-servers"], other)[0] == "refused")
    words = ["-c", conf, "list-backups", "--help"]
    other = dict(warm.host.environment, COLUMNS="40")
    narrow = subprocess.run([lab.barman] + words, capture_output=True, env=other)
    failures += hold("another width counts", warm.run(words, other)[1] == narrow.stdout)
    warm.process.stdin.write(b"?" * 9)
    return failures + hold("what is no request is its end", warm.process.wait(10) == 0)


def hold_growth(lab, commands):
    """One that has grown, which here is any."""
    warm = lab.warm(commands=commands, text=lab.text.replace(b"GROWTH = 16 ", b"GROWTH = -16 ").replace(b"FORKS = 1000", b"FORKS = 3"))
    answers = [warm.run(["-c", lab.conf, "list-servers"])[0] for _ in range(3)]
    failures = hold("one that has grown runs nothing more", answers == [0, 0, "refused"])
    return failures + hold("and ends", warm.process.wait(10) == 0)


def ended(pid):
    for _ in range(500):
        if not os.path.exists("/proc/%d" % pid):
            return True
        time.sleep(0.01)
    return False


def hold_stops(lab, commands):
    """A server whose PostgreSQL takes connections and says nothing."""
    failures = 0
    with socket.socket() as listener, tempfile.TemporaryDirectory() as folder:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        conf = os.path.join(folder, "barman.conf")
        with open(conf, "w") as file:
            file.write("[barman]\nbarman_user = %s\nbarman_home = %s\nlog_file = %s/log\n" % (lab.facts["LAB_USER"], folder, folder))
            file.write("[slow]\ndescription = x\nbackup_method = postgres\narchiver = on\n")
            file.write("conninfo = host=127.0.0.1 port=%d user=x dbname=x\n" % listener.getsockname()[1])
            file.write("streaming_conninfo = host=127.0.0.1 port=%d user=x\n" % listener.getsockname()[1])
        words = ["-c", conf, "status", "slow"]
        warm = lab.warm(commands=commands)
        child = warm.begin(words)
        connection, _ = listener.accept()
        failures += hold("the child leads a group and a session", os.getpgid(child) == child == os.getsid(child))
        warm.stop(9)
        failures += hold("a stop ends it", warm.answer()[0] == -9)
        for number in range(20):
            # As early as can be: before the child is one, or while it becomes one.
            warm.ask(words)
            warm.stop(2)
        answers = []
        while len(answers) < 20:
            kind, _, content = warm.frame()
            if kind in (b"X", b""):
                answers.append(content)
        failures += hold("early stops end nobody else: %r" % set(answers), b"" not in answers)
        failures += hold("and leave the parent alive", warm.run(["-c", conf, "list-servers"])[0] == 0)
        for name, end, code in (
            ("the end of its input", lambda: warm.process.stdin.close(), 0),
            ("the death of its reader", lambda: warm.process.stdout.close(), None),
            ("SIGKILL", lambda: warm.process.kill(), -9),
        ):
            if code is None:
                # It finds out when it has something to say.
                child = warm.begin(words)
                end()
                warm.ask(words)
                failures += hold("%s ends it" % name, warm.process.wait(10) is not None)
            else:
                child = warm.begin(words)
                end()
                failures += hold("%s ends it" % name, warm.process.wait(10) == code)
            failures += hold("and its children", ended(child))
            warm = lab.warm(commands=commands)
        connection.close()
        warm.close()
    return failures


def main():
    lab_env = sys.argv[1]
    os.umask(0o022)
    lab = Lab(os.path.dirname(os.path.abspath(__file__)), lab_env)
    commands = ["list-servers", "list-backups", "status"]
    there = lab.there()
    try:
        with tempfile.TemporaryDirectory() as folder:
            failures = hold_surroundings(lab, folder, [("here", lab.here), ("over SSH", there)])
    finally:
        there.close()
    failures += hold_unusable(lab)
    failures += hold_refusals(lab, commands)
    failures += hold_growth(lab, commands)
    failures += hold_stops(lab, commands)
    idle = lab.warm(commands=commands, idle=0.2)
    failures += hold("without work it ends", idle.process.wait(10) == 0)
    sys.exit(1 if failures else 0)


main()
