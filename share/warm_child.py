# Second part of the warm parent: the child, from the fork to its end.


# For prctl(2).
PR_SET_PDEATHSIG = 1


def function_of_c(name, count):
    """A function of the C library that takes so many numbers; where it can't be had, one that fails."""
    try:
        import ctypes

        function = getattr(ctypes.CDLL(None), name)
        function.argtypes = [ctypes.c_size_t] * count
    except Exception:
        return lambda *numbers: -1
    return function


def become(parent, given, out, err, highest):
    """The child. Signals are held back until it has its words and its own way with them."""
    try:
        os.setsid()
        # The system kills it when its parent ends.
        parent.control_process(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent.pid:
            os._exit(127)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        parent.memory.make_own()
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.dup2(given, 3)
        os.closerange(4, highest + 1)
        os.chdir("/")
        os.umask(0o022)
        main = type(sys)("__main__")
        main.__file__ = parent.launcher
        main.__builtins__ = __builtins__
        sys.modules["__main__"] = main
        content = receive(3)
        os.close(3)
        if content is None:
            os._exit(0)
        words, environment = read_request(content)
        os.environb.clear()
        os.environb.update(parent.environment)
        os.environb.update(environment)
        time.tzset()
        sys.argv = [parent.launcher] + [os.fsdecode(word) for word in words]
        signal.pthread_sigmask(signal.SIG_SETMASK, parent.mask)
        code = end(run(parent.code, main.__dict__))
        try:
            parent.memory.learn(command_of(words))
        except BaseException:
            # The command has ended as it did.
            pass
        os._exit(code)
    finally:
        # Whatever happens, no child goes on as a parent.
        os._exit(127)


def receive(descriptor):
    """The words of a command; nothing when none come any more."""
    content = b""
    while len(content) < NUMBER.size or len(content) < NUMBER.size + NUMBER.unpack_from(content)[0]:
        part = os.read(descriptor, CHUNK)
        if not part:
            return None
        content += part
    return content[NUMBER.size :]


def run(code, names):
    """Runs the launcher; the exit code that Python would end with."""
    try:
        exec(code, names)
    except SystemExit as leave:
        return exit_code(leave)
    except BaseException as error:
        # Without the frame of this text, as if the launcher had been started.
        try:
            error = error.with_traceback(error.__traceback__.tb_next)
            sys.excepthook(type(error), error, error.__traceback__)
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


