# What barmanapi runs on the Barman host. It is sent along with every request and leaves nothing behind but the folders of
# detached jobs. Python 2.7 and 3.6 or later, ASCII only, and few imports: loading them is most of what a short command costs.
#
# Input: ten digits and as many bytes of fields (length ":" bytes, one after the other); then orders, which are frames.
# Output: the word that the request gave, a line end, and frames: a letter, eight hex digits, and as many bytes.
#
#   orders   p ping    i stop (milliseconds from SIGINT to SIGKILL)    a received and safe (two offsets)
#   frames   s started (its age in seconds, or nothing)    o e output (16 hex digits of offset, bytes)    b beat (1 = orphaned)
#            x ended (how, two lengths)    f refused (errno, words)    w trouble of the same form, which says nothing about the job
#            n never started    m no such job    l facts    r where it leads    d done

import errno
import fcntl
import os
import pwd
import select
import stat
import sys
import time

try:
    import _signal as signal  # the module around it takes longer to load than all the others
except ImportError:
    import signal

BEAT = 5.0  # seconds between signs of life
SILENCE = 30.0  # without one, the other side is gone
ROOM = 1 << 20  # bytes that may wait to be sent
CHUNK = 1 << 16


class Refused(Exception):
    """What was asked for can't be done; nothing runs."""


def words(problem, what=b""):
    """An error as errno and words."""
    if isinstance(problem, Refused):
        return problem.args[0]
    number = getattr(problem, "errno", None) or 0
    text = (os.strerror(number) + " (os error %d)" % number) if number else str(problem)
    return ("%d " % number).encode() + (what + b": " if what else b"") + text.encode("ascii", "replace")


def named(problem):
    """The same with the name of the file that it is about."""
    if isinstance(problem, KeyError):
        return b"0 the account has no entry among the users of its host"
    name = getattr(problem, "filename", None)
    return words(problem, encoded(name) if name else b"")


def now():
    return os.times()[4]


def retried(call, *arguments):
    """Calls again what a signal interrupted, as newer Pythons do by themselves."""
    while True:
        try:
            return call(*arguments)
        except EnvironmentError as problem:
            if problem.errno != errno.EINTR:
                raise


def closed_on_exec(fd):
    fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    return fd


def unblocked(fd):
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)


def opened(path, flags):
    return closed_on_exec(os.open(path, flags | os.O_NOFOLLOW, 0o600))


def pipe():
    return [closed_on_exec(fd) for fd in os.pipe()]


def write_all(fd, data):
    while data:
        data = data[retried(os.write, fd, data):]


class Link(object):
    """Frames to and orders from the other side. It never blocks."""

    def __init__(self, rest):
        self.out = bytearray()
        self.took = bytearray(rest)
        self.up = True
        self.heard = self.told = now()
        unblocked(0)
        unblocked(1)

    def put(self, kind, payload=b""):
        self.out += kind + ("%08x" % len(payload)).encode() + payload
        self.told = now()

    def beat(self, payload):
        if now() - self.told >= BEAT:
            self.put(b"b", payload)

    def has_room(self):
        return not self.up or len(self.out) < ROOM

    def hang_up(self, *_):
        self.up = False

    def turn(self, wait, others=()):
        """Sends and takes what it can within `wait` seconds; returns which of `others` can be read."""
        if not self.up:
            del self.out[:]
        reading = list(others) + ([0] if self.up else [])
        try:
            readable, writable, _ = select.select(reading, [1] if self.out else [], [], wait)
        except (OSError, select.error) as problem:
            if problem.args[0] != errno.EINTR:
                raise
            return []
        try:
            if 0 in readable:
                chunk = os.read(0, CHUNK)
                self.up = self.up and bool(chunk)
                self.took += chunk
                self.heard = now()
            if writable:
                del self.out[: os.write(1, bytes(self.out[:CHUNK]))]
        except EnvironmentError as problem:
            if problem.errno not in (errno.EAGAIN, errno.EINTR):
                self.up = False
        if now() - self.heard > SILENCE:
            self.up = False
        return [fd for fd in readable if fd != 0]

    def orders(self):
        """The orders that have come whole."""
        found = []
        while len(self.took) >= 9:
            end = 9 + int(bytes(self.took[1:9]), 16)
            if len(self.took) < end:
                break
            found.append((bytes(self.took[:1]), bytes(self.took[9:end])))
            del self.took[:end]
        return found

    def finish(self):
        while self.up and self.out:
            self.turn(1.0)


