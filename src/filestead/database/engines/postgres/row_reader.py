"""Reads of one row by its key, on the event loop: many at a time on one connection, in pipeline mode.

A read costs no switch of threads, and reads that come together share round trips. Each is a transaction of its own, as
with `PostgresDatabase.read`. Nothing is repeated or explained here: a read that fails, and one that comes without a
connection, is `NOT_READ`, and left to a thread, which waits as long as it should and says what is wrong.
"""

import asyncio
import contextlib
import re
import threading
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import psycopg
from psycopg import abc
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

STALL_SECONDS = 1.0
"""A read without an answer for so long is left to a thread, with all others of the connection."""
PAUSE_SECONDS = 0.5
"""Before the next attempt to connect after a failure."""

NOT_READ: Final = object()
_PARAMETER = re.compile(r"%\((\w+)\)s|%%")


@lru_cache(maxsize=256)
def numbered(sql: str) -> tuple[bytes, tuple[str, ...]]:
    """The statement with `$1` for its first parameter, as the protocol has it, and the names in this order."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return "%"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    text = _PARAMETER.sub(number, sql)
    return text.encode(), tuple(names)


def _as_text(value: str | int) -> bytes:
    return str(value).replace("\0", "\ufffd").encode()  # U+0000 as in `_TextDumper`


class _Read:
    """A read that was sent, and what has come of it."""

    __slots__ = ("future", "outcome", "sent_at")

    def __init__(self, future: "asyncio.Future[Any]", sent_at: float) -> None:
        self.future = future
        self.sent_at = sent_at
        self.outcome: Any = NOT_READ

    def resolve(self) -> None:
        if not self.future.done():
            self.future.set_result(self.outcome)


class RowReader:
    """One connection, opened on demand and used by the event loop that needed it first."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect = connect
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: psycopg.Connection[Any] | None = None
        self._driver: PGconn | None = None
        self._rows: abc.Transformer | None = None
        self._socket = -1
        self._reads: deque[_Read] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._connecting = False
        self._closed = False
        self._next_attempt = 0.0

    async def read(self, sql: str, values: dict[str, Any]) -> Any:
        """The row or None, or `NOT_READ`. Values are texts and integers."""
        loop = asyncio.get_running_loop()
        driver = self._driver
        if driver is None or loop is not self._loop:
            self._open(loop)
            return NOT_READ
        text, names = numbered(sql)
        try:
            driver.send_query_params(text, [_as_text(values[name]) for name in names])
            driver.pipeline_sync()
            if driver.flush():
                loop.add_writer(self._socket, self._on_writable)
        except psycopg.Error:
            self._disconnect()
            return NOT_READ
        read = _Read(loop.create_future(), loop.time())
        self._reads.append(read)
        if self._watch is None:
            self._watch = loop.call_later(STALL_SECONDS, self._on_watch)
        return await read.future

    def drop(self) -> None:
        """Use another connection from now on: the server of this one may no longer be the primary. From any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the connection of no use
                self._loop.call_soon_threadsafe(self._disconnect)

    def close(self) -> None:
        """Close the connection. Call it on the loop, or when the loop has ended."""
        self._closed = True
        self._disconnect()

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is None or self._loop.is_closed():
            self._disconnect()
            self._loop, self._connecting = loop, False
        if loop is not self._loop or self._connecting or self._closed or loop.time() < self._next_attempt:
            return
        self._connecting = True
        threading.Thread(target=self._open_on_thread, args=(loop,), name="filestead-postgres-rows", daemon=True).start()

    def _open_on_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        connection: psycopg.Connection[Any] | None = None
        with contextlib.suppress(psycopg.Error):
            connection = self._connect()
        try:
            loop.call_soon_threadsafe(self._on_opened, connection)
        except RuntimeError:  # the loop is closed
            if connection is not None:
                connection.close()

    def _on_opened(self, connection: psycopg.Connection[Any] | None) -> None:
        self._connecting = False
        loop = asyncio.get_running_loop()
        if connection is None:
            self._next_attempt = loop.time() + PAUSE_SECONDS
        elif self._closed:
            connection.close()
        else:
            connection.pgconn.nonblocking = 1
            connection.pgconn.enter_pipeline_mode()
            self._connection, self._driver = connection, connection.pgconn
            self._rows = Transformer(connection)
            self._socket = connection.fileno()
            loop.add_reader(self._socket, self._on_readable)

    def _on_readable(self) -> None:
        driver = self._driver
        if driver is None:
            return
        try:
            driver.consume_input()
            ends = 0  # of results, in a row: two mean that there is nothing more for now
            while self._reads and ends < 2 and not driver.is_busy():
                result = driver.get_result()
                if result is None:
                    ends += 1
                    continue
                ends = 0
                if result.status == ExecStatus.PIPELINE_SYNC:
                    self._reads.popleft().resolve()
                else:
                    self._reads[0].outcome = self._row_of(result)
        except psycopg.Error:
            self._disconnect()
            return
        if driver.status == ConnStatus.BAD:
            self._disconnect()

    def _row_of(self, result: PGresult) -> Any:
        if result.status != ExecStatus.TUPLES_OK:
            return NOT_READ
        if not result.ntuples:
            return None
        assert self._rows is not None
        self._rows.set_pgresult(result)
        return self._rows.load_row(0, tuple)

    def _on_writable(self) -> None:
        assert self._loop is not None
        if self._driver is None:
            return
        try:
            if not self._driver.flush():
                self._loop.remove_writer(self._socket)
        except psycopg.Error:
            self._disconnect()

    def _on_watch(self) -> None:
        self._watch = None
        if not self._reads or self._loop is None:
            return
        left = self._reads[0].sent_at + STALL_SECONDS - self._loop.time()
        if left <= 0:
            self._next_attempt = self._loop.time() + PAUSE_SECONDS
            self._disconnect()
        else:
            self._watch = self._loop.call_later(left, self._on_watch)

    def _disconnect(self) -> None:
        """Close the connection, and leave its reads to threads."""
        connection, self._connection, self._driver, self._rows = self._connection, None, None, None
        if connection is not None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._socket)
                self._loop.remove_writer(self._socket)
            connection.close()
        reads, self._reads = self._reads, deque()
        for read in reads:
            if self._loop is not None and not self._loop.is_closed():
                read.outcome = NOT_READ
                read.resolve()
