"""The parent's side of a fork server: starts it, sends tasks with their descriptors, hears of their ends."""

import asyncio
import contextlib
import json
import os
import socket
import sys
from dataclasses import asdict, dataclass
from typing import Any

from filestead.sandbox.errors import SandboxUnavailable
from filestead.sandbox.limits import Limits

START_SECONDS = 60.0
CLOSE_SECONDS = 2.0
SEND_ATTEMPTS = 1_000
SEND_INTERVAL = 0.01
ARGUMENTS_CHARACTERS = 64 * 1024
_MESSAGE_BYTES = 16 * 1024
_PROGRAM = "import sys; sys.path[:] = {path!r}; from filestead.sandbox.server import main; main({descriptor})"
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""All of it: nothing of the parent's. Numerical libraries start no threads."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How the process of a task ended: the status of `wait`, and what it used."""

    status: int
    cpu_seconds: float
    max_rss: int
    """Bytes, with the memory that is shared with the fork server."""


class ForkServer:
    """A running fork server. `start` it, `close` it."""

    def __init__(self, control: socket.socket, process: asyncio.subprocess.Process) -> None:
        self._control = control
        self._process = process
        self._tasks: dict[int, asyncio.Future[Ended]] = {}
        self._next = 0
        self._alive = True

    @classmethod
    async def start(cls, task: str, prepare: str | None) -> "ForkServer":
        """Start a server with the modules that this process can import. Raises `SandboxUnavailable`."""
        control, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.setblocking(False)
        path = [entry for entry in sys.path if os.path.isabs(entry)]
        program = _PROGRAM.format(path=path, descriptor=remote.fileno())
        try:
            with remote:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-c", program),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    env=_ENVIRONMENT,
                    pass_fds=[remote.fileno()],
                    start_new_session=True,
                )
        except BaseException as error:
            control.close()
            if isinstance(error, OSError):
                raise SandboxUnavailable(f"the fork server cannot be started: {error}") from error
            raise
        server = cls(control, process)
        try:
            await server._handshake(task, prepare)
        except BaseException:
            await server.close()
            raise
        asyncio.get_running_loop().add_reader(control, server._on_readable)
        return server

    async def _handshake(self, task: str, prepare: str | None) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(START_SECONDS):
                self._control.send(json.dumps({"task": task, "prepare": prepare}).encode())
                reply = await loop.sock_recv(self._control, _MESSAGE_BYTES)
        except (TimeoutError, OSError) as error:
            raise SandboxUnavailable(f"the fork server did not start: {error!r}") from error
        if not reply or "ready" not in (message := json.loads(reply)):
            raise SandboxUnavailable(f"the fork server did not start: {message['error'] if reply else 'it ended'}")

    @property
    def alive(self) -> bool:
        """Whether tasks can be sent."""
        return self._alive

    @property
    def pid(self) -> int:
        """The process number."""
        return self._process.pid

    async def submit(
        self, descriptors: tuple[int, int], arguments: str, limits: Limits
    ) -> tuple[int, asyncio.Future[Ended]]:
        """Start a task with its input and the writable end of its results, which are duplicated.

        Returns its ID, and a future for its end, which raises `SandboxUnavailable` if the server ends first.
        """
        self._next += 1
        task = self._next
        ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._tasks[task] = ended
        message = json.dumps({"run": task, "arguments": arguments, "limits": asdict(limits)}).encode()
        try:
            await self._send(message, descriptors)
        except BaseException as error:
            self._tasks.pop(task, None)
            if isinstance(error, OSError):
                self.abort()
                raise SandboxUnavailable(f"the fork server does not accept tasks: {error!r}") from error
            raise
        return task, ended

    async def _send(self, message: bytes, descriptors: tuple[int, ...]) -> None:
        for _ in range(SEND_ATTEMPTS):
            if self._try_send(message, descriptors):
                return
            await asyncio.sleep(SEND_INTERVAL)
        raise TimeoutError("its socket is full")

    def _try_send(self, message: bytes, descriptors: tuple[int, ...] = ()) -> bool:
        if not self._alive:
            raise ConnectionError("it ended")
        try:
            socket.send_fds(self._control, [message], descriptors)
        except BlockingIOError:
            return False
        return True

    def kill(self, task: int) -> None:
        """Kill the process group of a task, if it has not ended."""
        if task in self._tasks and self._alive:
            try:
                sent = self._try_send(json.dumps({"kill": task}).encode())
            except OSError:
                sent = False
            if not sent:
                self.abort()

    def abort(self) -> None:
        """Kill the server, and with it all tasks."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._on_closed()

    def _on_readable(self) -> None:
        while self._alive:
            try:
                data = self._control.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.abort()
                return
            self._on_ended(json.loads(data))

    def _on_ended(self, message: dict[str, Any]) -> None:
        ended = self._tasks.pop(message["ended"], None)
        if ended is None or ended.done():
            return
        if "error" in message:
            ended.set_exception(SandboxUnavailable(f"no process for a task: {message['error']}"))
        else:
            ended.set_result(Ended(message["status"], message["cpu_seconds"], message["max_rss"]))

    def _on_closed(self) -> None:
        if self._alive:
            self._alive = False
            asyncio.get_running_loop().remove_reader(self._control)
            for ended in self._tasks.values():
                if not ended.done():
                    ended.set_exception(SandboxUnavailable("the fork server ended"))
                    ended.exception()  # retrieved, whether or not somebody waits
            self._tasks.clear()

    async def close(self) -> None:
        """End the server, which kills all tasks and waits for their ends; kill it if it does not end in time."""
        self._on_closed()
        self._control.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self.abort()
            await self._process.wait()
