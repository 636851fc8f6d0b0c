# Detached jobs on the Barman host. Follows remote.py and remote_disk.py in the same program text, for the requests that need it.
#
# A detached job has a folder ~/.barmanapi/jobs/NAME, made with its lock held, so that one request alone can make it:
#
#   lock      held by the keeper, the process that waits for Barman; also by Barman's process until it is Barman
#   process   number, start and boot of Barman's process and the uptime, on disk before it becomes Barman; then named running
#   stdout stderr   what Barman writes      stop   the uptime at which it was told to stop
#   status    "exit CODE", "signal NUMBER", "refused ERRNO WORDS" or "never"; written once, whole
#   stop.new status.new   room for these two, taken before anything starts: a disk that fills up later hides no end
#
# ~/.barmanapi/gone/NAME tells for a day that a job was removed: a request that comes late must not start it again.

RESERVED = 1 << 16  # bytes that an output must have room for before a job begins
NOTE = 1 << 12  # bytes that a short file must have room for
PATIENCE = 5  # tries to write down that nothing was started
SAFE = 16 << 20  # bytes that the other side holds before their room is given back
DAY = 86400.0


def home():
    return encoded(pwd.getpwuid(os.getuid()).pw_dir) + b"/.barmanapi"


def make_folders():
    for folder in (home(), home() + b"/jobs", home() + b"/gone"):
        try:
            try:
                os.mkdir(folder, 0o700)
            except EnvironmentError as problem:
                if problem.errno != errno.EEXIST:
                    raise
            found = os.lstat(folder)
        except EnvironmentError as problem:
            raise Refused(words(problem, folder))
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise Refused(b"0 " + folder + b" is not a folder that this account alone can write")
    # Whoever removes a job later knows nothing of Barman's own Python.
    if sys.executable and get(home(), b"python") != encoded(sys.executable) + b"\n":
        # Many jobs may be the first one.
        fresh = home() + b"/python." + str(os.getpid()).encode("ascii")
        write(fresh, encoded(sys.executable) + b"\n")
        os.rename(fresh, home() + b"/python")
        sync(home())


def remove_folder(folder):
    for name in os.listdir(folder):
        os.unlink(folder + b"/" + name)
    os.rmdir(folder)


def aside(name):
    return home() + b"/jobs/." + name + (".%d.%d" % (os.getpid(), int(time.time() * 1000))).encode()


