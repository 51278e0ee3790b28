"""The life of a forked process: confine itself, run the task once, write frames, end."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from filestead.sandbox import frames
from filestead.sandbox.confinement import confine
from filestead.sandbox.errors import Failure
from filestead.sandbox.frames import Kind
from filestead.sandbox.limits import Limits
from filestead.sandbox.tasks import rejections_of

_RESERVE_BYTES = 1024 * 1024
"""Memory to report with that there is no memory."""


@dataclass(frozen=True, slots=True)
class Order:
    """One task: the descriptors of its input and results, its arguments as JSON, and its limits."""

    input: int
    results: int
    arguments: str
    limits: Limits


def run(function: Callable[..., Any], order: Order, server: int, *, drop_user: bool, program: bytes | None) -> NoReturn:
    """Run a task in this process, which must be a new child of the process `server`, and end the process."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        os.dup2(1, 2)  # the null device
        _close_others(order.input, order.results)
        with open(order.input, "rb", closefd=False) as file:
            confine(order.limits, server, drop_user=drop_user, program=program)
            _perform(function, file, order)
        os._exit(0)
    finally:  # never return to the code of the server
        os._exit(1)


def _close_others(*kept: int) -> None:
    start = 3
    for descriptor in sorted(kept):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


def _perform(function: Callable[..., Any], file: Any, order: Order) -> None:
    reserve: bytearray | None = bytearray(_RESERVE_BYTES)
    no_memory = frames.message(Kind.FAILED, Failure.MEMORY, "allocation failed")
    try:
        for result in function(file, json.loads(order.arguments)):
            frames.write(order.results, frames.frame(Kind.DATA, result))
        last = frames.frame(Kind.END)
    except rejections_of(function) as error:
        last = frames.message(Kind.REJECTED, getattr(error, "kind", type(error).__name__), str(error))
    except MemoryError:
        reserve = None
        last = no_memory
    except BaseException as error:
        last = frames.message(Kind.FAILED, Failure.ERROR, f"{type(error).__name__}: {error}")
    frames.write(order.results, last)
    del reserve
