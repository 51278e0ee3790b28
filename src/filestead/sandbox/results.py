"""The results of one running task, as an asynchronous iterator."""

import asyncio
import os
import signal
import socket
from dataclasses import dataclass

from filestead.sandbox import frames
from filestead.sandbox.errors import Failure, SandboxUnavailable, TaskFailed, TaskRejected
from filestead.sandbox.forkserver import Ended, ForkServer
from filestead.sandbox.frames import HEADER_BYTES, BadFrame, Kind
from filestead.sandbox.limits import Limits

EXIT_SECONDS = 2.0
"""Time for a process to end after its last frame, and after it was killed."""
_BLOCK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Running:
    """A task that was submitted."""

    server: ForkServer
    task: int
    ended: asyncio.Future[Ended]


class Results:
    """Yields the frames of a task. Raises `TaskRejected`, `TaskFailed` or `SandboxUnavailable` in place of its end."""

    def __init__(self, channel: socket.socket, running: Running, limits: Limits) -> None:
        self._channel = channel
        self._running = running
        self._limits = limits
        self._buffer = bytearray()
        self._received = 0
        self._waited = 0.0
        self._outcome: Exception | None = None
        self.usage: Ended | None = None
        """What the process used, after the results have ended."""

    def __aiter__(self) -> "Results":
        return self

    async def __anext__(self) -> bytes:
        if self._outcome is None:
            try:
                kind, payload = await self._frame()
                if kind is Kind.DATA:
                    return payload
                self._outcome = _outcome(kind, payload)
            except TaskFailed as failure:
                self._outcome = failure
            self._outcome = await self._end(self._outcome)
        raise self._outcome

    async def _frame(self) -> tuple[Kind, bytes]:
        try:
            kind, length = frames.parse_header(await self._read(HEADER_BYTES), self._limits.frame_bytes)
        except BadFrame as error:
            raise TaskFailed(Failure.OUTPUT, str(error)) from None
        return kind, await self._read(length)

    async def _read(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._buffer += await self._receive()
        data = bytes(memoryview(self._buffer)[:count])
        del self._buffer[:count]
        return data

    async def _receive(self) -> bytes:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with asyncio.timeout(self._limits.wall_seconds - self._waited):
                data = await loop.sock_recv(self._channel, _BLOCK_BYTES)
        except TimeoutError:
            raise TaskFailed(Failure.TIME, f"no end after {self._limits.wall_seconds} seconds") from None
        except ConnectionError:
            data = b""
        self._waited += loop.time() - begun
        self._received += len(data)
        if self._received > self._limits.output_bytes:
            raise TaskFailed(Failure.OUTPUT, f"more than {self._limits.output_bytes} bytes")
        if not data:
            raise TaskFailed(Failure.CRASH)
        return data

    async def _end(self, outcome: Exception) -> Exception:
        """Wait for the end of the process, which explains a crash; a server that ended with it explains itself."""
        silent = isinstance(outcome, TaskFailed) and outcome.reason is Failure.CRASH
        await self.finish(grace=not isinstance(outcome, TaskFailed) or silent or outcome.reason is Failure.ERROR)
        if not silent:
            return outcome
        if self.usage is None:
            return SandboxUnavailable("the fork server ended during the task")
        return _explain(self.usage, self._limits)

    async def finish(self, *, grace: bool = False) -> None:
        """End the process: at once, or after the time in which it should end by itself. Idempotent."""
        running = self._running
        if not running.ended.done() and grace:
            await asyncio.wait([running.ended], timeout=EXIT_SECONDS)
        if not running.ended.done():
            running.server.kill(running.task)
            await asyncio.wait([running.ended], timeout=EXIT_SECONDS)
        if not running.ended.done():
            running.server.abort()  # it does not react; its children end with it
        if not running.ended.cancelled() and running.ended.exception() is None:
            self.usage = running.ended.result()
        self._channel.close()


def _outcome(kind: Kind, payload: bytes) -> Exception:
    if kind is Kind.END:
        return StopAsyncIteration()
    word, text = frames.parse_message(payload)
    if kind is Kind.REJECTED:
        return TaskRejected(word, text)
    try:
        return TaskFailed(Failure(word), text)
    except ValueError:
        return TaskFailed(Failure.OUTPUT, "a failure without a known reason")


def _explain(ended: Ended, limits: Limits) -> TaskFailed:
    """Why a process ended without a last frame."""
    if not os.WIFSIGNALED(ended.status):
        return TaskFailed(Failure.CRASH, f"exit status {os.waitstatus_to_exitcode(ended.status)}")
    number = os.WTERMSIG(ended.status)
    if number == signal.SIGXCPU or (number == signal.SIGKILL and ended.cpu_seconds >= limits.cpu_seconds):
        return TaskFailed(Failure.TIME, f"{ended.cpu_seconds:.0f} seconds of CPU")
    if number == signal.SIGKILL:
        return TaskFailed(Failure.MEMORY, "killed by the system")
    return TaskFailed(Failure.CRASH, f"signal {number}")
