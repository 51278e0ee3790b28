"""Embeddings of an OpenAI-compatible server: `POST {url}/embeddings`.

Connections follow the policy of `egress.py`; redirects are failures, responses are bounded, and neither the key nor the
text of an error response is logged. Source: `CreateEmbeddingRequest` of the official description.
"""

import asyncio
import http.client
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urlsplit

import msgspec

from filestead.domain.errors import EmbeddingsUnavailable
from filestead.domain.observation import trace_headers
from filestead.domain.vector_stores.embeddings import UPSTREAM_PREFIX
from filestead.egress import Egress

BATCH = 64
"""Texts of a request; with the largest chunks fewer than the 300,000 tokens that the hosted service allows."""

MAX_RESPONSE_BYTES = 32 * 1024 * 1024
MAX_DIMENSIONS = 16_000
"""Of the type `vector` of pgvector."""

ATTEMPTS = 5
JOB_SECONDS = 60.0
SEARCH_SECONDS = 5.0
PAUSE_SECONDS = 10.0
"""After a failure, searches do not ask for this long."""

MAX_DELAY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Upstream:
    """The server: its URL without a slash at the end, and its key."""

    url: str
    key: str | None
    egress: Egress


class _Embedding(msgspec.Struct):
    index: int
    embedding: list[float]


class _Response(msgspec.Struct):
    data: list[_Embedding]


class UpstreamEmbedder:
    """Embeds with one model of the server."""

    def __init__(self, upstream: Upstream, model: str) -> None:
        self.name = UPSTREAM_PREFIX + model
        self._upstream = upstream
        self._model = model
        self._paused_until = 0.0

    async def embed(self, texts: Sequence[str], *, patient: bool) -> list[bytes]:
        """Embed texts, in several requests if there are many."""
        if not patient and monotonic() < self._paused_until:
            raise EmbeddingsUnavailable("the server of embeddings failed a moment ago")
        found: list[bytes] = []
        for first in range(0, len(texts), BATCH):
            found += await self._embed_batch(texts[first : first + BATCH], patient=patient)
        if len(set(map(len, found))) > 1:
            raise EmbeddingsUnavailable("the server of embeddings returned vectors of different dimensions")
        return found

    async def _embed_batch(self, texts: Sequence[str], *, patient: bool) -> list[bytes]:
        attempt = 0
        while True:
            try:
                seconds = JOB_SECONDS if patient else SEARCH_SECONDS
                return await asyncio.to_thread(self._request, texts, seconds, trace_headers())
            except _Failure as failure:
                attempt += 1
                if patient and failure.passing and attempt < ATTEMPTS:
                    await asyncio.sleep(failure.delay(attempt))
                    continue
                if not patient:
                    self._paused_until = monotonic() + PAUSE_SECONDS
                raise EmbeddingsUnavailable(str(failure), passing=failure.passing) from None

    def _request(self, texts: Sequence[str], seconds: float, trace: dict[str, str]) -> list[bytes]:
        body = json.dumps({"model": self._model, "input": list(texts), "encoding_format": "float"}).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if self._upstream.key is not None:
            headers["Authorization"] = f"Bearer {self._upstream.key}"
        headers |= trace
        url = f"{self._upstream.url}/embeddings"
        try:
            with self._upstream.egress.http_connection(url, seconds) as (connection, is_expired):
                connection.request("POST", urlsplit(url).path, body, headers)
                response = connection.getresponse()
                content = response.read(MAX_RESPONSE_BYTES) if response.status == 200 else b""
                if is_expired() or (response.status == 200 and (response.length or response.read(1))):
                    raise http.client.IncompleteRead(b"")
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _Failure(f"the server of embeddings does not respond ({type(error).__name__})") from None
        if response.status != 200:
            raise _Failure(
                f"the server of embeddings refused the request ({response.status})",
                passing=response.status in {408, 409, 429} or response.status >= 500,
                retry_after=response.headers["Retry-After"],
            )
        return _vectors(content, len(texts))


class _Failure(Exception):
    """One attempt failed."""

    def __init__(self, reason: str, *, passing: bool = True, retry_after: str | None = None) -> None:
        super().__init__(reason)
        self.passing = passing
        self._retry_after = retry_after or ""

    def delay(self, attempt: int) -> float:
        """Seconds before the next attempt: what the server asks for, or twice as long with each."""
        try:
            asked = float(self._retry_after)
        except ValueError:
            asked = 0.5 * 2.0**attempt * random.uniform(0.75, 1)
        return min(max(asked, 0.0), MAX_DELAY_SECONDS)


def _vectors(content: bytes, number: int) -> list[bytes]:
    """The vectors of a response, with length 1, in the order of the texts."""
    import numpy as np  # noqa: PLC0415

    try:
        rows = sorted(msgspec.json.decode(content, type=_Response).data, key=lambda row: row.index)
        if [row.index for row in rows] != list(range(number)):
            raise ValueError("not one vector for each text")
        vectors = np.array([row.embedding for row in rows], np.float64)
    except (ValueError, msgspec.MsgspecError):
        raise _Failure("the server of embeddings returned something else than embeddings", passing=False) from None
    if vectors.ndim != 2 or not 0 < vectors.shape[1] <= MAX_DIMENSIONS or not np.isfinite(vectors).all():
        raise _Failure("the server of embeddings returned unusable vectors", passing=False)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = (vectors / np.where(lengths > 0, lengths, 1)).astype("<f4")
    return [row.tobytes() for row in unit]
