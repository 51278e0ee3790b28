"""What embeds texts in this process, by the names of the models."""

import asyncio
from collections.abc import Sequence

from filestead.domain.errors import CannotStart
from filestead.domain.vector_stores.embeddings import LOCAL_MODEL, UPSTREAM_PREFIX, Embedder
from filestead.embeddings.package import require
from filestead.embeddings.upstream import Upstream, UpstreamEmbedder


class LocalEmbedder:
    """Embeds with the static vectors, which are loaded by the first text."""

    name = LOCAL_MODEL

    async def embed(self, texts: Sequence[str], *, patient: bool) -> list[bytes]:
        """Embed texts on a thread."""
        return await asyncio.to_thread(_embed_locally, texts)


def _embed_locally(texts: Sequence[str]) -> list[bytes]:
    from filestead.embeddings import local  # noqa: PLC0415 - loads numpy

    return local.load().embed(texts)


class ConfiguredEmbedders:
    """See `Embedders` for the contract."""

    def __init__(self, target: str, upstream: Upstream | None) -> None:
        """`target` is the name of the model for new vectors. Raises `CannotStart` if nothing embeds with it."""
        self._upstream = upstream
        self._known: dict[str, Embedder | None] = {}
        found = self.of(target)
        if found is None:
            require()
            raise CannotStart(f"nothing embeds with the model {target}")
        self.target = found

    def of(self, name: str) -> Embedder | None:
        """What embeds with a model."""
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> Embedder | None:
        if name == LOCAL_MODEL and _has_local():
            return LocalEmbedder()
        if name.startswith(UPSTREAM_PREFIX) and self._upstream is not None:
            return UpstreamEmbedder(self._upstream, name.removeprefix(UPSTREAM_PREFIX))
        return None


def _has_local() -> bool:
    try:
        require()
    except CannotStart:
        return False
    return True
