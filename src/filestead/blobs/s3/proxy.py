"""The way out for the driver of object stores: a proxy on loopback, within this process, that leads to the store only.

The driver follows redirects and cannot be told not to; it would send the session token along, and take what it finds
for the blob. So everything that it sends goes through here (that for credentials as well), and is judged by `egress`
with every connection (see docs/adr/0007-object-stores-are-not-trusted.md). A redirect over http is refused; over https,
which passes unread as a tunnel, it comes no further than the store's own origin.

Guarantees: only who knows the secret in `url` may use it. Connecting takes at most `CONNECT_SECONDS`. When the driver
gives a request up, its connection to the store is closed at once; a store that takes nothing is given up after
`STALL_SECONDS`. How long an answer may take is for the driver to say, which may itself be held up by a slow reader.
"""

import asyncio
import base64
import contextlib
import hmac
import logging
import secrets
import socket
import threading
from collections.abc import Coroutine, Iterator
from typing import Any
from urllib.parse import urlsplit

from filestead.blobs.s3.relay import Channel, Gone
from filestead.egress import DestinationRefused, Egress, Origin, numeric, origin_of

log = logging.getLogger("filestead")

CONNECT_SECONDS = 2.0
STALL_SECONDS = 30.0
HEAD_SECONDS = 10.0
IDLE_SECONDS = 120.0
"""The driver keeps connections for 90."""

CLOSE_SECONDS = 2.0
BACKLOG = 512

REDIRECT_REFUSED = "RedirectRefused"
DESTINATION_REFUSED = "DestinationRefused"
UNREACHABLE = "Unreachable"
HOP_BY_HOP = (b"proxy-authorization:", b"proxy-connection:")


class _Answered(Exception):
    """The request is answered by the proxy itself, and the connection ends."""

    def __init__(self, status: str, code: str) -> None:
        self.status = status
        self.code = code


