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
# launcher itself, so what it prints, writes, locks and returns is Barman's own.

import ast
import os
import select
import signal
import struct
import sys
import time

STARTED = time.time()
HEADER = struct.Struct("!cII")
NUMBER = struct.Struct("!I")
CHUNK = 65536
MOST_CHILDREN = 64
MOST_REQUEST = 1024 * 1024
# The parent is replaced when it has grown by this many KiB.
GROWTH = 16 * 1024
# What Python, its libraries and the loader read at their start and never again.
FIXED = ("HOME", "LANG", "LANGUAGE", "PATH", "TZ")
FIXED_BEGINNINGS = ("LC_", "LD_", "PYTHON", "GLIBC_", "MALLOC_", "OPENSSL_", "SSL_")
# Files of the system that count from the start of a process on.
SYSTEM_FILES = ("/etc/localtime", "/etc/nsswitch.conf", "/etc/ssl/openssl.cnf", "/etc/ld.so.cache")


class Unusable(Exception):
    """Barman can't be kept warm here, and why."""


def is_fixed(name):
    return name in FIXED or name.startswith(FIXED_BEGINNINGS)


def fixed_variables(environment):
    return {name: value for name, value in environment.items() if is_fixed(name)}


# What is run


def load_launcher(path):
    """The launcher's code, when it does nothing before it imports Barman and calls it."""
    with open(path, "rb") as file:
        text = file.read(65536)
    try:
        tree = ast.parse(text, path)
    except (SyntaxError, ValueError):
        raise Unusable("the launcher is no script of this Python")
    if not all(is_plain(statement) for statement in tree.body) or not starts_barman(tree):
        raise Unusable("the launcher does more than to start barman.cli")
    return compile(text, path, "exec")


def is_plain(statement):
    """Whether this is what pip, distlib, uv and setuptools write, which changes nothing of sys or os."""
    if isinstance(statement, (ast.Import, ast.ImportFrom, ast.FunctionDef)):
        return True
    if isinstance(statement, ast.Try):
        return all(is_plain(part) for part in statement.body)
    if isinstance(statement, ast.Assign):
        return all(isinstance(target, ast.Name) and target.id == "__requires__" for target in statement.targets)
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant) or "setdefault" in ast.dump(statement.value)
    return isinstance(statement, ast.If) and "'__main__'" in ast.dump(statement.test)


def starts_barman(tree):
    text = ast.dump(tree)
    for way_to_elsewhere in ("attr='path'", "attr='environ'", "attr='modules'"):
        if way_to_elsewhere in text:
            return False
    imported = any(
        isinstance(node, ast.ImportFrom) and node.module == "barman.cli" and [name.name for name in node.names] == ["main"]
        for node in ast.walk(tree)
    )
    return imported or ("'console_scripts'" in text and "value='barman'" in text)


def import_barman(launcher):
    """Imports Barman as the launcher does, and nothing of it runs."""
    # As the interpreter sets it for a script; options of the launcher's first line may forbid it.
    if sys.path and sys.path[0] == "":
        sys.path[0] = os.path.dirname(os.path.realpath(launcher))
    # Before the import: Barman takes its own name, and the program that its helpers start, from
    # here when it is loaded. With another name here its helpers would be parents like this one.
    sys.argv = [launcher]
    try:
        import barman.cli
    except Exception as error:
        raise Unusable("barman.cli can't be imported: %s" % type(error).__name__)
    try:
        from barman.command_wrappers import BarmanSubProcess
    except ImportError:
        return
    defaults = BarmanSubProcess.__init__.__defaults__ or ()
    if any(isinstance(value, str) and "/" in value and value != launcher for value in defaults):
        raise Unusable("barman's helpers would not be started by its launcher")


def warm_up():
    """Fills what each process fills once. What fails here is filled by each child."""
    steps = (warm_sources, warm_codecs, warm_configuration, warm_parser)
    for step in steps:
        try:
            step()
        except Exception:
            pass


def warm_sources():
    # Barman asks for the stack with each message that it logs, which reads the sources of all frames.
    import inspect
    import linecache

    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None) or ""
        if getattr(module, "__name__", "").split(".")[0] == "barman" and path.endswith(".py"):
            linecache.getlines(path)
        try:
            inspect.getmodule(module)
        except Exception:
            pass
    inspect.stack()


