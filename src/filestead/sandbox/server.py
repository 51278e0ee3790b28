"""The fork server: a process without threads that has imported the task, and forks one child for each task.

It speaks with the parent over a socket that keeps messages apart, in JSON. First message: `{"task", "prepare"}`,
answered by `{"ready": true}` or `{"error": text}`. Then `{"run": id, "arguments", "limits"}` with two descriptors, or
`{"kill": id}`; answered by one `{"ended": id, "status", "cpu_seconds", "max_rss"}` for each `run`. When the socket
closes, it kills its children and ends.
"""

import contextlib
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

from filestead.sandbox import child, linux, seccomp
from filestead.sandbox.limits import Limits
from filestead.sandbox.tasks import load

MESSAGE_BYTES = 128 * 1024
MAX_DESCRIPTORS = 256


def main(descriptor: int) -> None:
    """Serve the parent at the other end of a socket."""
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    linux.die_with_parent(signal.SIGKILL)  # a closed socket is not noticed while modules are loaded
    received = control.recv(MESSAGE_BYTES)
    if not received:  # the parent has ended
        return
    try:
        first = json.loads(received)
        function = _prepare(first["task"], first["prepare"])
    except BaseException as error:
        control.send(json.dumps({"error": "".join(traceback.format_exception(error))[-8_000:]}).encode())
        sys.exit(1)
    linux.die_with_parent(0)  # from now on a closed socket ends it, after its children
    control.send(b'{"ready": true}')
    _Server(control, function).serve()


def _prepare(task: str, prepare: str | None) -> Callable[..., Any]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(MAX_DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))
    function = load(task)
    if prepare is not None:
        load(prepare)()
    if linux.LINUX and linux.threads() != 1:
        raise RuntimeError(f"{task} or {prepare} started threads; a process with threads cannot be forked safely")
    linux.leave_network()
    gc.collect()
    gc.freeze()  # so that a collection in a child does not write to shared pages
    return function


class _Server:
    """The loop, and the children that run."""

    def __init__(self, control: socket.socket, function: Callable[..., Any]) -> None:
        self._control = control
        self._function = function
        self._children: dict[int, int] = {}
        """ID of the task -> process, not yet waited for, so that its number belongs to no other."""
        self._pid = os.getpid()
        self._drop_user = linux.may_drop_user()
        self._program = seccomp.program()

    def serve(self) -> None:
        """Handle messages and ends of children until the parent closes the socket."""
        woken, wakeup = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wakeup, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(woken, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, 4096)
                self._reap()
            if self._control.fileno() in ready and not self._receive():
                break
        for pid in self._children.values():
            _kill_group(pid)
        for pid in self._children.values():
            os.waitpid(pid, 0)

    def _receive(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 2)
        if not data:
            return False
        try:
            message = json.loads(data)
            if "kill" in message:
                self._kill(message["kill"])
            else:
                self._run(message, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _run(self, message: dict[str, Any], descriptors: list[int]) -> None:
        source, results = descriptors
        order = child.Order(source, results, message["arguments"], Limits(**message["limits"]))
        try:
            pid = os.fork()
        except OSError as error:
            self._send({"ended": message["run"], "error": str(error)})
            return
        if pid == 0:
            child.run(self._function, order, self._pid, drop_user=self._drop_user, program=self._program)
        with contextlib.suppress(OSError):  # it may have done so itself, or have ended
            os.setpgid(pid, pid)
        self._children[message["run"]] = pid

    def _kill(self, task: int) -> None:
        if task in self._children:
            _kill_group(self._children[task])

    def _reap(self) -> None:
        for task, pid in list(self._children.items()):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            _kill_group(pid)  # what it started, while its number still belongs to it
            _, status, usage = os.wait4(pid, 0)
            del self._children[task]
            cpu = usage.ru_utime + usage.ru_stime
            self._send({"ended": task, "status": status, "cpu_seconds": cpu, "max_rss": usage.ru_maxrss * 1024})

    def _send(self, message: dict[str, Any]) -> None:
        self._control.send(json.dumps(message).encode())


def _kill_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # the group exists from its first moment in the child, or in the server
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)
