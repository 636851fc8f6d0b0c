# Files of the Barman host, replaced whole. Follows remote_files.py in the same program text.

LOCK_WAIT = 10.0
ACL = "system.posix_acl_access"


def hold(link, path):
    """Takes a lock as Barman's LockFile does; returns its descriptor."""
    check(path)
    until = now() + LOCK_WAIT
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY
        fd = closed_on_exec(attempt(path, os.open, path, flags, 0o600))
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Failed(b"file", path)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                there = os.stat(path)
            except EnvironmentError:
                there = None
            # Barman's lock-directory-cleanup removes free lock files; a removed one excludes nobody.
            if there is not None and os.path.samestat(there, os.fstat(fd)):
                who = number(os.getpid()) + b"\n"
                attempt(path, write_all, fd, who)
                attempt(path, os.ftruncate, fd, len(who))
                return fd
        except EnvironmentError as problem:
            if problem.errno not in (errno.EAGAIN, errno.EACCES, errno.EINTR):
                raise failed(path, problem)
            if now() > until or not link.up:
                raise Failed(b"locked", path, os.read(fd, 32).strip())
        link.beat(b"0")
        link.turn(0.02)
        link.orders()
        os.close(fd)


def sweep(folder):
    """Removes the temporary files of writers that were killed: nobody holds their locks."""
    try:
        names = [name for name in os.listdir(folder) if name.startswith(NEW)]
    except EnvironmentError:
        return
    for name in names:
        try:
            fd = opened(folder + b"/" + name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
            try:
                if stat.S_ISREG(os.fstat(fd).st_mode):
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(folder + b"/" + name)
            finally:
                os.close(fd)
        except EnvironmentError:
            pass


def make_beside(folder, path):
    """A new temporary file with its lock held."""
    while True:
        name = folder + b"/" + NEW + unusual()
        fd = attempt(path, opened, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        attempt(path, fcntl.flock, fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd, name
        os.close(fd)  # taken for a leftover before its lock was held


class Attributes(object):
    """Extended attributes of open files, also for a Python that knows none."""

    def __init__(self):
        self.os = hasattr(os, "getxattr")
        if not self.os:
            import ctypes

            self.ctypes = ctypes
            self.libc = ctypes.CDLL(None, use_errno=True)
            self.libc.fgetxattr.restype = self.libc.flistxattr.restype = ctypes.c_ssize_t

    def call(self, name, *arguments):
        result = getattr(self.libc, name)(*arguments)
        if result < 0:
            raise OSError(self.ctypes.get_errno(), name)
        return result

    def grown(self, name, *arguments):
        buffer = self.ctypes.create_string_buffer(1 << 16)
        length = self.call(name, *(arguments + (buffer, self.ctypes.c_size_t(1 << 16))))
        return buffer.raw[:length]

    def list(self, fd):
        if self.os:
            return os.listxattr(fd)
        return [name for name in self.grown("flistxattr", fd).split(b"\0") if name]

    def get(self, fd, name):
        return os.getxattr(fd, name) if self.os else self.grown("fgetxattr", fd, name)

    def set(self, fd, name, value):
        if self.os:
            os.setxattr(fd, name, value)
        else:
            self.call("fsetxattr", fd, name, value, self.ctypes.c_size_t(len(value)), 0)

    def remove(self, fd, name):
        os.removexattr(fd, name) if self.os else self.call("fremovexattr", fd, name)

    def all(self, fd):
        """The access list and what users set; nothing where the file system knows none."""
        try:
            names = self.list(fd)
        except EnvironmentError as problem:
            if problem.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
                return {}
            raise
        found = {}
        for name in names:
            if name == ACL or name.startswith("user.") or name == "security.selinux":
                found[name] = self.get(fd, name)
        return found


def keep(fd, source, facts):
    """Gives a new file what the old one has besides its bytes."""
    new = os.fstat(fd)
    if (new.st_uid, new.st_gid) != (facts.st_uid, facts.st_gid):
        os.fchown(fd, facts.st_uid, facts.st_gid)
    os.fchmod(fd, stat.S_IMODE(facts.st_mode))
    try:
        attributes = Attributes()
    except (ImportError, AttributeError, OSError):
        return
    wanted, there = attributes.all(source), attributes.all(fd)
    if ACL in there and ACL not in wanted:
        # The folder gave it one, which widens what the mode says.
        attributes.remove(fd, ACL)
        os.fchmod(fd, stat.S_IMODE(facts.st_mode))
    for name, value in wanted.items():
        if there.get(name) != value:
            try:
                attributes.set(fd, name, value)
            except EnvironmentError:
                if name != "security.selinux":
                    raise


def refusal(path):
    """Why something may not be written."""
    return number(errno.EROFS if os.statvfs(path).f_flag & 1 else errno.EACCES)


class Change(object):
    """One file that is to become another, in steps that can be taken back until the last."""

    def __init__(self, path, expected, kind, data, mode):
        self.path, self.expected, self.mode = path, expected, int(mode)
        self.data = data if kind == b"put" else None
        self.fd = self.temporary = self.old = None
        self.in_place = False

    def locate(self):
        check(self.path)
        folder, name = os.path.split(self.path)
        try:
            os.stat(self.path)
            follows = self.data is not None  # a link that is removed leaves its file alone
        except EnvironmentError as problem:
            # A link that leads nowhere is no file that could be created.
            if problem.errno != errno.ENOENT or os.path.islink(self.path):
                raise failed(self.path, problem)
            follows = False
        if follows:
            self.real = os.path.realpath(self.path)
        else:
            attempt(self.path, os.stat, folder)
            self.real = os.path.join(os.path.realpath(folder), name)
        self.folder = os.path.dirname(self.real)

    def verify(self):
        import hashlib

        self.old = current(self.path)
        if self.expected:
            found = b"absent" if self.old is None else hashlib.sha256(self.old[2]).hexdigest().encode()
            if found != self.expected:
                raise Failed(b"stale", self.path)

    def stage(self):
        """All that can fail for want of room or rights."""
        if self.data is None:
            if self.old is not None and not is_open_to_us(self.folder):
                raise Failed(b"io", self.path, refusal(self.folder))
        elif self.old is None:
            self.stage_beside()
        else:
            allowed = way(self.real, self.old[1])
            if allowed == b"replace":
                try:
                    return self.stage_beside()
                except Failed as problem:
                    if problem.args[0] != b"io" or int(problem.args[2]) not in (errno.EACCES, errno.EPERM):
                        raise
                    self.undo()
            elif allowed == b"read":
                raise Failed(b"io", self.path, refusal(self.real))
            self.stage_within()

    def stage_beside(self):
        self.fd, self.temporary = make_beside(self.folder, self.path)
        attempt(self.path, write_all, self.fd, self.data)
        if self.old is None:
            attempt(self.path, os.fchmod, self.fd, self.mode)
        else:
            source = attempt(self.path, opened, self.real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
            try:
                attempt(self.path, keep, self.fd, source, self.old[1])
            finally:
                os.close(source)
        attempt(self.path, os.fsync, self.fd)

    def stage_within(self):
        self.fd = attempt(self.path, opened, self.real, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        self.in_place = True
        if not os.path.samestat(os.fstat(self.fd), self.old[1]):
            raise Failed(b"stale", self.path)
        if self.data and not fallocate(self.fd, 1, 0, len(self.data)):
            raise Failed(b"io", self.path, number(errno.ENOSPC))

    def undo(self):
        """As if nothing had been staged."""
        try:
            if self.temporary:
                os.unlink(self.temporary)
            elif self.in_place:
                os.ftruncate(self.fd, os.fstat(self.fd).st_size)  # gives reserved room back
        except EnvironmentError:
            pass
        if self.fd is not None:
            os.close(self.fd)
        self.fd = self.temporary = None
        self.in_place = False

    def overwrite(self, data):
        os.lseek(self.fd, 0, os.SEEK_SET)
        write_all(self.fd, data)
        os.ftruncate(self.fd, len(data))
        os.fsync(self.fd)

    def commit(self):
        if self.data is None:
            if self.old is not None:
                attempt(self.path, os.unlink, self.real)
                self.sync()
            return b"removed"
        if self.in_place:
            try:
                self.overwrite(self.data)
            except EnvironmentError as problem:
                try:
                    self.overwrite(self.old[2])
                except EnvironmentError:
                    raise in_doubt(self.path, problem)
                raise failed(self.path, problem)
            return b"written"
        if self.expected == b"absent":
            try:
                os.link(self.temporary, self.real)
            except EnvironmentError as problem:
                if problem.errno == errno.EEXIST:
                    raise Failed(b"stale", self.path)
                attempt(self.path, os.rename, self.temporary, self.real)
            else:
                attempt(self.path, os.unlink, self.temporary)
        else:
            attempt(self.path, os.rename, self.temporary, self.real)
        self.temporary = None
        self.sync()
        return b"replaced" if self.old else b"created"

    def sync(self):
        try:
            sync(self.folder)
        except EnvironmentError as problem:
            if problem.errno != errno.EACCES:  # a folder that may be written and not read
                raise in_doubt(self.path, problem)


def commit_all(changes):
    found = []
    for count, change in enumerate(changes):
        try:
            found += [change.commit(), change.real]
        except Failed as problem:
            if problem.args[0] == b"partly":
                raise Failed(b"partly", number(count), *problem.args[2:])
            if count:
                raise Failed(b"partly", number(count), *problem.args)
            raise
    return found


def replace(link, fields):
    changes = [Change(*fields[at : at + 5]) for at in range(1, len(fields), 5)]
    lock = hold(link, fields[0]) if fields[0] else None
    try:
        for change in changes:
            change.locate()
            if any(other.real == change.real for other in changes if other is not change and hasattr(other, "real")):
                raise Failed(b"invalid", change.path, b"is changed twice at once")
        for folder in set(change.folder for change in changes):
            sweep(folder)
        for change in changes:
            change.verify()
        if not link.up:
            raise Failed(b"io", fields[0], b"0")  # nobody is there to hear of it
        for change in changes:
            change.stage()
        return commit_all(changes)
    finally:
        for change in changes:
            change.undo()
        if lock is not None:
            os.close(lock)


VERBS.update({b"replace": told(replace)})
