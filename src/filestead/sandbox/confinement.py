"""Takes from a forked process everything a task does not need, in layers, so that one that is missing does not matter.

Where the system permits: another user ID (if the server runs as root), a seccomp filter, the network namespace of the
fork server. Everywhere: resource limits, and a hook of the interpreter that refuses what the filter refuses.
"""

import contextlib
import os
import resource
import signal
import sys

from filestead.sandbox import linux
from filestead.sandbox.limits import Limits

NOBODY = 65534
_REFUSED_EVENTS = ("open", "signal.pthread_kill", "_thread.start_new_thread", "resource.setrlimit", "resource.prlimit")
_REFUSED_PREFIXES = ("socket.", "subprocess.", "os.", "ctypes.", "shutil.", "tempfile.", "glob.", "fcntl.", "pty.")


def confine(limits: Limits, server: int, *, drop_user: bool, program: bytes | None) -> None:
    """Confine this process, a child of the process `server`. Ends it if the server has ended."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb", buffering=0) as adjustment:
        adjustment.write(b"1000")
    _set_limits(limits)
    if drop_user:
        with contextlib.suppress(OSError):  # a user namespace may not have this ID
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
    linux.die_with_parent(signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)
    linux.set_undumpable()
    if linux.set_no_new_privileges() and program is not None:
        linux.set_filter(program)
    sys.addaudithook(_refuse)


def _set_limits(limits: Limits) -> None:
    values = {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_NOFILE: (0, 0),  # descriptors that are open stay open, and no other can be opened
        resource.RLIMIT_NPROC: (0, 0),  # no effect for root
        resource.RLIMIT_CPU: (limits.cpu_seconds, limits.cpu_seconds + 1),
    }
    if linux.LINUX:
        size = linux.address_space() + limits.memory_bytes
        values[resource.RLIMIT_AS] = (size, size)
    for limit, (soft, hard) in values.items():
        maximum = resource.getrlimit(limit)[1]
        if maximum == resource.RLIM_INFINITY:
            resource.setrlimit(limit, (soft, hard))
        else:
            resource.setrlimit(limit, (min(soft, maximum), min(hard, maximum)))


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in _REFUSED_EVENTS or event.startswith(_REFUSED_PREFIXES):
        raise PermissionError(f"the sandbox refuses {event} {arguments!r:.200}")
