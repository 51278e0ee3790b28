"""Embeddings of a server: batches, failures, and what is never told."""

import json
import time
from collections.abc import Iterator

import numpy as np
import pytest

from filestead.domain.errors import EmbeddingsUnavailable
from filestead.domain.observation import RequestSpan, current_span
from filestead.egress import Egress, origin_of
from filestead.embeddings import upstream as module
from filestead.embeddings.upstream import BATCH, Upstream, UpstreamEmbedder
from tests.support.embedding_server import KEY, EmbeddingServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with EmbeddingServer() as running:
        yield running


def embedder(server: EmbeddingServer, *, url: str | None = None) -> UpstreamEmbedder:
    url = url or server.url
    return UpstreamEmbedder(Upstream(url, KEY, Egress([origin_of(server.url)])), "m")


async def test_texts_are_sent_in_batches_and_vectors_come_in_their_order(server: EmbeddingServer) -> None:
    texts = [f"word{n}" for n in range(BATCH + 3)]
    found = await embedder(server).embed(texts, patient=True)
    assert server.batches == [("m", BATCH), ("m", 3)]
    assert server.keys == {f"Bearer {KEY}"}
    for text, vector in zip(texts, found, strict=True):
        expected = np.array(server.vector(text))
        np.testing.assert_allclose(np.frombuffer(vector, "<f4"), expected / np.linalg.norm(expected), rtol=1e-5)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_job_tries_again_and_a_search_does_not(server: EmbeddingServer, status: int) -> None:
    server.faults.extend([(status, {"Retry-After": "0"}, KEY.encode())] * 2)
    made = embedder(server)
    assert len(await made.embed(["a"], patient=True)) == 1
    server.failing = status
    with pytest.raises(EmbeddingsUnavailable, match=str(status)) as caught:
        await made.embed(["a"], patient=False)
    assert KEY not in str(caught.value)
    server.failing = None
    with pytest.raises(EmbeddingsUnavailable, match="a moment ago"):
        await made.embed(["a"], patient=False)


async def test_a_job_gives_up_in_the_end(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DELAY_SECONDS", 0.01)
    server.failing = 500
    with pytest.raises(EmbeddingsUnavailable) as caught:
        await embedder(server).embed(["a"], patient=True)
    assert caught.value.passing


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404])
async def test_redirects_and_refusals_are_final(server: EmbeddingServer, status: int) -> None:
    with EmbeddingServer() as other:
        server.faults.append((status, {"Location": other.url + "/embeddings"}, b""))
        with pytest.raises(EmbeddingsUnavailable, match=str(status)) as caught:
            await embedder(server).embed(["a"], patient=True)
        assert not caught.value.passing
        assert other.keys == set()


def body(*vectors: list[float]) -> bytes:
    return json.dumps({"data": [{"index": n, "embedding": vector} for n, vector in enumerate(vectors)]}).encode()


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", body(), body([1.0], [2.0]), body([]), b'{"data":[{"index":0,"embedding":[1e999]}]}',
     b'{"data":[{"index":1,"embedding":[1]}]}', b'{"data":[{"index":0,"embedding":["x"]}]}', body([1.0] * 16_001)],
)  # fmt: skip
async def test_what_is_no_embedding_is_refused(server: EmbeddingServer, content: bytes) -> None:
    server.faults.append((200, {}, content))
    with pytest.raises(EmbeddingsUnavailable):
        await embedder(server).embed(["a"], patient=True)


async def test_a_response_is_bounded(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RESPONSE_BYTES", 10)
    with pytest.raises(EmbeddingsUnavailable):
        await embedder(server).embed(["a"], patient=False)


@pytest.mark.timing
async def test_a_slow_server_does_not_hold_a_search(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEARCH_SECONDS", 0.1)
    monkeypatch.setattr(server, "vector", lambda _: time.sleep(1) or [1.0])
    started = time.monotonic()
    with pytest.raises(EmbeddingsUnavailable):
        await embedder(server).embed(["a"], patient=False)
    assert time.monotonic() - started < 0.8


async def test_only_the_configured_server_is_asked(server: EmbeddingServer) -> None:
    with EmbeddingServer() as other, pytest.raises(EmbeddingsUnavailable):
        await embedder(server, url=other.url).embed(["a"], patient=False)
    assert other.keys == set()


async def test_the_trace_of_a_request_is_passed_on(server: EmbeddingServer) -> None:
    await embedder(server).embed(["a"], patient=True)
    assert server.traces == {None}
    span = RequestSpan()
    span.traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    reset = current_span.set(span)
    try:
        await embedder(server).embed(["a"], patient=True)
    finally:
        current_span.reset(reset)
    assert server.traces == {None, span.traceparent}
