"""Contents are read from one place, compared with their digests, and stored in another."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from filestead.domain.blobs import BlobStore, ContentRepository, StoredContent, is_inline
from filestead.domain.errors import BlobNotFound, DomainError
from filestead.installation.copy import Progress

PAGE = 500
PARALLEL = 8

Report = Callable[[int], None]
"""Called with the number of bytes that were read since the last call."""


def report_sum(progress: Progress, total: int) -> Report:
    """A `Report` that adds up, for a callback that takes the bytes so far and their total."""
    sent = 0

    def report(size: int) -> None:
        nonlocal sent
        sent += size
        progress(sent, total)

    return report


class _NotIntact(DomainError):
    """The bytes are not those of the digest."""


@dataclass(slots=True)
class Transferred:
    """What became of contents."""

    blobs: int = 0
    bytes: int = 0
    not_intact: list[StoredContent] = field(default_factory=list)
    """The source has no such blob, or other bytes; the target has none."""


async def transfer(
    contents: ContentRepository,
    source: BlobStore,
    target: BlobStore | None,
    *,
    rows: BlobStore | None,
    is_stored: Callable[[StoredContent], bool] = lambda content: False,
    report: Report = lambda size: None,
) -> Transferred:
    """Store all contents that the target has not, durably; without a target, only read them and compare.

    If inline contents have arrived with the rows, `rows` is the store to read them from, and they are compared only.
    `is_stored` says whether the target has a content already.
    """
    done = Transferred()
    slots = asyncio.Semaphore(PARALLEL)

    async def move(content: StoredContent) -> None:
        async with slots:
            done.blobs += 1
            done.bytes += content.bytes
            if await asyncio.to_thread(is_stored, content):
                report(content.bytes)
                return
            try:
                if rows is not None and is_inline(content.key):
                    await _store(content, rows, None, report)
                else:
                    await _store(content, source, target, report)
            except (BlobNotFound, _NotIntact):
                done.not_intact.append(content)

    after = ""
    while page := await contents.page(after, PAGE):
        try:
            async with asyncio.TaskGroup() as tasks:
                for content in page:
                    tasks.create_task(move(content))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        after = page[-1].key
    return done


async def _store(content: StoredContent, source: BlobStore, target: BlobStore | None, report: Report) -> None:
    digest = hashlib.sha256()

    async def blocks() -> AsyncIterator[bytes]:
        size = 0
        async for block in source.read(content.key):
            await asyncio.to_thread(digest.update, block)
            size += len(block)
            report(len(block))
            yield block
        if size != content.bytes or digest.hexdigest() != content.sha256:
            raise _NotIntact(content.key)

    if target is not None:
        await target.put(content.key, blocks())
        return
    async for _ in blocks():
        pass
