"""Tasks for the tests of the sandbox: well-behaved and hostile."""

import contextlib
import ctypes
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from filestead.sandbox import linux, seccomp
from filestead.sandbox.tasks import rejects

PREPARED: list[str] = []


class Declared(Exception):
    kind = "declared_kind"


def prepare() -> None:
    PREPARED.append("once")


def broken_prepare() -> None:
    raise RuntimeError("no model")


def prepare_for_a_minute() -> None:
    """Say the process, and take long."""
    print(os.getpid(), file=sys.stderr, flush=True)
    time.sleep(60)


def prepare_with_threads() -> None:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def open_file(where: str) -> None:
    with open(where) as file:
        file.read()


def write_file(where: str) -> None:
    with open(where, "w") as file:
        file.write("x")


def fork(_: str) -> None:
    if os.fork() == 0:
        os._exit(0)


def start_thread(_: str) -> None:
    threading.Thread(target=time.sleep, args=(0,)).start()


ACTS = {
    "open": open_file,
    "os.open": lambda where: os.open(where, os.O_RDONLY),
    "write": write_file,
    "listdir": os.listdir,
    "socket": lambda where: socket.create_connection(("127.0.0.1", int(where))),
    "udp": lambda where: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", int(where))),
    "unix": lambda _: socket.socketpair(),
    "fork": fork,
    "subprocess": lambda where: subprocess.run([where], check=True),
    "exec": lambda where: os.execv(where, [where]),
    "thread": start_thread,
    "kill": lambda where: os.kill(int(where), signal.SIGKILL),
    "import": __import__,
    "unlink": os.unlink,
}
"""Forbidden acts, by the standard library."""

LIBC = ctypes.CDLL(None)
SYSTEM_CALL = LIBC.syscall
PATH = ctypes.create_string_buffer(b"/etc/passwd")


@rejects(Declared)
def act(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    """Do what `arguments["do"]` says."""
    do = arguments["do"]
    if do == "echo":
        while block := file.read(1000):
            yield block
    elif do == "arguments":
        yield repr(arguments["value"]).encode()
    elif do == "reject":
        yield b"before"
        raise Declared("not this one")
    elif do == "raise":
        raise ValueError("undeclared")
    elif do == "reach":
        yield b"begun"
        ACTS[arguments["what"]](arguments["where"])
        yield b"reached"
    elif do == "syscall":
        # Past the audit hook, as native code would.
        yield str(SYSTEM_CALL(arguments["number"], *[PATH if a == "path" else a for a in arguments["with"]])).encode()
    else:
        yield from HOSTILE[do](file, arguments)


def hang(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    yield b"begun"
    while True:
        time.sleep(60)


def spin(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    yield b"begun"
    while True:
        pass


def stubborn_spin(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    yield from spin(file, arguments)


def allocate(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    yield b"begun"
    held = []
    while sum(map(len, held)) < arguments["bytes"]:
        held.append(b"x" * (1 << 20))
    yield b"allocated"


def small_allocations(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    held = []
    while True:
        held.append([None])
    yield b""


_MUCH = b"x" * (1 << 19)


def print_much(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    for _ in range(1024):
        os.write(2, _MUCH)
        os.write(1, _MUCH)
    print("x" * (1 << 20))
    yield b"printed"


def yield_much(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    block = b"x" * (1 << 20)
    for _ in range(1024):
        yield block


def one_large_frame(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    yield b"x" * arguments["bytes"]


def forge(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    """Write bytes that are no frames to the results."""
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(descriptor, bytes.fromhex(arguments["hex"]))
    yield b""


def crash(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    yield b"begun"
    os.abort()


def leave(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    yield b"begun"
    os._exit(3)


def stay(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    """Say that it is the end, and stay."""
    os.write(descriptor_of_results(), b"\1\0\0\0\0")
    time.sleep(60)
    yield b""


def descriptor_of_results() -> int:
    descriptors = [number for number in range(3, 64) if number_is_open(number)]
    return max(descriptors)


def number_is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def inherited(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    """The open descriptors above 2, and the environment."""
    yield repr(([number for number in range(3, 1024) if number_is_open(number)], sorted(os.environ))).encode()


def identity(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    yield repr((os.getuid(), os.getgid(), os.getpid(), PREPARED)).encode()


def write_input(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    yield str(os.write(file.fileno(), b"x")).encode()


def fork_by_number(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    """Fork by the system call itself."""
    clone = {"x86_64": 57, "aarch64": 220}[platform.machine()]
    child = SYSTEM_CALL(clone, *([] if clone == 57 else [17, 0, 0, 0, 0]))
    while child == 0:
        time.sleep(60)
    yield repr(child).encode()


HOSTILE = {
    function.__name__: function
    for function in (
        *(hang, spin, stubborn_spin, allocate, small_allocations, print_much, yield_much, one_large_frame),
        *(forge, crash, leave, stay, inherited, identity, write_input, fork_by_number),
    )
}


def without_filter() -> None:
    """Let the fork server be one on a system without seccomp, or inside a container that forbids it."""
    seccomp.program = lambda machine=None: None


def without_privileges() -> None:
    """Let the fork server be one of an ordinary user; nothing changes if it is one, or cannot become one."""
    if linux.may_drop_user():
        os.setgroups([])
        os.setresgid(ORDINARY, ORDINARY, ORDINARY)
        os.setresuid(ORDINARY, ORDINARY, ORDINARY)
        LIBC.prctl(4, 1, 0, 0, 0)  # as after the start of a program: its files in /proc are its own


def without_anything() -> None:
    """Let the fork server be one of root in a container that has no capability, namespace or filter."""
    without_filter()
    linux.may_drop_user = lambda: False
    linux.leave_network = lambda: False


ORDINARY = 12345
