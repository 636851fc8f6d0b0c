# The warm parent: imports Barman once and forks a child for each command that only reads.
#
# Barman's own Python runs this text, with the launcher's path, the seconds without work after which
# it ends, and the commands it takes as its arguments. Standard input brings frames, standard output
# takes frames: a byte that says what it is, the number of a run, a length, the content.
#
#   in    R  run: words and variables           S  stop: the signal's number
#   out   H  ready                              F  can't be used, and why; the end
#         B  begun: the process number          N  not run, and why
#         O  standard output                    E  standard error
#         X  ended: 'e' or 's', and the exit code or the signal
#
# The end of standard input is the end of the parent and of whatever runs. The child runs the
# launcher itself, so what it prints, writes, locks and returns is Barman's own. warm_child.py,
# warm_memory.py and warm_barman.py follow this text, and then a call of main(). Python 3; an older
# one gives up at the first line that it can't read.

import ast
import os
import select
import signal
import struct
import sys
import time

HEADER = struct.Struct("!cII")
NUMBER = struct.Struct("!I")
CHUNK = 65536
MOST_CHILDREN = 64
MOST_REQUEST = 64 * 1024
# The parent is replaced when it has grown by this many KiB; it looks once in so many forks.
GROWTH = 16 * 1024
FORKS = 1000
# Signals that wait while a child is made.
HELD = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
# What Python, its libraries and the loader read at their start and never again.
FIXED = (b"HOME", b"LANG", b"LANGUAGE", b"PATH", b"TZ")
FIXED_BEGINNINGS = (b"LC_", b"LD_", b"PYTHON", b"GLIBC_", b"MALLOC_", b"OPENSSL_", b"SSL_")
# Files of the system that count from the start of a process on.
SYSTEM_FILES = ("/etc/localtime", "/etc/nsswitch.conf", "/etc/ssl/openssl.cnf", "/etc/ld.so.cache")


class Unusable(Exception):
    """Barman can't be kept warm here, and why."""


def is_fixed(name):
    return name in FIXED or name.startswith(FIXED_BEGINNINGS)


class Child:
    """A process that waits for its words, or runs a command."""

    def __init__(self, pid, words, streams):
        self.pid = pid
        self.words = words
        self.streams = streams
        self.number = None
        self.stopped = False

    def take(self, content):
        """Gives it its words; false when it is no more."""
        rest = NUMBER.pack(len(content)) + content
        try:
            while rest:
                rest = rest[os.write(self.words, rest) :]
        except BrokenPipeError:
            return False
        finally:
            self.dismiss()
        return True

    def dismiss(self):
        """One that has no words yet ends."""
        if self.words is not None:
            os.close(self.words)
            self.words = None