def hide_own_frames():
    """A stack that is printed ends where the launcher's does, as when it was started."""
    import traceback

    own = main.__code__.co_filename
    walk = traceback.walk_stack

    def walk_stack(frame):
        for found, line in walk(frame or sys._getframe().f_back):
            if found.f_code.co_filename == own:
                return
            yield found, line

    traceback.walk_stack = walk_stack


def warm_codecs():
    import encodings.ascii
    import encodings.idna
    import encodings.latin_1

    import psycopg2.extensions
    from dateutil import tz

    psycopg2.extensions.parse_dsn("host=a port=1 user=b dbname=c")
    tz.tzlocal()


def warm_configuration():
    import io

    from barman.config import Config

    text = (
        "[barman]\nbarman_home = /nonexistent\nbarman_user = barman\nlog_level = INFO\n"
        "[main]\ndescription = a\nconninfo = host=a user=b dbname=c\nstreaming_conninfo = host=a user=b\n"
        "backup_method = postgres\narchiver = on\nretention_policy = RECOVERY WINDOW OF 7 DAYS\n"
    )
    config = Config(io.StringIO(text))
    config.get_server("main")


def warm_parser():
    import barman.cli

    barman.cli.p.parse_args(["list-backups", "main"])


# What the parent was made of


def look(path):
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_ino, found.st_dev, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def standard_library():
    return os.path.dirname(os.path.realpath(os.__file__)) + os.sep


def files_of_the_parent(launcher):
    """What is replaced when Barman, what it needs, or Python is: files, then folders."""
    files = {launcher, os.path.realpath(launcher), sys.executable, os.path.realpath(sys.executable), os.__file__}
    files.update(SYSTEM_FILES)
    files.add(os.path.join(sys.prefix, "pyvenv.cfg"))
    standard = standard_library()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if not path:
            continue
        if "-packages" in path or not os.path.realpath(path).startswith(standard):
            files.add(path)
    folders = {folder for folder in sys.path if folder}
    package = sys.modules.get("barman")
    folders.update(getattr(package, "__path__", ()))
    return sorted(files), sorted(folders)


class Made:
    """Files as they were when the parent was made of them."""

    def __init__(self, launcher):
        files, folders = files_of_the_parent(launcher)
        self.known = [(path, look(path)) for path in files + folders]
        # One that was replaced while it was being read may have been read before or after.
        for path, facts in self.known[: len(files)]:
            if facts and facts[4] > (STARTED - 0.1) * 1e9:
                raise Unusable("%s is being replaced" % path)

    def differs(self):
        for path, facts in self.known:
            if look(path) != facts:
                return True
        return False


def resident():
    """The parent's size in KiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * (os.sysconf("SC_PAGE_SIZE") // 1024)


# The child


def become(launcher, code, words, environment, out, err, highest):
    """The child, from the fork to its end."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.closerange(3, highest + 1)
        os.environb.clear()
        os.environb.update(environment)
        time.tzset()
        os.chdir("/")
        os.umask(0o022)
        sys.argv = [launcher] + [os.fsdecode(word) for word in words]
        main = type(sys)("__main__")
        main.__file__ = launcher
        main.__builtins__ = __builtins__
        sys.modules["__main__"] = main
        os._exit(end(run(code, main.__dict__)))
    finally:
        # Whatever happens, no child goes on as a parent.
        os._exit(127)


def run(code, names):
    """Runs the launcher; the exit code that Python would end with."""
    try:
        exec(code, names)
    except SystemExit as leave:
        return exit_code(leave)
    except BaseException as error:
        # Without the frame of this text, as if the launcher had been started.
        try:
            sys.excepthook(type(error), error, error.__traceback__.tb_next)
        except BaseException:
            pass
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def exit_code(leave):
    code = leave.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    try:
        sys.stderr.write("%s\n" % (code,))
    except Exception:
        pass
    return 1


def end(code):
    """What Python does before a process ends."""
    import atexit

    threading = sys.modules.get("threading")
    try:
        if threading is not None:
            threading._shutdown()
        atexit._run_exitfuncs()
    except BaseException:
        pass
    try:
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
    except BaseException:
        code = 120
    try:
        if sys.stderr is not None and not sys.stderr.closed:
            sys.stderr.flush()
    except BaseException:
        code = 120
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


# The parent


class Child:
    """A command that runs."""

    def __init__(self, number, pid, streams):
        self.number = number
        self.pid = pid
        self.streams = streams
        self.stopped = False


