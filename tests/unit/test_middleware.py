"""What the log says of a request that failed."""

import asyncio
import gc
import logging

import httpx2
import pytest
from starlette.types import Message, Receive, Scope, Send

from filestead.api.http.errors import ApiError, ErrorResponse
from filestead.api.http.middleware import RequestMiddleware
from filestead.api.http.requests import ServedRequest, UnobservedRequests
from filestead.domain.errors import FileCorrupt, FileNotFound, StorageFull, StoreUnavailable

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("error", "status", "lines"),
    [
        (StorageFull("no space left"), 507, 1),
        (StoreUnavailable("the database does not answer"), 503, 1),
        (FileNotFound("file-a"), 404, 0),
        (ZeroDivisionError("a bug"), 500, 2),
    ],
)
async def test_a_known_failure_is_one_line(
    caplog: pytest.LogCaptureFixture, error: Exception, status: int, lines: int
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error from OSError("what was behind it")

    transport = httpx2.ASGITransport(RequestMiddleware(app))
    with caplog.at_level(logging.INFO, "filestead"):
        async with httpx2.AsyncClient(transport=transport, base_url="http://t") as client:
            response = await client.get("/v1/files%0D%0Afaked: line")
    assert response.status_code == status
    said = "\n".join(logging.Formatter().format(record) for record in caplog.records if record.name == "filestead")
    assert len(said.splitlines()) == lines if lines < 2 else "ZeroDivisionError: a bug" in said
    if lines:
        assert response.headers["x-request-id"] in said and str(error) in said


async def test_a_request_leaves_no_reference_cycle() -> None:
    """The garbage collector would have to find each of them, which costs a tenth of the throughput."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pass

    middleware = RequestMiddleware(app)

    def requests() -> set[int]:
        return {id(found) for found in gc.get_objects() if isinstance(found, ServedRequest)}

    gc.collect()
    gc.disable()
    before = requests()  # of the tests before
    try:
        for _ in range(10):
            scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "headers": [], "state": {}}
            # In a task, as the server does: the context of the test would keep the last request.
            await asyncio.create_task(middleware(scope, receive, send))
        del scope
        assert len(requests() - before) < 5, "the loop may still hold the last one"
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFound("file-a"), "file_not_found"),
        (StorageFull("no space left"), "storage_full"),
        (ApiError(ErrorResponse(415, "no")), "http_415"),
        (ApiError(ErrorResponse(429, "no", code="rate_limit_exceeded")), "rate_limit_exceeded"),
        (ZeroDivisionError("a bug"), "http_500"),
    ],
)
async def test_the_reason_of_an_error_response(error: Exception, reason: str) -> None:
    seen: list[ServedRequest] = []

    class Watching(UnobservedRequests):
        def ended(self, request: ServedRequest) -> None:
            seen.append(request)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    transport = httpx2.ASGITransport(RequestMiddleware(app, Watching()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://t") as client:
        response = await client.get("/")
    (found,) = seen
    assert (found.status, found.reason, found.sent) == (response.status_code, reason, len(response.content))


async def test_an_error_after_the_head_is_reported_as_such() -> None:
    seen: list[ServedRequest] = []

    class Watching(UnobservedRequests):
        def ended(self, request: ServedRequest) -> None:
            seen.append(request)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise FileCorrupt("file-a")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "headers": []}
    with pytest.raises(FileCorrupt):
        await RequestMiddleware(app, Watching())(scope, receive, send)
    assert [(found.status, found.reason, found.sent) for found in seen] == [(500, "file_corrupt", 1)]