class Parent:
    """Takes requests, forks, and passes on what the children say."""

    def __init__(self, launcher, idle, names, control, answers):
        self.launcher = launcher
        self.idle = idle
        self.names = names
        self.control = control
        self.answers = answers
        self.children = {}
        # The one that waits; to make it takes time that no command has to wait for.
        self.waiting = None
        self.streams = {}
        self.received = bytearray()
        # What Python itself has added to it stays in a child, as it does after a start.
        self.environment = dict(os.environb)
        self.retiring = False
        self.forks = 0
        self.pid = os.getpid()
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def say(self, kind, number=0, content=b""):
        rest = HEADER.pack(kind, number, len(content)) + content
        while rest:
            rest = rest[os.write(self.answers, rest) :]

    def prepare(self):
        self.code = load_launcher(self.launcher)
        hold_silent(lambda: import_barman(self.launcher))
        warm_up(self.launcher)
        hide_own_frames()
        self.control_process = function_of_c("prctl", 5)
        if len(os.listdir("/proc/self/task")) != 1:
            # A fork would have this one alone, with whatever the others were about to do.
            raise Unusable("barman starts threads when it is imported")
        self.made = Made(self.launcher)
        import gc

        gc.collect()
        if hasattr(gc, "freeze"):
            gc.freeze()
        self.memory = Memory(self.names)
        self.size = resident()
        wake, self.waker = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self.waker, False)
        self.wake = wake
        signal.set_wakeup_fd(self.waker)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self.poll = select.poll()
        for descriptor in (self.control, self.wake):
            self.poll.register(descriptor, select.POLLIN)
        self.let_one_wait()

    def runs(self):
        return any(child.number is not None for child in self.children.values())

    def serve(self):
        """Until there is nobody to serve, or the parent is to be replaced."""
        last = time.monotonic()
        while not self.retiring or self.runs():
            if self.runs():
                patience = None
            else:
                patience = max(0, self.idle - (time.monotonic() - last)) * 1000
            ready = self.poll.poll(patience)
            if not ready:
                return
            last = time.monotonic()
            ended = False
            for descriptor, _ in ready:
                if descriptor == self.control:
                    if not self.take():
                        return
                elif descriptor == self.wake:
                    ended = True
                else:
                    self.pass_on(descriptor)
            if ended:
                self.reap()

    def take(self):
        """Reads what was asked; false when nobody is there any more."""
        content = os.read(self.control, CHUNK)
        if not content:
            return False
        self.received += content
        while len(self.received) >= HEADER.size:
            kind, number, length = HEADER.unpack_from(self.received)
            if length > MOST_REQUEST:
                return False
            until = HEADER.size + length
            if len(self.received) < until:
                break
            content = bytes(self.received[HEADER.size : until])
            del self.received[:until]
            if kind == b"R":
                self.request(number, content)
            elif kind == b"S":
                self.stop(number, content)
            else:
                return False
        return True

    def request(self, number, content):
        try:
            words, environment = read_request(content)
            self.refuse_the_unexpected(words, environment)
            if len(self.children) > MOST_CHILDREN:
                raise ValueError("too many commands run")
        except (ValueError, struct.error) as error:
            return self.say(b"N", number, str(error).encode("utf-8", "replace"))
        if self.retiring or self.made.differs() or self.has_grown():
            self.retiring = True
            return self.say(b"N", number, b"replace")
        try:
            child = self.begin(content)
        except OSError as error:
            return self.say(b"N", number, str(error).encode("utf-8", "replace"))
        child.number = number
        self.say(b"B", number, NUMBER.pack(child.pid))
        self.let_one_wait()

    def refuse_the_unexpected(self, words, environment):
        if command_of(words) not in self.names:
            raise ValueError("unexpected command")
        for name, value in environment.items():
            if is_fixed(name) and self.environment.get(name) != value:
                raise ValueError("unexpected environment")

    def has_grown(self):
        self.forks += 1
        return self.forks % FORKS == 0 and resident() > self.size + GROWTH

    def begin(self, content):
        """A child that has these words."""
        child, self.waiting = self.waiting, None
        if child is None or not child.take(content):
            child = self.fork()
            if not child.take(content):
                raise OSError("a child has ended before it began")
        return child

    def let_one_wait(self):
        if self.waiting is None and not self.retiring:
            try:
                self.waiting = self.fork()
            except OSError:
                # The next command is told.
                pass

    def fork(self):
        opened = []
        self.memory.plan()
        try:
            for _ in range(3):
                opened += os.pipe()
            out, out_end, err, err_end, words_end, words = opened
            highest = max(self.control, self.answers, self.wake, self.waker, *opened, *self.streams)
            # A stop that meets the child before it is one must not make it act as its parent.
            signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
            pid = os.fork()
            if pid == 0:
                become(self, words_end, out_end, err_end, highest)
        except OSError:
            for descriptor in opened:
                os.close(descriptor)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
        for descriptor in (out_end, err_end, words_end):
            os.close(descriptor)
        child = Child(pid, words, {out: b"O", err: b"E"})
        self.children[pid] = child
        for descriptor in (out, err):
            os.set_blocking(descriptor, False)
            self.streams[descriptor] = child
            self.poll.register(descriptor, select.POLLIN)
        return child

    def pass_on(self, descriptor, most=CHUNK):
        """Passes on what a child said; the number of bytes."""
        child = self.streams.get(descriptor)
        if child is None:
            return 0
        try:
            content = os.read(descriptor, most)
        except BlockingIOError:
            return 0
        if content and child.number is not None:
            self.say(child.streams[descriptor], child.number, content)
        else:
            self.forget(descriptor)
        return len(content)

    def forget(self, descriptor):
        child = self.streams.pop(descriptor, None)
        if child is not None:
            child.streams.pop(descriptor, None)
            self.poll.unregister(descriptor)
            os.close(descriptor)

    def reap(self):
        try:
            while os.read(self.wake, 4096):
                pass
        except BlockingIOError:
            pass
        for child in list(self.children.values()):
            if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                self.finish(child)

    def finish(self, child):
        # As long as it is not reaped, its number is nobody else's.
        if child.stopped:
            signal_group(child.pid, signal.SIGKILL)
        _, status = os.waitpid(child.pid, 0)
        del self.children[child.pid]
        # What is left of it may keep its outputs open, and write more than there is room for.
        for descriptor in list(child.streams):
            left = 16
            while left and self.pass_on(descriptor):
                left -= 1
            self.forget(descriptor)
        child.dismiss()
        if child is self.waiting:
            self.waiting = None
        if child.number is None:
            return
        if os.WIFSIGNALED(status):
            ending = b"s" + NUMBER.pack(os.WTERMSIG(status))
        else:
            ending = b"e" + NUMBER.pack(os.WEXITSTATUS(status))
        self.say(b"X", child.number, ending)

    def stop(self, number, content):
        for child in self.children.values():
            if child.number == number and content in (b"\x02", b"\x09"):
                child.stopped = True
                signal_group(child.pid, content[0])

    def leave(self):
        if os.getpid() != self.pid:
            os._exit(127)
        for child in self.children.values():
            signal_group(child.pid, signal.SIGKILL)


