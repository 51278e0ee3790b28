"""Results of a batch, readable while it runs: first from the journal, later from its files. They are the same bytes."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from filestead.domain.access import Principal
from filestead.domain.attempts import ONLY_ATTEMPT, Attempt
from filestead.domain.batches.interfaces import BatchRepository
from filestead.domain.batches.model import TERMINAL, Batch, ResultKind
from filestead.domain.files.model import Created, File, UploadSource

BLOCK_BYTES = 256 * 1024
WAIT_POLL_SECONDS = 0.5
MAX_WAITING = 64
"""Readers of a process that wait for more results; further ones get what is there at once."""


class StoredFiles(Protocol):
    """The service of files, as far as batches need it."""

    async def get(self, principal: Principal, file_id: str) -> File:
        """Return a visible file."""

    def read(self, file: File, start: int, end: int) -> AsyncGenerator[bytes]:
        """Yield exactly the bytes `start` to `end`."""

    async def create(self, principal: Principal, source: UploadSource, *, attempt: Attempt = ONLY_ATTEMPT) -> Created:
        """Store a file."""


@dataclass(frozen=True, slots=True)
class Results:
    """The results of one kind at a moment; `size` ends with a line."""

    batch: Batch
    kind: ResultKind
    size: int
    file: File | None
    """The file with the results, once the batch has ended; also None if it has ended without such results."""

    @property
    def complete(self) -> bool:
        """Whether nothing will be added."""
        return self.batch.status in TERMINAL


class ResultReader:
    """Reads results of batches."""

    def __init__(self, repository: BatchRepository, files: StoredFiles) -> None:
        self._repository = repository
        self._files = files
        self._waiting = 0

    async def open(self, principal: Principal, batch_id: str, kind: ResultKind) -> Results:
        """Return what there is now. Raises `BatchNotFound`, and `FileNotFound` if the file was deleted."""
        # The size first: if the batch ends in between, its file has all of it.
        size = await self._repository.results_size(principal.project_id, batch_id, kind)
        batch = await self._repository.get(principal.project_id, batch_id)
        if batch.status not in TERMINAL:
            return Results(batch, kind, size, None)
        file_id = batch.output_file_id if kind is ResultKind.OUTPUT else batch.error_file_id
        file = None if file_id is None else await self._files.get(principal, file_id)
        return Results(batch, kind, 0 if file is None else file.bytes, file)

    async def wait(
        self, principal: Principal, batch_id: str, kind: ResultKind, *, beyond: int, seconds: float
    ) -> Results:
        """As `open`, but wait up to `seconds` for more than `beyond` bytes, or for the end of the batch."""
        results = await self.open(principal, batch_id, kind)
        if seconds <= 0 or self._waiting >= MAX_WAITING:
            return results
        now = asyncio.get_running_loop().time
        deadline = now() + seconds
        self._waiting += 1
        try:
            while results.size <= beyond and not results.complete and (left := deadline - now()) > 0:
                await asyncio.sleep(min(left, WAIT_POLL_SECONDS))
                results = await self.open(principal, batch_id, kind)
        finally:
            self._waiting -= 1
        return results

    async def read(self, principal: Principal, results: Results, start: int, end: int) -> AsyncGenerator[bytes]:
        """Yield the bytes `start` to `end`, which are not beyond `results.size`."""
        batch, file = results.batch, results.file
        while file is None and start < end:
            limit = min(end - start, BLOCK_BYTES)
            block = await self._repository.read_results(batch.project_id, batch.id, results.kind, start, limit)
            if not block:  # the batch has ended meanwhile, and the sweep has deleted the journal
                file = (await self.open(principal, batch.id, results.kind)).file
                break
            start += len(block)
            yield block
        if file is not None and start < end:
            async with contextlib.aclosing(self._files.read(file, start, end)) as blocks:
                async for block in blocks:
                    yield block

    async def end_of_lines(self, principal: Principal, results: Results, start: int, end: int) -> int:
        """Return where the last whole line from `start` to `end` ends; `start` if there is none."""
        while start < end < results.size:
            first = max(start, end - BLOCK_BYTES)
            block = b"".join([each async for each in self.read(principal, results, first, end)])
            newline = block.rfind(b"\n")
            if newline >= 0:
                return first + newline + 1
            end = first
        return end