class Parent:
    """Takes requests, forks, and passes on what the children say."""

    def __init__(self, launcher, idle, names, control, answers):
        self.launcher = launcher
        self.idle = idle
        self.names = names
        self.control = control
        self.answers = answers
        self.children = {}
        self.streams = {}
        self.received = bytearray()
        self.retiring = False
        self.forks = 0

    def say(self, kind, number=0, content=b""):
        rest = HEADER.pack(kind, number, len(content)) + content
        while rest:
            rest = rest[os.write(self.answers, rest) :]

    def prepare(self):
        self.code = load_launcher(self.launcher)
        import_barman(self.launcher)
        warm_up()
        hide_own_frames()
        self.made = Made(self.launcher)
        self.fixed = fixed_variables(os.environ)
        import gc

        gc.collect()
        if hasattr(gc, "freeze"):
            gc.freeze()
        self.size = resident()
        wake, self.waker = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self.waker, False)
        self.wake = wake
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self.poll = select.poll()
        for descriptor in (self.control, self.wake):
            self.poll.register(descriptor, select.POLLIN)

    def serve(self):
        """Until there is nobody to serve, or the parent is to be replaced."""
        last = time.monotonic()
        while not (self.retiring and not self.children):
            if self.children:
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
            if len(self.children) >= MOST_CHILDREN:
                raise ValueError("too many commands run")
        except (ValueError, struct.error) as error:
            return self.say(b"N", number, str(error).encode("utf-8", "replace"))
        if self.retiring or self.made.differs() or self.has_grown():
            self.retiring = True
            return self.say(b"N", number, b"replace")
        try:
            self.fork(number, words, environment)
        except OSError as error:
            self.say(b"N", number, str(error).encode("utf-8", "replace"))

    def refuse_the_unexpected(self, words, environment):
        rest = list(words)
        while rest and rest[0] in (b"-c", b"-f") and len(rest) > 1:
            if rest[0] == b"-f" and rest[1] != b"json":
                raise ValueError("unexpected format")
            rest = rest[2:]
        if not rest or os.fsdecode(rest[0]) not in self.names:
            raise ValueError("unexpected command")
        given = {os.fsdecode(name): os.fsdecode(value) for name, value in environment.items()}
        if fixed_variables(given) != self.fixed:
            raise ValueError("unexpected environment")

    def has_grown(self):
        self.forks += 1
        return self.forks % 1000 == 0 and resident() > self.size + GROWTH

    def fork(self, number, words, environment):
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        # Nothing may wait in a buffer that the child would write once more.
        highest = max(out, out_end, err, err_end, self.control, self.answers, self.wake, self.waker, *self.streams, 3)
        pid = os.fork()
        if pid == 0:
            become(self.launcher, self.code, words, environment, out_end, err_end, highest)
        os.close(out_end)
        os.close(err_end)
        child = Child(number, pid, {out: b"O", err: b"E"})
        self.children[pid] = child
        for descriptor in (out, err):
            os.set_blocking(descriptor, False)
            self.streams[descriptor] = child
            self.poll.register(descriptor, select.POLLIN)
        self.say(b"B", number, NUMBER.pack(pid))

    def pass_on(self, descriptor, most=CHUNK):
        """Passes on what a child said; the number of bytes."""
        child = self.streams.get(descriptor)
        if child is None:
            return 0
        try:
            content = os.read(descriptor, most)
        except BlockingIOError:
            return 0
        if content:
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
        for child in self.children.values():
            signal_group(child.pid, signal.SIGKILL)


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


def main():
    launcher, idle, names = sys.argv[1:4]
    # Descriptors that the starter left open must not reach Barman.
    os.closerange(3, 4096)
    try:
        os.setsid()
    except OSError:
        # It leads its group already.
        pass
    control, answers = os.dup(0), os.dup(1)
    # Python's own standard streams stay as they are made at a start; nothing is ever written there.
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    parent = Parent(launcher, float(idle), set(names.split(",")), control, answers)
    try:
        if not os.path.isabs(launcher):
            raise Unusable("the launcher's path is not absolute")
        parent.prepare()
    except Unusable as error:
        parent.say(b"F", 0, str(error).encode("utf-8", "replace"))
        os._exit(1)
    parent.say(b"H")
    try:
        parent.serve()
    finally:
        # Only the parent comes here: a child ends where it was forked.
        parent.leave()
        os._exit(0)


main()
