# Files of the Barman host, read. Follows remote.py and remote_jobs.py in the same program text, for the requests that need
# it, and is followed by remote_changes.py or remote_trials.py for some of them. src/runner/files does the same on our own host
# and says why; tests hold both to the same behaviour.
#
# An answer is one text of fields in frames "o", then "d": "ok" and what was asked for, or "no" and why not:
#
#   io PATH ERRNO   file PATH (is none)   large PATH   many PATH   stale PATH   locked PATH HOLDER   invalid PATH WORDS
#   start PROGRAM WORDS   partly COUNT and one of these

FILE = 4 << 20  # bytes of a file
ALL = 32 << 20  # bytes of all files of a request
NAMES = 10000
NEW = b".barmanapi-new."


class Failed(Exception):
    """What was asked for can't be done, as it is told."""


def failed(path, problem):
    return Failed(b"io", path, str(problem.errno or 0).encode())


def in_doubt(path, problem):
    return Failed(b"partly", b"0", *failed(path, problem).args)


def attempt(path, call, *arguments):
    """Calls; an error is told together with the path."""
    try:
        return retried(call, *arguments)
    except EnvironmentError as problem:
        raise failed(path, problem)


def number(count):
    return str(count).encode()


def unusual():
    return ("%02x" * 8 % tuple(bytearray(os.urandom(8)))).encode()


def told(work):
    """A verb that answers with what `work` returns."""

    def verb(link, fields):
        for which in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(which, link.hang_up)
        try:
            found = [b"ok"] + work(link, fields)
        except Failed as problem:
            found = [b"no"] + list(problem.args)
        data = b"".join(number(len(field)) + b":" + field for field in found)
        for at in range(0, len(data), CHUNK):
            while link.up and not link.has_room():
                link.turn(1.0)
                link.orders()
            link.put(b"o", ("%016x" % at).encode() + data[at : at + CHUNK])
        link.put(b"d")

    return verb


def check(path):
    name = os.path.basename(path)
    if not path.startswith(b"/") or b"\0" in path or name in (b"", b".", b".."):
        raise Failed(b"invalid", path, b"is no absolute path of a file")


def bytes_of(fd, path, limit):
    data = bytearray()
    while len(data) <= limit:
        chunk = attempt(path, os.read, fd, min(CHUNK, limit + 1 - len(data)))
        if not chunk:
            return bytes(data)
        data += chunk
    raise Failed(b"large", path, number(limit))


def current(path):
    """Canonical path, facts and bytes of a file; None when there is none. It never waits for a FIFO or a device."""
    check(path)
    try:
        facts = os.stat(path)
        if not stat.S_ISREG(facts.st_mode):
            raise Failed(b"file", path)
        real = os.path.realpath(path)
        fd = retried(opened, real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except EnvironmentError as problem:
        if problem.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise failed(path, problem)
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise Failed(b"file", path)
        return real, facts, bytes_of(fd, path, FILE)
    finally:
        os.close(fd)


def is_mounted(path):
    """Whether a file is itself a mount, as in containers: nothing can be renamed over it."""
    for sign in (b"\\", b" ", b"\t", b"\n"):
        path = path.replace(sign, ("\\%03o" % ord(sign)).encode())
    try:
        return any(line.split(b" ")[4] == path for line in proc("self/mountinfo").splitlines())
    except EnvironmentError:
        return False


def is_open_to_us(folder):
    return os.access(folder, os.W_OK | os.X_OK)


def way(real, facts):
    """How a file may be changed: "replace" by a rename, "write" in place, or only "read"."""
    folder, user = os.path.dirname(real), os.geteuid()
    around = attempt(real, os.stat, folder)
    groups = os.getgroups() + [os.getegid()]
    if around.st_mode & stat.S_ISGID:
        groups.append(around.st_gid)
    is_kept = user == 0 or (facts.st_uid == user and facts.st_gid in groups)
    if is_kept and is_open_to_us(folder) and not is_mounted(real):
        return b"replace"
    return b"write" if os.access(real, os.W_OK) else b"read"


def read(_, paths):
    found, room = [], ALL
    for path in paths:
        file = current(path)
        if file is None:
            found.append(b"absent")
            continue
        real, facts, data = file
        room -= len(data)
        if room < 0:
            raise Failed(b"large", path, number(ALL))
        found += [b"there", real, number(stat.S_IMODE(facts.st_mode)), number(facts.st_uid), number(facts.st_gid)]
        found += [way(real, facts), data]
    return found


def list_files(_, fields):
    folder = fields[0]
    check(folder + b"/x")
    names = attempt(folder, os.listdir, folder)
    if len(names) > NAMES:
        raise Failed(b"many", folder)
    found = []
    for name in sorted(names):
        try:
            if stat.S_ISREG(os.stat(folder + b"/" + name).st_mode) and not name.startswith(NEW):
                found.append(name)
        except EnvironmentError as problem:
            if problem.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES):
                raise failed(folder, problem)
    return found


VERBS.update({b"read": told(read), b"list": told(list_files)})
