"""Kill a process when its threads together have begun so many system calls that change files, folders or sockets.

strace counts the calls of each name and each thread separately, so it cannot choose the n-th call of a process.
`python system_calls.py PID NTH` attaches to a running process, prints `attached`, and then the name of each call that is
counted; before the NTH call is executed, the process is killed (0: never). Ending this program lets the other go on.

Calls that only read, and writes that wake another thread, are not counted: a kill at one of them leaves what a kill at
the change behind it leaves.
"""

import contextlib
import ctypes
import os
import platform
import signal
import sys
from pathlib import Path

X86_64 = {
    "write": 1, "close": 3, "pwrite64": 18, "writev": 20, "msync": 26, "sendfile": 40, "socket": 41, "connect": 42,
    "sendto": 44, "sendmsg": 46, "shutdown": 48, "bind": 49, "fsync": 74, "fdatasync": 75, "truncate": 76,
    "ftruncate": 77, "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87, "symlink": 88,
    "chmod": 90, "fchmod": 91, "open": 2, "openat": 257, "mkdirat": 258, "unlinkat": 263, "renameat": 264,
    "linkat": 265, "symlinkat": 266, "fchmodat": 268, "fallocate": 285, "accept4": 288, "pwritev": 296,
    "renameat2": 316, "copy_file_range": 326,
}  # fmt: skip
ARM64 = {
    "write": 64, "close": 57, "pwrite64": 68, "writev": 66, "msync": 227, "sendfile": 71, "socket": 198,
    "connect": 203, "sendto": 206, "sendmsg": 211, "shutdown": 210, "bind": 200, "fsync": 82, "fdatasync": 83,
    "truncate": 45, "ftruncate": 46, "fchmod": 52, "openat": 56, "mkdirat": 34, "unlinkat": 35, "renameat": 38,
    "linkat": 37, "symlinkat": 36, "fchmodat": 53, "fallocate": 47, "accept4": 242, "pwritev": 70,
    "renameat2": 276, "copy_file_range": 285,
}  # fmt: skip
NAMES = {number: name for name, number in (X86_64 if platform.machine() == "x86_64" else ARM64).items()}

SEIZE, INTERRUPT, SYSCALL, GET_SYSCALL_INFO = 0x4206, 0x4207, 24, 0x420E
TRACE_SYSTEM_CALLS, TRACE_THREADS = 1, 8
"""Options of `ptrace`."""
EVERY_THREAD = 0x40000000
"""An option of `waitpid`."""
SYSTEM_CALL = signal.SIGTRAP | 0x80
"""How a thread stops at a system call, since the options ask for it."""
ENTRY = 1
NUMBER, FIRST = slice(24, 32), slice(32, 40)
"""Where the number of the call and its first argument are in what the kernel tells of it."""
WAKES = "anon_inode:[eventfd]"

SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")
"""Where Linux keeps who may attach to a process: with 0 its owner, with 1 its ancestors and root."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def may_attach() -> bool:
    """Whether this user may attach to processes of its own."""
    return os.geteuid() == 0 or not SCOPE.exists() or SCOPE.read_text().strip() == "0"


def ptrace(request: int, thread: int, address: int = 0, data: int = 0) -> None:
    """Raises `ProcessLookupError` if the thread has ended."""
    if _libc.ptrace(request, thread, address, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def attach(process: int) -> None:
    """All threads stop; new ones are attached by the kernel."""
    attached: set[int] = set()
    while missing := {int(task.name) for task in Path(f"/proc/{process}/task").iterdir()} - attached:
        for thread in missing:
            attached.add(thread)
            try:
                ptrace(SEIZE, thread, 0, TRACE_SYSTEM_CALLS | TRACE_THREADS)
                ptrace(INTERRUPT, thread)
            except ProcessLookupError:
                continue


def call_of(thread: int) -> str | None:
    """The call that a thread begins, if it is one that counts."""
    told = ctypes.create_string_buffer(88)
    ptrace(GET_SYSCALL_INFO, thread, len(told), ctypes.addressof(told))
    name = NAMES.get(int.from_bytes(told.raw[NUMBER], sys.byteorder)) if told.raw[0] == ENTRY else None
    if name == "write":
        descriptor = int.from_bytes(told.raw[FIRST], sys.byteorder)
        with contextlib.suppress(FileNotFoundError):
            return None if os.readlink(f"/proc/{thread}/fd/{descriptor}") == WAKES else name
    return name


def trace(process: int, nth: int) -> None:
    """Until the process has ended."""
    count = 0
    attach(process)
    os.write(1, b"attached\n")
    while True:
        try:
            thread, status = os.waitpid(-1, EVERY_THREAD)
        except ChildProcessError:
            return
        if not os.WIFSTOPPED(status):
            continue
        stop, event = os.WSTOPSIG(status), status >> 16
        try:
            if stop == SYSTEM_CALL and (name := call_of(thread)):
                os.write(1, f"{name}\n".encode())
                count += 1
                if count == nth:
                    os.kill(process, signal.SIGKILL)
                    continue
            ptrace(SYSCALL, thread, 0, 0 if event or stop == SYSTEM_CALL else stop)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    trace(int(sys.argv[1]), int(sys.argv[2]))