class DriverProxy:
    """Runs on a thread of its own from when it is made until `close`."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        secret = secrets.token_urlsafe(24)
        self._expected = base64.b64encode(f"filestead:{secret}".encode())
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self._listener.setblocking(False)
        self.url = f"http://filestead:{secret}@127.0.0.1:{self._listener.getsockname()[1]}"
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="filestead-s3-proxy", daemon=True)
        self._thread.start()
        self._accepting = asyncio.run_coroutine_threadsafe(self._accept(), self._loop)

    def close(self) -> None:
        """Break off what is under way. Blocks."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._listener.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)

    # --- connections of the driver ------------------------------------------------------------------------------

    async def _accept(self) -> None:
        serving = set()
        while True:
            try:
                accepted, _ = await self._loop.sock_accept(self._listener)
            except OSError as error:  # such as too many open files
                log.error("the proxy to the object store cannot accept a connection: %s", error.strerror)
                await asyncio.sleep(0.1)
                continue
            task = self._loop.create_task(self._serve(Channel(accepted, self._loop)))
            serving.add(task)
            task.add_done_callback(serving.discard)

    async def _serve(self, driver: Channel) -> None:
        """Answer one request after the other. Where that fails, the driver sees its connection closed."""
        kept: list[tuple[Origin, Channel]] = []
        with driver:
            try:
                seconds = HEAD_SECONDS
                while await self._exchange(driver, kept, seconds):
                    seconds = IDLE_SECONDS
            except _Answered as answer:
                text = f"<Error><Code>{answer.code}</Code></Error>"
                head = f"HTTP/1.1 {answer.status}\r\ncontent-length: {len(text)}\r\nconnection: close\r\n\r\n"
                with contextlib.suppress(OSError):
                    await driver.send((head + text).encode(), CLOSE_SECONDS)
                await driver.linger(CLOSE_SECONDS)
            except (OSError, ValueError, Gone, asyncio.CancelledError):
                pass
            finally:
                _drop(kept)

    async def _exchange(self, driver: Channel, kept: list[tuple[Origin, Channel]], seconds: float) -> bool:
        """One request and its answer; whether another may follow."""
        async with asyncio.timeout(seconds):
            head = await driver.until(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ", 2)
        if not hmac.compare_digest(_header(head, b"proxy-authorization").rpartition(b" ")[2], self._expected):
            raise _Answered("407 Proxy Authentication Required", "NotYours")
        origin = _target(method, target)
        if kept and (kept[0][0] != origin or method == "CONNECT" or not kept[0][1].is_idle()):
            _drop(kept)
        if not kept:
            kept.append((origin, await self._connect(origin)))
        store = kept[0][1]
        if method == "CONNECT":
            await driver.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _first(driver.pass_on(store, None, seconds=STALL_SECONDS), store.pass_on(driver, None))
            return False
        length = _length(head) or 0
        whole: list[bool] = []
        sending = _send(driver, store, length, _origin_form(head, method, target), whole)
        return bool(await _first(self._answer(method, origin, store, driver), sending)) and bool(whole)

    async def _connect(self, origin: Origin) -> Channel:
        try:
            self._egress.require(origin)
            async with asyncio.timeout(CONNECT_SECONDS):
                found = self._egress.judge(numeric(await self._loop.getaddrinfo(*origin, type=socket.SOCK_STREAM)))
                for family, host in found:
                    # One that does not answer leaves time for the next.
                    with contextlib.suppress(OSError):
                        async with asyncio.timeout(CONNECT_SECONDS / len(found)):
                            return await self._open(family, host, origin.port)
        except DestinationRefused as refused:
            log.error("a request to %s:%d was refused: %s", origin.host, origin.port, refused)
            raise _Answered("421 Misdirected Request", DESTINATION_REFUSED) from None
        except OSError:
            pass
        raise _Answered("503 Service Unavailable", UNREACHABLE)

    async def _open(self, family: socket.AddressFamily, host: str, port: int) -> Channel:
        channel = Channel(opened := socket.socket(family, socket.SOCK_STREAM), self._loop)
        try:
            await self._loop.sock_connect(opened, (host, port))
        except BaseException:
            channel.close()
            raise
        return channel

    # --- answers of the store -----------------------------------------------------------------------------------

    async def _answer(self, method: str, origin: Origin, store: Channel, driver: Channel) -> bool:
        """Pass the answer on; whether the connection to the store may be used again."""
        status = 100
        while 100 <= status < 200:
            head = await store.until(b"\r\n\r\n")
            status = _status(head)
        if 300 <= status < 400 and status != 304:
            log.error("%s:%d answered with a redirect (%d), which is refused", *origin, status)
            raise _Answered("421 Misdirected Request", REDIRECT_REFUSED)
        coding, length = _header(head, b"transfer-encoding").lower(), _length(head)
        if method == "HEAD" or status in (204, 304):
            await driver.send(head)
        elif coding:
            if coding != b"chunked":
                raise Gone
            await driver.send(head)
            await _pass_chunks(store, driver)
        else:
            await store.pass_on(driver, length, before=head)
            if length is None:
                return False
        return b"close" not in _header(head, b"connection").lower() and head.startswith(b"HTTP/1.1")


async def _send(driver: Channel, store: Channel, length: int, head: bytes, whole: list[bool]) -> None:
    """Pass the request on, and then see whether the driver still waits; never returns by itself."""
    try:
        await driver.pass_on(store, length, before=head, seconds=STALL_SECONDS)
        whole.append(True)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it may have answered before
    await driver.watch()


async def _first(*ways: Coroutine[Any, Any, bool | None]) -> bool | None:
    """The result of what ends first; the others are broken off."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _drop(kept: list[tuple[Origin, Channel]]) -> None:
    while kept:
        kept.pop()[1].close()


def _target(method: str, target: str) -> Origin:
    """Where a request is to go."""
    try:
        return origin_of(f"https://{target}" if method == "CONNECT" else target)
    except ValueError:
        raise _Answered("421 Misdirected Request", DESTINATION_REFUSED) from None


def _origin_form(head: bytes, method: str, target: str) -> bytes:
    """The head as the store is to see it."""
    parts = urlsplit(target)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [line for line in head.split(b"\r\n")[1:] if not line.lower().startswith(HOP_BY_HOP)]
    return b"\r\n".join([f"{method} {path} HTTP/1.1".encode(), *lines])


def _headers(head: bytes, name: bytes) -> Iterator[bytes]:
    for line in head.split(b"\r\n")[1:]:
        found, _, value = line.partition(b":")
        if found.strip().lower() == name:
            yield value.strip()


def _header(head: bytes, name: bytes) -> bytes:
    return b",".join(_headers(head, name))


def _length(head: bytes) -> int | None:
    """What the head says of the length of its body; `Gone` if it says two things, or no number."""
    said = set(_headers(head, b"content-length"))
    if not said:
        return None
    value = said.pop()
    if said or not value.isdigit() or len(value) > 15:
        raise Gone
    return int(value)


def _status(head: bytes) -> int:
    parts = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not (parts[1].isdigit() and len(parts[1]) == 3):
        raise Gone
    return int(parts[1])


async def _pass_chunks(store: Channel, driver: Channel) -> None:
    while True:
        line = await store.until(b"\r\n")
        size = line.split(b";")[0].strip()
        if not size or size.strip(b"0123456789abcdefABCDEF") or len(size) > 12:
            raise Gone
        if not (length := int(size, 16)):
            break
        await store.pass_on(driver, length + 2, before=line)
    trailer = line
    while line != b"\r\n":
        line = await store.until(b"\r\n")
        await driver.send(trailer + line)
        trailer = b""