class Plan(object):
    """A program, its arguments, and its environment."""

    folder = b"/"  # where it begins

    def __init__(self, fields):
        self.program = fields[0]
        count = 2 + int(fields[1])
        self.arguments = fields[2:count]
        own = getattr(os, "environb", os.environ)
        account = pwd.getpwuid(os.getuid())
        self.environment = dict(zip(fields[count::2], fields[count + 1 :: 2]))
        for name, value in (
            (b"PATH", own.get(b"PATH") or b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            (b"TZ", own.get(b"TZ")),
            (b"HOME", encoded(account.pw_dir)),
            (b"USER", encoded(account.pw_name)),
            (b"LOGNAME", encoded(account.pw_name)),
        ):
            self.environment.pop(name, None)
            if value is not None:
                self.environment[name] = value


def encoded(text):
    return text if isinstance(text, bytes) else os.fsencode(text)


def descriptors():
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]
    except EnvironmentError:
        return range(3, 1024)


def become(plan, stdout, stderr, record):
    """Turns this process into the program, in a session of its own."""
    os.setsid()
    # What is ignored stays so in every program that is started; Python itself ignores some.
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_DFL)
        except (EnvironmentError, ValueError, RuntimeError):
            pass
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    record()
    for fd in descriptors():
        if fd > 2:
            try:
                closed_on_exec(fd)
            except EnvironmentError:
                pass
    os.chdir(plan.folder)
    os.umask(0o022)
    os.execve(plan.program, [plan.program] + plan.arguments, plan.environment)


def start(plan, stdout, stderr, record=lambda: None):
    """Starts the program and returns its process number when it runs."""
    reader, writer = pipe()
    pid = os.fork()
    if pid == 0:
        try:
            become(plan, stdout, stderr, record)
        except BaseException as problem:
            os.write(writer, words(problem))
        finally:
            os._exit(127)
    os.close(writer)
    reason = b""
    while True:
        chunk = retried(os.read, reader, 4096)
        if not chunk:
            break
        reason += chunk
    os.close(reader)
    if reason:
        retried(os.waitpid, pid, 0)
        raise Refused(reason)
    return pid


def signal_group(pid, number):
    try:
        os.killpg(pid, number)
    except EnvironmentError as problem:
        if problem.errno != errno.ESRCH:
            raise


def ended(pid, is_stopping, options=0):
    """How a child ended, None while it runs. What a stopped one left in its group goes with it."""
    if hasattr(os, "waitid"):
        # The number can't be used again before the child is reaped.
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | options) is None:
            return None
        if is_stopping():
            signal_group(pid, signal.SIGKILL)
    found, status = retried(os.waitpid, pid, options)
    if found == 0:
        return None
    if not hasattr(os, "waitid") and is_stopping():
        signal_group(pid, signal.SIGKILL)
    if os.WIFSIGNALED(status):
        return b"signal " + str(os.WTERMSIG(status)).encode()
    return b"exit " + str(os.WEXITSTATUS(status)).encode()


def counted(how, lengths):
    return how + (" %d %d" % tuple(lengths)).encode()


