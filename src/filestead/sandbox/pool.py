"""`SandboxPool`: runs a task on open files, a limited number at a time, each in a limited process of its own.

    async with SandboxPool(2, Limits(), task="package.module:function") as pool:
        async with pool.run(file.fileno(), {"name": "a.pdf"}) as results:
            async for frame in results:
                ...

A block that ends early, by an exception or a cancellation, kills the process. A fork server that ended is started again
by the next task.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import socket
from collections.abc import AsyncIterator, Coroutine
from types import TracebackType
from typing import Any, Self

from filestead.sandbox.errors import SandboxUnavailable
from filestead.sandbox.forkserver import ARGUMENTS_CHARACTERS, ForkServer
from filestead.sandbox.limits import Limits
from filestead.sandbox.results import Results, Running


class SandboxPool:
    """At most `size` processes that run `task`; `prepare` names a function that the fork server calls once."""

    def __init__(self, size: int, limits: Limits, *, task: str, prepare: str | None = None) -> None:
        self.size = size
        self._limits = limits
        self._task = task
        self._prepare = prepare
        self._slots = asyncio.Semaphore(size)
        self._starting = asyncio.Lock()
        self._server: ForkServer | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        """Start the fork server. Raises `SandboxUnavailable`."""
        await self._running_server()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill the fork server, and the tasks that still run."""
        self._closed = True
        if self._server is not None:
            await _uninterrupted(self._server.close())

    @property
    def server_pid(self) -> int | None:
        """The process number of the fork server, while it runs."""
        return self._server.pid if self._server is not None and self._server.alive else None

    @contextlib.asynccontextmanager
    async def run(self, input_fd: int, arguments: Any, limits: Limits | None = None) -> AsyncIterator[Results]:
        """Run the task on an open file, from its beginning and for reading only; `arguments` is carried by JSON.

        The descriptor remains the caller's. Waits for a free place in the pool. Raises `ValueError` for arguments of
        more than 64 Ki characters, and `SandboxUnavailable`.
        """
        encoded = json.dumps(arguments)
        if len(encoded) > ARGUMENTS_CHARACTERS:
            raise ValueError(f"arguments of {len(encoded)} characters; at most {ARGUMENTS_CHARACTERS}")
        async with self._slots:
            results = await self._start(input_fd, encoded, limits or self._limits)
            try:
                yield results
            finally:
                await _uninterrupted(results.finish())

    async def _start(self, input_fd: int, arguments: str, limits: Limits) -> Results:
        server = await self._running_server()
        file = _reopen(input_fd)
        channel, remote = socket.socketpair()
        try:
            channel.setblocking(False)
            task, ended = await server.submit((file, remote.fileno()), arguments, limits)
        except BaseException:
            channel.close()
            raise
        finally:
            remote.close()
            os.close(file)
        return Results(channel, Running(server, task, ended), limits)

    async def _running_server(self) -> ForkServer:
        async with self._starting:
            if self._closed:
                raise SandboxUnavailable("the pool is closed")
            if self._server is None or not self._server.alive:
                if self._server is not None:
                    await self._server.close()
                self._server = await ForkServer.start(self._task, self._prepare)
            return self._server


def _reopen(descriptor: int) -> int:
    """Return a descriptor of the same file that is for reading only and has a position of its own, if possible."""
    with contextlib.suppress(OSError):
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
        raise ValueError("the input is open for writing and cannot be opened again for reading")
    duplicate = os.dup(descriptor)
    os.lseek(duplicate, 0, os.SEEK_SET)
    return duplicate


async def _uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Await a clean-up of bounded length to its end, and only then let a cancellation through."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                break
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
