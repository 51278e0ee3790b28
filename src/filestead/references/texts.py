"""The texts of documents, extracted in a sandbox and kept by the digest of the content."""

import asyncio
import logging
import sys
from collections import OrderedDict
from dataclasses import dataclass

from filestead.domain.errors import StoreUnavailable
from filestead.domain.files.model import File
from filestead.domain.vector_stores.file_types import unsupported_extension
from filestead.references.frames import parse
from filestead.sandbox.content import memory_file
from filestead.sandbox.errors import Failure, SandboxUnavailable, TaskFailed, TaskRejected
from filestead.sandbox.pool import SandboxPool

log = logging.getLogger("filestead")

CACHE_BYTES = 32 * 1024 * 1024
ENTRY_BYTES = 400
"""Of a text that is kept, beside its characters: the objects of its entry, with a key of 64 characters."""
TOO_LARGE = "too large"


class NoText(Exception):
    """A document has no text that could be sent; the message says why."""


@dataclass(frozen=True, slots=True)
class Text:
    """The text of a document."""

    text: str
    tokens: int

    @property
    def size(self) -> int:
        """Bytes of memory that it takes."""
        return sys.getsizeof(self.text) + ENTRY_BYTES


class Texts:
    """Extracts texts of at most `max_tokens`."""

    def __init__(self, pool: SandboxPool, *, max_tokens: int) -> None:
        self._pool = pool
        self._max_tokens = max_tokens
        self._kept: OrderedDict[tuple[str, str], Text] = OrderedDict()
        self._size = 0
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    def find(self, file: File) -> Text | None:
        """The text of a document that was extracted before."""
        key = _key(file)
        if (found := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
        return found

    async def extract(self, file: File, content: bytes) -> Text:
        """The text of a document. Raises `NoText` and `StoreUnavailable`."""
        if (extension := unsupported_extension(file.filename)) is not None:
            raise NoText(f"files with the extension {extension or '(none)'} have no text that can be extracted")
        key = _key(file)
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                return self.find(file) or self._keep(key, await self._extract(file, content))
        finally:
            if not lock.locked():
                self._locks.pop(key, None)

    async def _extract(self, file: File, content: bytes) -> Text:
        pieces: list[str] = []
        tokens = 0
        arguments = {"filename": file.filename, "max_tokens": self._max_tokens}
        try:
            with memory_file(content) as descriptor:
                async with self._pool.run(descriptor, arguments) as frames:
                    async for frame in frames:
                        count, piece = parse(frame)
                        tokens += count
                        pieces.append(piece)
        except TaskRejected as rejected:
            if TOO_LARGE in rejected.message:
                raise NoText(f"its text has more than the limit of {self._max_tokens} tokens") from None
            raise NoText(rejected.message[:1].lower() + rejected.message[1:].rstrip(".")) from None
        except TaskFailed as failed:
            log.info("the text of %s cannot be extracted: %s", file.id, failed)
            is_size = failed.reason in (Failure.OUTPUT, Failure.MEMORY)
            raise NoText(f"it could not be parsed{' because it is too large' if is_size else ''}") from None
        except SandboxUnavailable as error:
            raise StoreUnavailable(f"no process for extraction: {error}") from None
        return Text("".join(pieces), tokens)

    def _keep(self, key: tuple[str, str], text: Text) -> Text:
        self._kept[key] = text
        self._size += text.size
        while self._size > CACHE_BYTES and self._kept:
            _, dropped = self._kept.popitem(last=False)
            self._size -= dropped.size
        return text

    async def close(self) -> None:
        """End the processes."""
        await self._pool.__aexit__(None, None, None)


def _key(file: File) -> tuple[str, str]:
    """The content and the extension, which selects the parser."""
    return file.sha256 or file.blob_key, file.filename.rpartition(".")[2].lower()
