"""What requests that are passed on leave in the metrics."""

import asyncio
import threading
from pathlib import Path

import pytest

from tests.api.test_signals import read, read_when, value
from tests.support.event_server import Answer, EventServer, Heard
from tests.support.servers import Server

pytestmark = pytest.mark.embedded("rows and bytes are not concerned")
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
COUNT = "forwarded_request_seconds_count"


def test_what_requests_leave(tmp_path: Path) -> None:
    with (
        EventServer(models=("m",)) as upstream,
        Server(tmp_path / "data", upstream_url=upstream.url, upstream_timeout=2, metrics_port=0) as server,
    ):

        async def busy(request: Heard, answer: Answer) -> None:
            await answer.whole(b"{}", 429)

        async def silent(request: Heard, answer: Answer) -> None:
            await asyncio.sleep(60)

        ended = threading.Event()

        async def slow(request: Heard, answer: Answer) -> None:
            await answer.begin_events()
            while not ended.is_set():
                await answer.event({"n": 1})
                await asyncio.sleep(0.1)
            await answer.end()

        statuses = [server.client.post("/chat/completions", json=CHAT).status_code]
        for upstream.behave in (busy, silent):
            statuses.append(server.client.post("/chat/completions", json=CHAT).status_code)
        assert statuses == [200, 429, 504]
        upstream.behave = slow
        with server.client.stream("POST", "/chat/completions", json=CHAT) as response:
            parts = response.iter_raw()
            next(parts)
            assert value(read(server), "forwarded_requests_in_flight", upstream="default") == 1
            ended.set()
            for _ in parts:
                pass
        read_when(server, "forwarded_requests_in_flight", 0, upstream="default")
        found = read_when(server, COUNT, 2, upstream="default", outcome="2xx")
        assert value(found, COUNT, upstream="default", outcome="4xx") == 1
        assert value(found, COUNT, upstream="default", outcome="timeout") == 1
    with Server(tmp_path / "other", upstream_url=upstream.url, metrics_port=0) as server:
        assert server.client.post("/chat/completions", json=CHAT).status_code == 502
        read_when(server, COUNT, 1, upstream="default", outcome="unreachable")
