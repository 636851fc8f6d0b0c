# Files of the Barman host, tried out in a private folder. Follows remote_files.py in the same program text.

SAID = 1 << 20  # bytes kept of an output
GRACE = 2.0  # seconds from SIGINT to SIGKILL
HOUR = 3600.0
TRIAL = b"trial."  # what the names of folders begin with whose makers hold their locks


def remove_tree(folder):
    os.chmod(folder, 0o700)
    for name in os.listdir(folder):
        path = folder + b"/" + name
        if stat.S_ISDIR(os.lstat(path).st_mode):
            remove_tree(path)
        else:
            os.unlink(path)
    os.rmdir(folder)


def is_ours_alone(path):
    """Whether nobody but this account and root can put another folder in the place of this one."""
    user, at = os.geteuid(), path
    while True:
        facts = os.stat(at)
        is_fixed = at != path and facts.st_mode & stat.S_ISVTX
        if facts.st_uid not in (0, user) or (facts.st_mode & 0o022 and not is_fixed):
            return False
        if at == b"/":
            return True
        at = os.path.dirname(at)


def trials():
    """The folder of the folders for trials: in the account's home, or in /tmp where that can't be written or trusted."""
    problem = Failed(b"invalid", b"/tmp", b"holds no folder that this account alone can write")
    for base in (home(), b"/tmp/.barmanapi-" + number(os.geteuid())):
        path = base + b"/trials"
        try:
            for folder in (base, path):
                try:
                    os.mkdir(folder, 0o700)
                except EnvironmentError as error:
                    if error.errno != errno.EEXIST:
                        raise
            facts = os.lstat(path)
            real = os.path.realpath(path)
            if facts.st_uid == os.geteuid() and stat.S_ISDIR(facts.st_mode) and is_ours_alone(real):
                if os.access(real, os.W_OK | os.X_OK):
                    return real
        except EnvironmentError as error:
            problem = failed(path, error)
    raise problem


def remove_leftovers(folder):
    """Removes the folders of trials whose makers are gone: their locks are free."""
    for name in os.listdir(folder)[:1000]:
        path = folder + b"/" + name
        try:
            fd = opened(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if name.startswith(TRIAL) or time.time() - os.lstat(path).st_mtime > HOUR:
                    remove_tree(path)
            finally:
                os.close(fd)
        except EnvironmentError:
            pass


def make_trial():
    """A new folder with its lock held; under its name it is never without."""
    parent = trials()
    remove_leftovers(parent)
    name = unusual()
    attempt(parent, os.mkdir, parent + b"/new." + name, 0o700)
    fd = attempt(parent, opened, parent + b"/new." + name, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    attempt(parent, os.rename, parent + b"/new." + name, parent + b"/" + TRIAL + name)
    return fd, parent + b"/" + TRIAL + name


def put_file(folder, name, data):
    parts = name.split(b"/")
    if b"\0" in name or any(part in (b"", b".", b"..") for part in parts):
        raise Failed(b"invalid", name, b"is no plain name below a folder")
    for count in range(1, len(parts)):
        try:
            os.mkdir(folder + b"/" + b"/".join(parts[:count]), 0o700)
        except EnvironmentError as problem:
            if problem.errno != errno.EEXIST:
                raise failed(name, problem)
    fd = attempt(name, opened, folder + b"/" + name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        attempt(name, write_all, fd, data)
    finally:
        os.close(fd)


def tried(link, plan, until):
    """Runs a command to its end, or to the end of the time, or of the link."""
    (out, out_end), (err, err_end) = pipe(), pipe()
    said = {out: bytearray(), err: bytearray()}
    cut = set()
    try:
        pid = start(plan, out_end, err_end)
    except Refused as problem:
        raise Failed(b"start", plan.program, problem.args[0].partition(b" ")[2])
    os.close(out_end)
    os.close(err_end)

    def take(fd):
        try:
            chunk = os.read(fd, CHUNK)
        except EnvironmentError as problem:
            return problem.errno == errno.EINTR
        room = SAID - len(said[fd])
        if len(chunk) > room:
            cut.add(fd)
        said[fd] += chunk[:room]
        return bool(chunk)

    sources, stopped, how = [out, err], None, None
    for fd in sources:
        unblocked(fd)
    while not how:
        for fd in link.turn(0.02, sources):
            if not take(fd):
                sources.remove(fd)
        link.orders()
        link.beat(b"0")
        if stopped is None and (now() > until or not link.up):
            stopped = now()
            signal_group(pid, signal.SIGINT)
        elif stopped is not None and now() - stopped > GRACE:
            signal_group(pid, signal.SIGKILL)
        how = ended(pid, lambda: True, os.WNOHANG)
    for fd in sources:
        left = ROOM
        while left > 0 and take(fd):
            left -= CHUNK
    for fd in (out, err):
        os.close(fd)
    return [how, number(int(stopped is not None)), number(int(bool(cut))), bytes(said[out]), bytes(said[err])]


def try_out(link, fields):
    placeholder, limit, back = fields[0], int(fields[1]) / 1000.0, fields[2]
    rest = list(reversed(fields[3:]))

    def some():
        return [rest.pop() for _ in range(int(rest.pop()))]

    files, environment, commands = some(), some(), []
    while rest:
        commands.append((rest.pop(), some()))
    lock, folder = make_trial()

    def filled(data):
        return data.replace(placeholder, folder) if placeholder else data

    try:
        for name, data in zip(files[::2], files[1::2]):
            put_file(folder, name, filled(data))
        found, until = [], now() + limit
        for program, arguments in commands:
            if now() > until or not link.up:
                break
            words = [filled(argument) for argument in arguments]
            plan = Plan([program, number(len(words))] + words + environment)
            plan.folder = folder
            found += [b"command"] + tried(link, plan, until)
        if back:
            found += kept_of(folder + b"/" + back)
        return found
    finally:
        for _ in range(10):
            try:
                remove_tree(folder)
                break
            except EnvironmentError:
                time.sleep(0.02)  # the last of what was stopped is still at it; the next call removes the rest
        os.close(lock)


def kept_of(path):
    """What a command left in a file, as far as it is kept."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return []
        fd = opened(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except EnvironmentError:
        return []
    data = b""
    try:
        while len(data) < SAID:
            chunk = attempt(path, os.read, fd, min(CHUNK, SAID - len(data)))
            if not chunk:
                break
            data += chunk
    finally:
        os.close(fd)
    return [b"file", data]


VERBS.update({b"try": told(try_out)})
