# The warm parent on the Barman host: this process becomes it. Its text and its frames follow on standard input.


def blocked(fd):
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)


def warm(link, fields):
    """Shows how the launcher begins, is told what that means, and becomes it."""
    plan = Plan(fields)
    with open(plan.program, "rb") as file:
        link.put(b"o", b"0" * 16 + file.read(4096))
    link.finish()
    blocked(0)
    blocked(1)
    words = fields_of(exactly(int(exactly(10))))
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_DFL)
        except (EnvironmentError, ValueError, RuntimeError):
            pass
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.chdir(plan.folder)
    os.umask(0o022)
    os.dup2(os.open("/dev/null", os.O_RDWR), 2)
    os.execve(words[0], words, plan.environment)


VERBS[b"warm"] = warm
