"""Tasks for the tests of the sandbox: well-behaved and hostile."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from filestead.sandbox.tasks import rejects

PREPARED: list[str] = []


class Declared(Exception):
    kind = "declared_kind"


def prepare() -> None:
    PREPARED.append("once")


def broken_prepare() -> None:
    raise RuntimeError("no model")


def prepare_with_threads() -> None:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def reach(what: str, where: str) -> None:
    """Try one forbidden act by the standard library."""
    if what == "open":
        open(where).read()
    elif what == "os.open":
        os.open(where, os.O_RDONLY)
    elif what == "write":
        open(where, "w").write("x")
    elif what == "listdir":
        os.listdir(where)
    elif what == "socket":
        socket.socket().connect(("127.0.0.1", int(where)))
    elif what == "unix":
        socket.socketpair()
    elif what == "fork":
        os.fork()
    elif what == "subprocess":
        subprocess.run([where], check=True)
    elif what == "exec":
        os.execv(where, [where])
    elif what == "thread":
        threading.Thread(target=print).start()
    elif what == "kill":
        os.kill(int(where), signal.SIGKILL)
    elif what == "ctypes":
        ctypes.CDLL(None).getpid()
    elif what == "import":
        __import__(where)
    elif what == "unlink":
        os.unlink(where)


GETPID = ctypes.CDLL(None, use_errno=True)


def system_call(number: int, *arguments: Any) -> tuple[int, int]:
    """Past the audit hook, as native code would: returns the result and errno."""
    result = GETPID.syscall(number, *arguments)
    return result, ctypes.get_errno()


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
        reach(arguments["what"], arguments["where"])
        yield b"reached"
    elif do == "syscall":
        path = ctypes.create_string_buffer(b"/etc/passwd")
        yield repr(system_call(arguments["number"], *[path if a == "path" else a for a in arguments["with"]])).encode()
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


def print_much(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    for _ in range(1024):
        sys.stdout.write("x" * (1 << 20))
        sys.stderr.write("x" * (1 << 20))
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
        try:
            os.write(descriptor, bytes.fromhex(arguments["hex"]))
        except OSError:
            pass
    yield b""


def crash(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    yield b"begun"
    ctypes_string_at(0)


def ctypes_string_at(address: int) -> None:
    _STRING_AT(address, 1)


_STRING_AT = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_int)(ctypes._string_at_addr)  # type: ignore[attr-defined]


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


HOSTILE = {
    function.__name__: function
    for function in (hang, spin, stubborn_spin, allocate, small_allocations, print_much, yield_much, one_large_frame)
    + (forge, crash, leave, stay, inherited, identity, write_input)
}