def command_of(words):
    """The name of a command, which follows the options that are expected; nothing where there is none."""
    rest = list(words)
    while rest and rest[0] in (b"-c", b"-f") and len(rest) > 1:
        if rest[0] == b"-f" and rest[1] != b"json":
            raise ValueError("unexpected format")
        rest = rest[2:]
    return os.fsdecode(rest[0]) if rest else None


def signal_group(pid, number):
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        # The child has not come to make its own group yet.
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def read_request(content):
    """The words of a request, and its variables."""
    fields = []
    at = 0
    while at < len(content):
        (length,) = NUMBER.unpack_from(content, at)
        at += NUMBER.size
        if at + length > len(content):
            raise ValueError("a request is cut short")
        fields.append(content[at : at + length])
        at += length
    if any(b"\0" in field for field in fields):
        raise ValueError("a request holds a NUL byte")
    count = int(fields[0]) if fields and fields[0].isdigit() else 0
    words, pairs = fields[1 : 1 + count], fields[1 + count :]
    if len(words) != count or not words or len(pairs) % 2:
        raise ValueError("a request is odd")
    return words, dict(zip(pairs[::2], pairs[1::2]))


def point_streams_at(path):
    nothing = os.open(path, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


def main():
    launcher, idle, names = sys.argv[1:4]
    # Descriptors that the starter left open must not reach Barman.
    os.closerange(3, 1 + max(int(name) for name in os.listdir("/proc/self/fd")))
    try:
        os.setsid()
    except OSError:
        # It leads its group already.
        pass
    control, answers = os.dup(0), os.dup(1)
    # Python's own standard streams stay as they are made at a start; nothing is ever written there.
    point_streams_at(os.devnull)
    parent = Parent(launcher, float(idle), set(names.split(",")), control, answers)
    try:
        if not os.path.isabs(launcher):
            raise Unusable("the launcher's path is not absolute")
        parent.prepare()
    except Exception as error:
        why = str(error) if isinstance(error, Unusable) else "%s: %s" % (type(error).__name__, error)
        parent.say(b"F", 0, why.encode("utf-8", "replace")[:4096])
        os._exit(1)
    parent.say(b"H")
    try:
        parent.serve()
    finally:
        parent.leave()
        os._exit(0)
