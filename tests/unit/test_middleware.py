"""What the log says of a request that failed."""

import logging

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from filestead.api.http.middleware import RequestMiddleware
from filestead.domain.errors import FileNotFound, StorageFull, StoreUnavailable

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
