"""System calls of Linux that the standard library lacks. Each returns whether it succeeded; elsewhere none does."""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CAP_KILL, _CAP_SETGID, _CAP_SETUID = 5, 6, 7

LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True) if LINUX else None


def _prctl(option: int, *arguments: object) -> bool:
    if _libc is None:
        return False
    padded = [*arguments, *[ctypes.c_ulong(0)] * (4 - len(arguments))]
    return bool(_libc.prctl(option, *padded) == 0)


def die_with_parent(signal: int) -> bool:
    """Receive a signal when the thread that started this process ends; 0 for none. New credentials cancel it."""
    return _prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal))


def set_no_new_privileges() -> bool:
    """Ignore set-user-ID bits from now on; a condition for filters without privileges."""
    return _prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1))


def set_undumpable() -> bool:
    """Forbid others to trace this process and to read its memory."""
    return _prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0))


def set_filter(program: bytes) -> bool:
    """Install a seccomp filter, given as an array of `struct sock_filter` (8 bytes each)."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    descriptor = Program(len(program) // 8, program)
    return _prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(descriptor))


def leave_network() -> bool:
    """Move to a network namespace without interfaces; without privileges that takes a user namespace."""
    if _libc is None:
        return False
    return bool(_libc.unshare(_CLONE_NEWNET) == 0 or _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)


def may_drop_user() -> bool:
    """Whether children of this process can take another user ID, and this process can still kill them."""
    if os.geteuid() != 0:
        return False
    try:
        with open("/proc/self/status", "rb") as status:
            effective = next(int(line.split()[1], 16) for line in status if line.startswith(b"CapEff"))
    except (OSError, StopIteration):
        return False
    return all(effective >> capability & 1 for capability in (_CAP_KILL, _CAP_SETGID, _CAP_SETUID))


def address_space() -> int:
    """Return the size of this process in bytes."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def threads() -> int:
    """Return the number of threads of this process."""
    return len(os.listdir("/proc/self/task"))
