# Short files that outlive a power cut, room on disk, and what /proc says. Follows remote.py in the same program text.


def get(folder, name):
    """A short file; None when there is none."""
    try:
        fd = opened(folder + b"/" + name, os.O_RDONLY)
    except EnvironmentError as problem:
        if problem.errno == errno.ENOENT:
            return None
        raise
    try:
        return retried(os.read, fd, 4096)
    finally:
        os.close(fd)


def sync(folder):
    fd = opened(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write(path, data):
    """Writes a short file over what stands there, whose room it takes."""
    fd = opened(path, os.O_WRONLY | os.O_CREAT)
    try:
        write_all(fd, data)
        os.ftruncate(fd, len(data))
        os.fsync(fd)
    finally:
        os.close(fd)


def put(folder, name, data):
    """Writes a short file whole, so that it outlives a power cut."""
    path = folder + b"/" + name
    write(path + b".new", data)
    os.rename(path + b".new", path)
    sync(folder)


def is_there(folder):
    """Whether there is such a folder, for certain."""
    try:
        return stat.S_ISDIR(os.lstat(folder).st_mode)
    except EnvironmentError as problem:
        if problem.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
        return False


def proc(name):
    with open("/proc/" + name, "rb") as file:
        return file.read()


def boot():
    return proc("sys/kernel/random/boot_id").strip()


def uptime():
    return float(proc("uptime").split()[0])


def start_of(pid):
    """The start of a running process, in clock ticks since boot; None when it doesn't run."""
    try:
        # The program's name stands in parentheses and may hold anything.
        fields = proc("%d/stat" % pid).rpartition(b")")[2].split()
    except EnvironmentError as problem:
        if problem.errno in (errno.ENOENT, errno.ESRCH):
            return None
        raise
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def fallocate(fd, mode, offset, length):
    """Reserves room or, where `mode` says so, gives it back; False when there is no room."""
    try:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        call = libc.fallocate64 if hasattr(libc, "fallocate64") else libc.fallocate
        done = call(fd, mode, ctypes.c_longlong(offset), ctypes.c_longlong(length))
        return done == 0 or ctypes.get_errno() not in (errno.ENOSPC, errno.EDQUOT)
    except (ImportError, AttributeError, OSError):
        return True  # a system that can't reserve is taken as it is