def run(link, fields):
    """A command that ends together with the link."""
    plan = Plan(fields)
    wake, woken = pipe()
    unblocked(wake)
    unblocked(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, link.hang_up)
    (out, out_end), (err, err_end) = pipe(), pipe()
    pid = start(plan, out_end, err_end)
    os.close(out_end)
    os.close(err_end)
    link.put(b"s", b"0")
    kinds = {out: b"o", err: b"e"}
    lengths = {out: 0, err: 0}
    state = {"stop": None, "grace": 10.0, "killed": False}

    def stop():
        if state["stop"] is None:
            state["stop"] = now()
            signal_group(pid, signal.SIGINT)

    def take(fd):
        """Passes on what can be read now; False at the end."""
        try:
            chunk = os.read(fd, CHUNK)
        except EnvironmentError as problem:
            return problem.errno == errno.EINTR
        link.put(kinds[fd], ("%016x" % lengths[fd]).encode() + chunk)
        lengths[fd] += len(chunk)
        return bool(chunk)

    sources = [out, err]
    for fd in sources:
        unblocked(fd)
    while True:
        for fd in link.turn(1.0, [wake] + (sources if link.has_room() else [])):
            if fd == wake:
                os.read(wake, CHUNK)
            elif not take(fd):
                sources = [other for other in sources if other != fd]
        for kind, payload in link.orders():
            if kind == b"i":
                state["grace"] = int(payload) / 1000.0
                stop()
        if not link.up:
            stop()
        if state["stop"] is not None and not state["killed"] and now() - state["stop"] >= state["grace"]:
            state["killed"] = True
            signal_group(pid, signal.SIGKILL)
        how = ended(pid, lambda: state["stop"] is not None, os.WNOHANG)
        if how:
            break
        link.beat(b"0")
    # What stands in the pipes now is the rest; somebody it left behind may go on writing.
    for fd in sources:
        limit = lengths[fd] + ROOM
        while lengths[fd] < limit and take(fd):
            pass
    link.put(b"x", counted(how, (lengths[out], lengths[err])))


def look(link, fields):
    """Path, inode, size, time and mode of a program and, of a script, of its interpreter."""
    files = [os.path.realpath(fields[0])]
    with open(files[0], "rb") as file:
        line = file.read(256).split(b"\n")[0]
    parts = line[2:].split() if line.startswith(b"#!") else []
    if parts and parts[0].startswith(b"/") and os.path.exists(parts[0]):
        files.append(os.path.realpath(parts[0]))
    found = b""
    for path in files:
        facts = os.stat(path)
        stamp = getattr(facts, "st_mtime_ns", int(facts.st_mtime * 1000) * 1000000)
        numbers = (facts.st_ino, facts.st_size, stamp // 10**9, stamp % 10**9, facts.st_mode)
        for field in (path,) + tuple(str(number).encode() for number in numbers):
            found += str(len(field)).encode() + b":" + field
    link.put(b"l", found)


def resolve(link, fields):
    """Where a path leads: the longest part of it that exists, its symbolic links resolved, and the rest."""
    part, rest = fields[0], []
    while not os.path.lexists(part) and part != b"/":
        part, name = os.path.split(part)
        rest.insert(0, name)
    facts = os.stat(part)  # fails at a link that leads nowhere, or in circles
    if rest and not stat.S_ISDIR(facts.st_mode):
        raise OSError(errno.ENOTDIR, "not a directory", part)
    link.put(b"r", os.path.join(os.path.realpath(part), *rest))


def exactly(count):
    data = bytearray()  # which grows in place
    while len(data) < count:
        chunk = os.read(0, min(count - len(data), CHUNK))
        if not chunk:
            os._exit(1)
        data += chunk
    return bytes(data)


def fields_of(data):
    found, at = [], 0
    while at < len(data):
        begin = data.index(b":", at) + 1
        at = begin + int(data[at : begin - 1])
        found.append(data[begin:at])
    return found


def main():
    request = fields_of(exactly(int(exactly(10))))
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    write_all(1, request[0] + b"\n")
    link = Link(b"")
    try:
        VERBS[request[1]](link, request[2:])
    except (Refused, EnvironmentError, KeyError) as problem:
        # A job that may be there is not refused because something is wrong on the way to it.
        doubtful = {b"job": (EnvironmentError, KeyError), b"follow": Exception, b"adopt": Exception}.get(request[1], ())
        link.put(b"w" if isinstance(problem, doubtful) else b"f", named(problem))
    link.finish()


VERBS = {b"look": look, b"resolve": resolve, b"run": run}