def claim(name, status=None):
    """Makes the folder of a job with its lock held, which is returned; None when there is one."""
    folder = home() + b"/jobs/" + name
    if is_there(folder):
        return None
    temporary = aside(name)
    os.mkdir(temporary, 0o700)
    try:
        lock = opened(temporary + b"/lock", os.O_WRONLY | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if status is not None:
            put(temporary, b"status", status)
        else:
            write(temporary + b"/status.new", b"-" * NOTE)
            write(temporary + b"/stop.new", b"-" * NOTE)
        # Replaces an empty folder at most, and no job's folder is empty.
        os.rename(temporary, folder)
    except EnvironmentError as problem:
        remove_folder(temporary)
        if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return None
    sync(home() + b"/jobs")
    return lock


def has_keeper(folder):
    try:
        lock = opened(folder + b"/lock", os.O_WRONLY)
    except EnvironmentError as problem:
        if problem.errno != errno.ENOENT:
            raise
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except EnvironmentError:
        return True
    finally:
        os.close(lock)
    return False


def keep(folder, lock, plan):
    """The keeper: starts Barman, waits for it, and writes down how it ended. Nothing of the session is left in it."""
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for fd in descriptors():
        if fd > 2 and fd != lock:
            try:
                os.close(fd)
            except EnvironmentError:
                pass

    def record():
        pid = os.getpid()
        put(folder, b"process", b"%d %d %s %f" % (pid, start_of(pid), boot(), uptime()))

    try:
        outputs = [opened(folder + name, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in (b"/stdout", b"/stderr")]
        for fd in outputs:
            if not fallocate(fd, 1, 0, RESERVED):
                raise OSError(errno.ENOSPC, "")
        pid = start(plan, outputs[0], outputs[1], record)
        for fd in outputs:
            os.close(fd)
    except Exception as problem:
        return give_up(folder, b"refused " + words(problem))
    try:
        os.rename(folder + b"/process", folder + b"/running")
    except EnvironmentError:
        pass
    status = ended(pid, lambda: os.path.exists(folder + b"/stop"))
    while os.path.lexists(folder):
        try:
            return put(folder, b"status", status)
        except EnvironmentError:
            time.sleep(1)  # a failing disk: until it takes that


def give_up(folder, status):
    """Writes down that nothing was started. Without a keeper and a process that is seen anyway, less its cause."""
    for _ in range(PATIENCE):
        try:
            if get(folder, b"process") is not None:
                os.unlink(folder + b"/process")
            return put(folder, b"status", status)
        except EnvironmentError:
            time.sleep(1)


def detach(folder, lock, plan):
    child = os.fork()
    if child == 0:
        try:
            if os.fork() == 0:
                keep(folder, lock, plan)
        finally:
            os._exit(0)
    os.close(lock)
    retried(os.waitpid, child, 0)


def identity(folder):
    """Number, start, boot and uptime at the start, and whether it certainly became Barman; None when nothing was recorded."""
    for name in (b"running", b"process"):
        text = get(folder, name)
        if text:
            pid, begin, boot_id, up = text.split()
            return int(pid), int(begin), boot_id, float(up), name == b"running"
    return None


def runs(who):
    return who is not None and who[2] == boot() and start_of(who[0]) == who[1]


def fate(folder):
    """What became of a job whose keeper is gone; None while Barman runs on."""
    status = get(folder, b"status")
    if status:
        return status
    who = identity(folder)
    if who is None:
        return b"refused 0 what should have started it was killed, or could not write down what was in its way"
    if runs(who):
        return None
    return b"unknown " + (b"0" if who[2] == boot() else b"1")


class Job(object):
    """A detached job as it is followed."""

    def __init__(self, link, folder, offsets):
        self.link = link
        self.folder = folder
        self.offsets = [int(offset) for offset in offsets]
        self.freed = [0, 0]
        self.files = [None, None]
        self.started = self.orphaned = False
        self.looked = 0.0
        self.stopping = self.killed = False
        self.told = None  # the uptime at which it was told to stop
        self.grace = 10.0
        self.begun = now()

    def look(self):
        """How it ended, when it did; tells of its start as soon as that is certain."""
        status = get(self.folder, b"status")
        if not status and (self.orphaned or now() - self.looked >= 0.5):
            self.looked = now()
            if self.orphaned or not has_keeper(self.folder):
                if not is_there(self.folder):
                    return b"missing"
                status = fate(self.folder)
                self.set_orphaned(not status)
        if not self.started and not (status or b"").startswith((b"refused", b"never", b"missing")):
            who = identity(self.folder)
            if who and (status or who[4] or self.orphaned):
                self.started = True
                age = "%.3f" % max(0.0, uptime() - who[3]) if who[2] == boot() else ""
                self.link.put(b"s", age.encode())
        return status

    def set_orphaned(self, orphaned):
        if orphaned != self.orphaned:
            self.orphaned = orphaned
            self.link.put(b"b", b"1" if orphaned else b"0")

    def copy(self):
        """Passes on what was written; True when all of it."""
        if not self.link.up:
            return True
        for index, (kind, name) in enumerate(((b"o", b"/stdout"), (b"e", b"/stderr"))):
            if self.files[index] is None:
                try:
                    self.files[index] = opened(self.folder + name, os.O_RDWR)
                except EnvironmentError as problem:
                    if problem.errno != errno.ENOENT:
                        raise
                    continue
            while self.link.has_room():
                os.lseek(self.files[index], self.offsets[index], 0)
                chunk = retried(os.read, self.files[index], CHUNK)
                if not chunk:
                    break
                self.link.put(kind, ("%016x" % self.offsets[index]).encode() + chunk)
                self.offsets[index] += len(chunk)
            else:
                return False
        return True

    def free(self, payload):
        """Gives the room of what is safe on the other side back."""
        for index, safe in enumerate(int(word) for word in payload.split()):
            if self.files[index] is not None and min(safe, self.offsets[index]) - self.freed[index] >= SAFE:
                fallocate(self.files[index], 3, self.freed[index], safe - self.freed[index])
                self.freed[index] = safe

    def stop(self):
        """SIGINT once, whoever asks how often; SIGKILL when the grace has passed since."""
        who = identity(self.folder)
        if not runs(who):
            return
        if self.told is None:
            self.told = self.noted()
        if self.told is None:
            signal_group(who[0], signal.SIGINT)
            self.told = uptime()
        elif not self.killed and uptime() - self.told >= self.grace:
            signal_group(who[0], signal.SIGKILL)
            self.killed = True
        if self.noted() is None:
            put(self.folder, b"stop", str(self.told).encode())

    def noted(self):
        """When it was told to stop, by this or another session."""
        try:
            return float(get(self.folder, b"stop") or "")
        except ValueError:
            return None

    def step(self):
        """Tells what is new; True at the end."""
        status = self.look()
        if status and status.startswith(b"refused "):
            self.link.put(b"f", status[8:])
        elif status in (b"never", b"missing"):
            self.link.put(b"n" if status == b"never" else b"m")
        elif self.copy() and status:
            self.link.put(b"x", counted(status, self.offsets))
        else:
            return False
        return True

    def follow(self):
        """Until the end. Whatever goes wrong on the way is none, and hinders nothing else."""
        while self.link.up or self.stopping:
            ended = attempt(self.step)
            if ended:
                return
            self.link.beat(b"1" if self.orphaned else b"0")
            self.link.turn(0.5 if ended is None else 0.005 if now() - self.begun < 1 else 0.05)
            for kind, payload in self.link.orders():
                if kind == b"i":
                    self.stopping = True
                    self.grace = int(payload) / 1000.0
                elif kind == b"a":
                    self.free(payload)
            if self.stopping:
                attempt(self.stop)


def attempt(call):
    """What a call returns; None when something is wrong with this host for now."""
    try:
        return call()
    except (EnvironmentError, KeyError):
        return None


def job(link, fields):
    """Starts a job that was not started yet, and follows it."""
    folder = home() + b"/jobs/" + fields[0]
    if not is_there(folder):
        try:
            begin(folder, fields[0], Plan(fields[3:]))
        except EnvironmentError as problem:
            raise Refused(named(problem))
    follow(link, fields)


def begin(folder, name, plan):
    make_folders()
    lock = claim(name)
    if lock is None:
        return
    if os.path.lexists(home() + b"/gone/" + name):
        remove_folder(folder)
    else:
        detach(folder, lock, plan)


def adopt(link, fields):
    """Follows a job; one that was not started never will be."""
    folder = home() + b"/jobs/" + fields[0]
    if not is_there(folder):
        make_folders()
        lock = claim(fields[0], b"never")
        if lock is not None:
            os.close(lock)
    follow(link, fields)


def follow(link, fields):
    folder = home() + b"/jobs/" + fields[0]
    if not is_there(folder):
        return link.put(b"m")
    Job(link, folder, fields[1:3]).follow()


def prune(folder, age, remove):
    """Removes what is older than `age` seconds and nobody's any more."""
    for name in os.listdir(folder)[:1000]:
        path = folder + b"/" + name
        try:
            if time.time() - os.lstat(path).st_mtime > age:
                remove(path)
        except EnvironmentError:
            pass


def remove_left_over(path):
    if os.path.basename(path).startswith(b".") and not has_keeper(path):
        remove_folder(path)


def remove(link, fields):
    """Removes a job that has ended."""
    folder = home() + b"/jobs/" + fields[0]
    if os.path.isdir(folder):
        if not get(folder, b"status") and (has_keeper(folder) or fate(folder) is None):
            raise Refused(b"0 " + folder + b": the job still runs")
        os.close(opened(home() + b"/gone/" + fields[0], os.O_WRONLY | os.O_CREAT))
        trash = aside(fields[0])
        os.rename(folder, trash)
        remove_folder(trash)
        prune(home() + b"/gone", DAY, os.unlink)
        prune(home() + b"/jobs", DAY, remove_left_over)
    link.put(b"d")


VERBS.update({b"job": job, b"follow": follow, b"adopt": adopt, b"remove": remove})
