"""Lines of batches that name files: the content of these is in memory only while the line is in flight."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from filestead.domain.forwarding.interfaces import FileMode, FileResolver

RESOLVED_BYTES = 256 * 1024 * 1024
"""Of the lines in flight with the content of their files, unless it is a single one."""
AT_ONCE = 2


class FileLines:
    """Resolves the files of lines, as many at a time as fit into memory."""

    def __init__(self, resolver: FileResolver, *, max_bytes: int = RESOLVED_BYTES) -> None:
        self._resolver = resolver
        self._max_bytes = max_bytes
        self._bytes = 0
        self._places = asyncio.Semaphore(AT_ONCE)
        self._room = asyncio.Event()

    @contextlib.asynccontextmanager
    async def resolved(self, project_id: str, body: bytes, mode: FileMode) -> AsyncGenerator[bytes]:
        """The body with the content of its files. Raises `FileReferenceRejected`."""
        size = 0
        try:
            if self._resolver.concerns(body, mode):
                async with self._places:
                    resolved = await self._resolver.resolve(project_id, body, mode)
                    if resolved is not body:
                        await self._wait_for_room(len(resolved))
                        size = len(resolved)
                        self._bytes += size
                        body = resolved
            yield body
        finally:
            self._bytes -= size
            self._room.set()

    async def _wait_for_room(self, size: int) -> None:
        while self._bytes and self._bytes + size > self._max_bytes:
            self._room.clear()
            await self._room.wait()
