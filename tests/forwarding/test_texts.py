"""Texts of documents are extracted once: they are kept by the digest of the content."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest

from filestead.domain.files.model import File, FileStatus
from filestead.references import texts
from filestead.references.texts import NoText, Texts
from filestead.sandbox.limits import Limits
from filestead.sandbox.pool import SandboxPool

pytestmark = pytest.mark.anyio
LIMITS = Limits(memory_bytes=256 * 1024 * 1024, cpu_seconds=20, wall_seconds=40)
EXTRACT = "filestead.references.extract_task:extract"


class CountingPool(SandboxPool):
    """The real processes, and how often they were asked."""

    runs = 0

    def run(self, *arguments: object, **options: object) -> object:  # type: ignore[override]
        self.runs += 1
        return super().run(*arguments, **options)  # type: ignore[arg-type]


@pytest.fixture
async def pool() -> AsyncIterator[CountingPool]:
    async with CountingPool(2, LIMITS, task=EXTRACT, prepare="filestead.references.extract_task:prepare") as running:
        yield running


def stored(content: bytes, name: str = "notes.txt") -> File:
    digest = hashlib.sha256(content).hexdigest()
    return File(f"file-{name}", name, "user_data", len(content), 1, None, FileStatus.PROCESSED, None, digest, "key")


async def test_the_same_content_is_extracted_once(pool: CountingPool) -> None:
    found = Texts(pool, max_tokens=1000)
    content = b"words of a document"
    file = stored(content)
    others = [file._replace(id=f"file-{number}", blob_key=f"key-{number}") for number in range(8)]
    extracted = await asyncio.gather(*(found.extract(each, content) for each in others))
    assert {text.text.strip() for text in extracted} == {"words of a document"}
    assert pool.runs == 1
    assert found.find(file) is extracted[0]
    await found.extract(stored(content, "notes.md"), content)
    assert pool.runs == 2, "the extension selects the parser"
    await found.extract(stored(b"others"), b"others")
    assert pool.runs == 3


async def test_what_fails_is_not_kept(pool: CountingPool) -> None:
    found = Texts(pool, max_tokens=1)
    content = b"more than one token is too many for this limit"
    for runs in (1, 2):
        with pytest.raises(NoText, match="limit of 1 tokens"):
            await found.extract(stored(content), content)
        assert pool.runs == runs


async def test_the_oldest_are_dropped(pool: CountingPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "CACHE_BYTES", 1_300)
    found = Texts(pool, max_tokens=1000)
    contents = [f"{number} " * 50 for number in range(3)]
    files = [stored(content.encode(), f"{number}.txt") for number, content in enumerate(contents)]
    for file, content in zip(files[:2], contents, strict=False):
        await found.extract(file, content.encode())
    assert found.find(files[0]) is not None  # used last
    await found.extract(files[2], contents[2].encode())
    assert [found.find(file) is not None for file in files] == [True, False, True]
