"""The interface of a blob store. Its docstrings are the contract, which `tests/conformance` tests on every backend.

Any method may raise `StoreUnavailable`, `StorageFull` or `StorageFailed`, and then has had no effect. No exception of a
driver escapes.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from filestead.domain.integrity import Violation


class BlobStore(Protocol):
    """Bytes under opaque keys (`[0-9a-z]{32}`, made by us, used once). Knows nothing of files."""

    @property
    def verify_reads(self) -> bool:
        """Whether what `read` gives has come a long way, and is to be compared with the digest of the upload."""

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        """Store the chunks durably under a fresh key and return their total size in bytes.

        All or nothing: until this returns no reader sees any part of the blob, and when it raises (an exception of
        `chunks` included, which passes unchanged) nothing of it is left. When it returns, the blob survives a crash.
        """

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes]:
        """The bytes `start` to `end` (exclusive; None means the end of the blob) in order.

        Raises `BlobNotFound` on the first step, also when the blob ends before `end`. A read that has
        begun survives a `delete` of its key.
        """

    async def size(self, key: str) -> int | None:
        """The blob's size in bytes; None if there is no such blob."""

    async def exists(self, key: str) -> bool:
        """Whether anything is stored under the key, a whole blob or what an unfinished `put` left."""

    async def delete(self, key: str) -> None:
        """Remove the blob durably, with whatever an unfinished `put` left. Deleting nothing is fine."""

    def unfinished(self) -> AsyncIterator[str]:
        """Every key under which there is something of a `put` that has not ended, under way ones included."""

    async def drop_unfinished(self, key: str) -> None:
        """Remove what an unfinished `put` left; a whole blob stays."""

    def stored_keys(self) -> AsyncIterator[str]:
        """Every stored key, unfinished ones included, in no order. For `verify` and `sweep` only."""

    async def probe(self) -> None:
        """Write, sync and remove a small blob; raises if the store cannot take uploads now."""

    def inspect(self) -> list[Violation]:
        """Findings about the store itself: foreign names, wrong modes, links."""


class DirectDownloads(Protocol):
    """What a blob store may offer besides: clients fetch from it directly."""

    def presigned(self, key: str, *, disposition: str, seconds: int) -> str | None:
        """An address at which anyone may GET the blob for so many seconds, with this `Content-Disposition`.

        None if the store cannot make one; the blob is then read as ever.
        """
