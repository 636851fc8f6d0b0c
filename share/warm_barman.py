# Fourth part of the warm parent: how Barman is made ready, and what the parent was made of.

def load_launcher(path):
    """The launcher's code, when it does nothing before it imports Barman and calls it."""
    if not os.access(path, os.X_OK):
        # No plain start would get by this either, and says so.
        raise Unusable("the launcher can't be executed")
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
        # A text is a Str until Python 3.7.
        is_text = type(statement.value).__name__ in ("Constant", "Str")
        return is_text or "setdefault" in ast.dump(statement.value)
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
    return imported or ("'console_scripts'" in text and "='barman'" in text)


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
    except (Exception, SystemExit) as error:
        raise Unusable("barman.cli can't be imported: %s" % type(error).__name__)
    import inspect

    try:
        from barman.command_wrappers import BarmanSubProcess
    except ImportError:
        raise Unusable("it is not known how this barman starts its helpers")
    command = inspect.signature(BarmanSubProcess.__init__).parameters.get("command")
    if command is None or command.default != launcher:
        raise Unusable("barman's helpers would not be started by its launcher")


def hold_silent(work):
    """Calls it. What it prints, as warnings are, each start would print and no child."""
    heard, said = os.pipe()
    os.set_blocking(heard, False)
    os.set_blocking(said, False)
    for descriptor in (1, 2):
        os.dup2(said, descriptor)
    os.close(said)
    try:
        work()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        point_streams_at(os.devnull)
    try:
        words = os.read(heard, CHUNK)
    except BlockingIOError:
        words = b""
    os.close(heard)
    if words:
        raise Unusable("barman prints when it is imported")


def warm_up(launcher):
    """Fills what each process fills once."""
    import warnings

    steps = (
        warm_codecs,
        warm_configuration,
        warm_parser,
        warm_patterns,
        # Those of all modules that the others load.
        lambda: warm_sources(launcher),
    )
    # One that was given here would not be given again.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in steps:
            try:
                step()
            except (Exception, SystemExit):
                # It fails where it is needed, and is told there.
                pass
    # What was printed must not wait in a buffer of which another process has a copy.
    sys.stdout.flush()
    sys.stderr.flush()


def warm_patterns():
    """Regular expressions on the way to a server and its backups."""
    import fnmatch
    import re

    from barman.utils import redact_passwords

    for pattern in ("*", "*.conf", "*-backup.info"):
        fnmatch.fnmatch("a", pattern)
    re.compile(r"^(.+?)-backup\.info$")
    redact_passwords("a")


def warm_sources(launcher):
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
    # All modules are looked through for a file that is not known: the launcher's is the module that a
    # child makes of it, and the frames below it are of none.
    inspect.modulesbyfile[launcher] = "__main__"
    for unknown in (main.__code__.co_filename, "<string>"):
        inspect.modulesbyfile[unknown] = ""


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

    barman.cli.p.parse_args(["-c", "a", "list-backups", "main"])


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
    # Where the launcher is, files may come and go; what counts is a Barman beside it.
    beside = os.path.dirname(os.path.realpath(launcher))
    files.update(os.path.join(beside, name) for name in ("barman", "barman.py"))
    folders = {folder for folder in sys.path if folder and folder != beside}
    package = sys.modules.get("barman")
    folders.update(getattr(package, "__path__", ()))
    site = sys.modules.get("site")
    if site is not None and site.ENABLE_USER_SITE and site.USER_SITE:
        # On the path of a start as soon as it is there.
        folders.add(site.USER_SITE)
    for folder in folders:
        # What these say is read at a start alone.
        files.update(path_files(folder))
    return sorted(files), sorted(folders)


def path_files(folder):
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names if name.endswith(".pth")]


def started():
    """When this process was started, by the clock that files have."""
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    with open("/proc/uptime") as file:
        since_boot = float(file.read().split()[0])
    return time.time() - since_boot + ticks / os.sysconf("SC_CLK_TCK")


class Made:
    """Files as they were when the parent was made of them."""

    def __init__(self, launcher):
        files, folders = files_of_the_parent(launcher)
        self.known = [(path, look(path)) for path in files + folders]
        # One that was replaced while it was being read may have been read before or after.
        since = (started() - 0.1) * 1e9
        for path, facts in self.known[: len(files)]:
            if facts and facts[4] > since:
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
