"""The outbound proxy of the object store's driver: on loopback, within this process, and to configured origins only.

The driver follows redirects, which cannot be disabled; it would send the session token to the target, and accept its
response as the blob. So all its requests go through this proxy (those for credentials as well), and `egress` checks
each connection (docs/adr/0007-object-stores-are-not-trusted.md). Over http, redirects are refused. Over https, a
tunnel that the proxy cannot read, a redirect reaches no other origin than the store's own.

Guarantees: using the proxy requires the secret in `url`. Connecting takes at most `CONNECT_SECONDS`. When the driver
drops a request, its connection to the store is closed at once. A store that accepts no data for `STALL_SECONDS` is
disconnected. The time for a response is limited by the driver, as a slow reader may legitimately delay it.
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

from filestead.blobs.s3.relay import Connection, ConnectionLost
from filestead.egress import DestinationRefused, Egress, Origin, numeric_addresses, origin_of

log = logging.getLogger("filestead")

CONNECT_SECONDS = 2.0
STALL_SECONDS = 30.0
HEAD_SECONDS = 10.0
IDLE_SECONDS = 120.0
"""The driver keeps idle connections for 90."""

CLOSE_SECONDS = 2.0
BACKLOG = 512

REDIRECT_REFUSED = "RedirectRefused"
DESTINATION_REFUSED = "DestinationRefused"
UNREACHABLE = "Unreachable"
HOP_BY_HOP = (b"proxy-authorization:", b"proxy-connection:")


class _ErrorResponse(Exception):
    """The proxy itself responds, and closes the connection."""

    def __init__(self, status: str, code: str) -> None:
        self.status = status
        self.code = code


class DriverProxy:
    """Runs on its own thread from creation until `close`."""

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
        """Cancel all requests. Blocks."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._listener.close()

    async def _cancel_all(self) -> None:
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
            task = self._loop.create_task(self._serve(Connection(accepted, self._loop)))
            serving.add(task)
            task.add_done_callback(serving.discard)

    async def _serve(self, driver: Connection) -> None:
        """Handle one request after the other. On failure, the driver's connection is closed."""
        upstream: list[tuple[Origin, Connection]] = []  # at most one connection, kept for the next request
        with driver:
            try:
                seconds = HEAD_SECONDS
                while await self._handle_request(driver, upstream, seconds):
                    seconds = IDLE_SECONDS
            except _ErrorResponse as response:
                text = f"<Error><Code>{response.code}</Code></Error>"
                head = f"HTTP/1.1 {response.status}\r\ncontent-length: {len(text)}\r\nconnection: close\r\n\r\n"
                with contextlib.suppress(OSError):
                    await driver.send((head + text).encode(), CLOSE_SECONDS)
                await driver.linger(CLOSE_SECONDS)
            except (OSError, ValueError, ConnectionLost, asyncio.CancelledError):
                pass
            finally:
                _close_all(upstream)

    async def _handle_request(
        self, driver: Connection, upstream: list[tuple[Origin, Connection]], seconds: float
    ) -> bool:
        """Forward one request and its response; returns whether another request may follow."""
        async with asyncio.timeout(seconds):
            head = await driver.read_until(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ", 2)
        if not hmac.compare_digest(_header(head, b"proxy-authorization").rpartition(b" ")[2], self._expected):
            raise _ErrorResponse("407 Proxy Authentication Required", "ProxyAuthenticationRequired")
        origin = _parse_origin(method, target)
        if upstream and (upstream[0][0] != origin or method == "CONNECT" or not upstream[0][1].is_idle()):
            _close_all(upstream)
        if not upstream:
            upstream.append((origin, await self._connect(origin)))
        store = upstream[0][1]
        if method == "CONNECT":
            await driver.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _first_completed(driver.forward(store, None, seconds=STALL_SECONDS), store.forward(driver, None))
            return False
        length = _content_length(head) or 0
        sent = asyncio.Event()
        sending = _forward_request(driver, store, length, _origin_form(head, method, target), sent)
        reusable = await _first_completed(self._forward_response(method, origin, store, driver), sending)
        return bool(reusable) and sent.is_set()

    async def _connect(self, origin: Origin) -> Connection:
        try:
            self._egress.require_configured(origin)
            async with asyncio.timeout(CONNECT_SECONDS):
                found = self._egress.allowed_addresses(
                    numeric_addresses(await self._loop.getaddrinfo(*origin, type=socket.SOCK_STREAM))
                )
                for family, host in found:
                    # An address that does not respond leaves time for the next.
                    with contextlib.suppress(OSError):
                        async with asyncio.timeout(CONNECT_SECONDS / len(found)):
                            return await self._connect_address(family, host, origin.port)
        except DestinationRefused as refused:
            log.error("a request to %s:%d was refused: %s", origin.host, origin.port, refused)
            raise _ErrorResponse("421 Misdirected Request", DESTINATION_REFUSED) from None
        except OSError:
            pass
        raise _ErrorResponse("503 Service Unavailable", UNREACHABLE)

    async def _connect_address(self, family: socket.AddressFamily, host: str, port: int) -> Connection:
        connection = Connection(opened := socket.socket(family, socket.SOCK_STREAM), self._loop)
        try:
            await self._loop.sock_connect(opened, (host, port))
        except BaseException:
            connection.close()
            raise
        return connection

    # --- responses of the store ---------------------------------------------------------------------------------

    async def _forward_response(self, method: str, origin: Origin, store: Connection, driver: Connection) -> bool:
        """Forward the response; returns whether the connection to the store may be reused."""
        status = 100
        while 100 <= status < 200:
            head = await store.read_until(b"\r\n\r\n")
            status = _status(head)
        if 300 <= status < 400 and status != 304:
            log.error("%s:%d answered with a redirect (%d), which is refused", *origin, status)
            raise _ErrorResponse("421 Misdirected Request", REDIRECT_REFUSED)
        coding, length = _header(head, b"transfer-encoding").lower(), _content_length(head)
        if method == "HEAD" or status in (204, 304):
            await driver.send(head)
        elif coding:
            if coding != b"chunked":
                raise ConnectionLost
            await driver.send(head)
            await _forward_chunks(store, driver)
        else:
            await store.forward(driver, length, prefix=head)
            if length is None:
                return False
        return b"close" not in _header(head, b"connection").lower() and head.startswith(b"HTTP/1.1")


async def _forward_request(
    driver: Connection, store: Connection, length: int, head: bytes, sent: asyncio.Event
) -> None:
    """Forward the request and set `sent`, then wait until the driver disconnects. Never returns by itself."""
    try:
        await driver.forward(store, length, prefix=head, seconds=STALL_SECONDS)
        sent.set()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the store may have responded already
    await driver.wait_until_lost()


async def _first_completed(*coroutines: Coroutine[Any, Any, bool | None]) -> bool | None:
    """The result of the coroutine that completes first; the others are cancelled."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _close_all(connections: list[tuple[Origin, Connection]]) -> None:
    while connections:
        connections.pop()[1].close()


def _parse_origin(method: str, target: str) -> Origin:
    """The origin that a request is for."""
    try:
        return origin_of(f"https://{target}" if method == "CONNECT" else target)
    except ValueError:
        raise _ErrorResponse("421 Misdirected Request", DESTINATION_REFUSED) from None


def _origin_form(head: bytes, method: str, target: str) -> bytes:
    """The head with an origin-form target and without the headers for the proxy."""
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


def _content_length(head: bytes) -> int | None:
    """The value of Content-Length. Raises `ConnectionLost` if there are different values, or if it is no number."""
    values = set(_headers(head, b"content-length"))
    if not values:
        return None
    value = values.pop()
    if values or not value.isdigit() or len(value) > 15:
        raise ConnectionLost
    return int(value)


def _status(head: bytes) -> int:
    parts = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not (parts[1].isdigit() and len(parts[1]) == 3):
        raise ConnectionLost
    return int(parts[1])


async def _forward_chunks(store: Connection, driver: Connection) -> None:
    while True:
        line = await store.read_until(b"\r\n")
        size = line.split(b";")[0].strip()
        if not size or size.strip(b"0123456789abcdefABCDEF") or len(size) > 12:
            raise ConnectionLost
        if not (length := int(size, 16)):
            break
        await store.forward(driver, length + 2, prefix=line)
    trailer = line
    while line != b"\r\n":
        line = await store.read_until(b"\r\n")
        await driver.send(trailer + line)
        trailer = b""
