"""Events that are delivered to a real receiver: signatures, repetitions, and destinations that are refused."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest

from filestead.domain.batches.model import BatchError
from filestead.domain.jobs import JobKind
from filestead.egress import Egress, is_public, origin_of
from filestead.installation import new_id
from filestead.worker import worker
from filestead.worker.webhooks import Webhook, WebhookHandler
from filestead.worker.worker import Worker
from tests.conformance.batches import claim, create
from tests.support.databases import Rows, on_sqlite

pytestmark = pytest.mark.anyio

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
async def rows(tmp_path: Path) -> AsyncIterator[Rows]:
    with on_sqlite(tmp_path) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.01)


class Receiver:
    """Records deliveries; responds with the given statuses, and then with 200."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = deque(statuses)
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.redirected = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                owner.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
                status = owner.statuses.popleft() if owner.statuses else 200
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", owner.url + "elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                owner.redirected += 1
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?from=filestead"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver(500, 302)
    yield made
    made.close()


@asynccontextmanager
async def delivering(rows: Rows, url: str, *, allow_private: bool = True) -> AsyncIterator[None]:
    webhook = Webhook(url, SECRET, Egress([origin_of(url)], allow_private=allow_private))
    handler = WebhookHandler(rows.webhook_events, rows.jobs, webhook, now=lambda: rows.clock.now)
    made = Worker(rows.jobs, {JobKind.WEBHOOK: handler}, slots=2, new_token=lambda: new_id("t"))
    task = asyncio.create_task(made.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def failed_batch(rows: Rows) -> str:
    """A batch that has ended, and whose event is to be delivered."""
    who = await rows.principal()
    batch = await create(rows, who)
    job = await claim(rows)
    await rows.batch_runs.fail(job, [BatchError("invalid_request", "Cannot find it.")])
    return batch.id


async def events_left(rows: Rows) -> int:
    return int((await rows.run("SELECT count(*) FROM webhook_events"))[0][0])


async def test_case_43_a_delivery_is_repeated_until_it_succeeds(rows: Rows, receiver: Receiver) -> None:
    batch_id = await failed_batch(rows)
    async with delivering(rows, receiver.url), asyncio.timeout(20):
        while await events_left(rows):
            if not await rows.run("SELECT 1 FROM jobs WHERE token IS NOT NULL"):  # whose lease would end
                rows.clock.pass_(20)
            await asyncio.sleep(0.02)
    assert len(receiver.received) == 3, "500 and 302 are failures"
    assert receiver.redirected == 0
    ids = {headers["webhook-id"] for headers, _ in receiver.received}
    assert len(ids) == 1
    assert len({headers["webhook-timestamp"] for headers, _ in receiver.received}) == 3
    client = openai.OpenAI(api_key="none", webhook_secret=SECRET)
    for headers, body in receiver.received:
        client.webhooks.verify_signature(body, headers, tolerance=10**12)
    headers, body = receiver.received[-1]
    assert body.startswith(b'{"id":"evt_')
    assert f'"type":"batch.failed","data":{{"id":"{batch_id}"}}}}'.encode() in body
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.verify_signature(body + b" ", headers, tolerance=10**12)


async def test_a_private_address_is_not_called(rows: Rows, receiver: Receiver) -> None:
    await failed_batch(rows)
    async with delivering(rows, receiver.url, allow_private=False), asyncio.timeout(20):
        while not (await rows.run("SELECT attempts FROM jobs WHERE kind = 'webhook' AND error IS NOT NULL")):
            await asyncio.sleep(0.02)
    ((error,),) = await rows.run("SELECT error FROM jobs WHERE kind = 'webhook'")
    assert "its address is private" in error
    assert receiver.received == []
    assert await events_left(rows) == 1


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.20.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fd00::1", False),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::1", False),
        ("::7f00:1", False),
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
    ],
)
def test_what_is_private(host: str, public: bool) -> None:
    assert is_public(host) is public
