"""What an answer does to its connection: one that comes before the whole body, and those to what is no request."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from filestead.server.http1.heads import Headers

OURS = frozenset({b"connection", b"content-length", b"retry-after"})


def last_answer(status: int, headers: Headers, body: bytes, *, to_head: bool) -> bytes:
    """An answer behind which the connection closes, as it goes over the wire."""
    headers = [field for field in headers if field[0].lower() not in OURS]
    headers += [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", b"1"))
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"allow", b"DELETE, GET, HEAD, POST"))
    lines = b"".join(b"%b: %b\r\n" % field for field in headers)
    return STATUS_LINE[status] + lines + b"\r\n" + (b"" if to_head else body)


def ending_well(
    cycle: RequestResponseCycle, app: ASGI3Application, *, on_wanted: Callable[[], None], on_last: Callable[[], None]
) -> ASGI3Application:
    """The app, answering so that its answer is the last if it comes before the whole body has.

    uvicorn would take the rest of the body for this request's and wait for it, or close over it. `on_wanted` is called
    when the app asks for (more of) the body, `on_last` before the end of the last answer is written.
    """

    async def send(message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start":
            if cycle.more_body:
                cycle.keep_alive = False  # uvicorn then announces it
        elif message["type"] == "http.response.body" and not message.get("more_body") and not cycle.keep_alive:
            on_last()
            cycle.keep_alive = True  # uvicorn would close the transport before it calls us
        await cycle.send(message)

    def receive() -> Awaitable[ASGIReceiveEvent]:
        if cycle.more_body:
            on_wanted()
        return cycle.receive()

    def run(scope: Scope, _: ASGIReceiveCallable, __: ASGISendCallable) -> Awaitable[None]:
        return app(scope, receive, send)

    return run
