"""Asks a warm parent, or a plain start, here or over SSH, as the service does."""

import fcntl
import os
import resource
import shlex
import signal
import struct
import subprocess

HEADER = struct.Struct("!cII")
NUMBER = struct.Struct("!I")
READER = (
    "import os;r=lambda n,b:b if len(b)>=n else r(n,b+(os.read(0,n-len(b))or os._exit(0)));"
    "exec(compile(r(int(r(10,b'')),b''),'<barmanapi warm>','exec'))"
)
THERE = (
    "import os;r=lambda n,b:b if len(b)>=n else r(n,b+os.read(0,n-len(b)));"
    "exec(r(int(r(10,os.read(0,0))),os.read(0,0)))"
)
WORD = b"0123456789abcdef0123456789abcdef"


def exactly(stream, length):
    content = b""
    while len(content) < length:
        part = stream.read(length - len(content))
        if not part:
            return None
        content += part
    return content


def counted(fields):
    data = b"".join(b"%d:" % len(field) + field for field in fields)
    return b"%010d" % len(data) + data


def pairs(environment):
    return [os.fsencode(text) for pair in environment.items() for text in pair]


STOPPING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def ignore_signals():
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def heed_signals():
    """As the service does before it starts Barman, whatever its own starter has ignored."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_DFL)


class Here:
    """This host."""

    def __init__(self, environment):
        self.environment = environment

    def parent(self, words, text):
        # The starter of a service may have ignored signals, and left descriptors open that count from far up.
        with open(os.devnull) as nothing:
            left = [fcntl.fcntl(nothing, fcntl.F_DUPFD, lowest) for lowest in (3, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 9)]
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd="/", env=self.environment,
            pass_fds=left, preexec_fn=ignore_signals,
        )
        for descriptor in left:
            os.close(descriptor)
        process.stdin.write(b"%010d" % len(text) + text)
        return process

    def plain(self, barman, words):
        done = subprocess.run(
            [barman] + words,
            stdin=subprocess.DEVNULL, capture_output=True, cwd="/", env=self.environment, start_new_session=True,
            preexec_fn=heed_signals,
        )
        return (done.returncode, done.stdout, done.stderr)


class There:
    """The host behind the lab's sshd, through one connection."""

    def __init__(self, lab, python, texts, folder):
        self.python = python
        self.texts = texts
        self.environment = {"LANG": "C.UTF-8"}
        known = "UserKnownHostsFile=" + lab["SSH_KNOWN_HOSTS"]
        self.ssh = ["ssh", "-F", "none", "-o", known, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
        self.ssh += ["-S", os.path.join(folder, "m"), "-i", lab["SSH_KEY"], "-p", lab["SSH_PORT"]]
        self.name = "%s@%s" % (lab["LAB_USER"], lab["SSH_HOST"])
        subprocess.run(self.ssh + ["-M", "-f", "-N", "-o", "ControlPersist=yes", self.name], check=True, stdin=subprocess.DEVNULL)

    def close(self):
        subprocess.run(self.ssh + ["-O", "exit", self.name], check=True, stderr=subprocess.DEVNULL)

    def session(self, verb, program, words):
        command = "exec %s -S -E -s -c %s" % (shlex.quote(self.python), shlex.quote(THERE))
        process = subprocess.Popen(
            self.ssh + [self.name, command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        fields = [WORD, verb, os.fsencode(program), b"%d" % len(words)] + [os.fsencode(word) for word in words]
        text = self.texts[verb]
        process.stdin.write(b"%010d" % len(text) + text + counted(fields + pairs(self.environment)))
        assert exactly(process.stdout, len(WORD) + 1) == WORD + b"\n"
        return process

    def frame(self, process):
        head = exactly(process.stdout, 9)
        return head[:1], exactly(process.stdout, int(head[1:], 16))

    def parent(self, words, text):
        process = self.session(b"warm", words[-3], [])
        kind, launcher = self.frame(process)
        assert kind == b"o" and launcher[16:].startswith(b"#!"), (kind, launcher)
        process.stdin.write(counted([os.fsencode(word) for word in words]))
        process.stdin.write(b"%010d" % len(text) + text)
        return process

    def plain(self, barman, words):
        process = self.session(b"run", barman, words)
        said = {b"o": b"", b"e": b""}
        while True:
            kind, content = self.frame(process)
            if kind in said:
                said[kind] += content[16:]
            elif kind == b"x":
                how, code = content.split()[:2]
                process.stdin.close()
                process.wait()
                return (int(code) if how == b"exit" else -int(code), said[b"o"], said[b"e"])


class Warm:
    """A warm parent."""

    def __init__(self, host, text, barman, commands, idle=600):
        self.host = host
        with open(barman) as file:
            python = file.readline()[2:].split()
        self.process = host.parent(python + ["-c", READER, barman, str(idle), ",".join(commands)], text)
        self.number = 0
        self.first = self.frame()

    def frame(self):
        header = exactly(self.process.stdout, HEADER.size)
        if header is None:
            return (b"", 0, b"")
        kind, number, length = HEADER.unpack(header)
        return (kind, number, exactly(self.process.stdout, length))

    def ask(self, words, environment=None):
        self.number += 1
        fields = [str(len(words)).encode()] + [os.fsencode(word) for word in words]
        fields += pairs(self.host.environment if environment is None else environment)
        content = b"".join(NUMBER.pack(len(field)) + field for field in fields)
        self.process.stdin.write(HEADER.pack(b"R", self.number, len(content)) + content)

    def begin(self, words):
        """Asks, and returns the number of the process."""
        self.ask(words)
        return NUMBER.unpack(self.frame()[2])[0]

    def stop(self, signal_number, run=None):
        self.process.stdin.write(HEADER.pack(b"S", run or self.number, 1) + bytes([signal_number]))

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

    def close(self):
        self.process.stdin.close()
        return self.process.wait(10)


class Lab:
    """What lab.env says, and the texts to send."""

    def __init__(self, folder, lab_env):
        self.folder = folder
        with open(lab_env) as file:
            facts = dict(line.strip().split("=", 1) for line in file if "=" in line)
        self.facts = {name: value.strip("'") for name, value in facts.items()}
        self.barman, self.conf = self.facts["BARMAN"], self.facts["BARMAN_CONF"]
        self.text = self.read("warm.py")
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": self.facts["LAB_HOME"], "LANG": "C.UTF-8"}
        environment["USER"] = environment["LOGNAME"] = self.facts["LAB_USER"]
        self.here = Here(environment)

    def read(self, name):
        with open(os.path.join(self.folder, name), "rb") as file:
            return file.read()

    def there(self):
        texts = {b"run": self.read("remote.py"), b"warm": self.read("remote_warm.py")}
        return There(self.facts, self.facts["BARMAN_PYTHON"], texts, self.folder)

    def warm(self, host=None, commands=(), barman=None, idle=600, text=None):
        return Warm(host or self.here, text or self.text, barman or self.barman, commands, idle)


def hold(name, condition):
    print("%s: %s" % ("ok" if condition else "FAILED", name))
    return 0 if condition else 1
