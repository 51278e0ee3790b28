"""Jobs that index an attached file: its content goes to a sandbox, and chunks and segment to the database."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from filestead.domain.errors import BlobNotFound, QuotaExceeded
from filestead.domain.files.model import File
from filestead.domain.jobs import Job, JobRepository
from filestead.domain.observation import UNOBSERVED, Observer
from filestead.domain.quota import Quota
from filestead.domain.vector_stores.embeddings import (
    LOCAL_DIMENSIONS,
    LOCAL_MODEL,
    Embedder,
    EmbeddingModel,
    NewVectors,
    VectorBlock,
    VectorRepository,
)
from filestead.domain.vector_stores.file_types import (
    EMPTY_FILE,
    QUOTA_EXCEEDED,
    SERVER_ERROR,
    TOO_LARGE_FILE,
    UNPARSABLE_FILE,
    UNSUPPORTED_FILE,
    is_plain_text,
    unsupported_extension,
)
from filestead.domain.vector_stores.interfaces import IndexRepository
from filestead.domain.vector_stores.model import IndexingError, IndexTask, SegmentData, StoredChunk
from filestead.sandbox.content import disk_file, memory_file, write_all
from filestead.sandbox.errors import Failure, TaskFailed, TaskRejected
from filestead.sandbox.pool import SandboxPool
from filestead.worker.document_group import MAX_TEXT_BYTES, DocumentGroups, GroupFailed

if TYPE_CHECKING:
    from filestead.worker.index_document import Arguments

log = logging.getLogger("filestead")

BYTES_PER_CHUNK = 1_024
"""What a chunk adds to `usage_bytes` beside its text, as recorded from the hosted service."""

CHUNKS_PER_TRANSACTION = 500
"""Most files have fewer: they are stored in one transaction."""

IN_MEMORY_BYTES = 4 * 1024 * 1024
"""Content up to this size is not written to a temporary file on its way to the sandbox."""

TASK = "filestead.worker.index_document:index"
PREPARE = "filestead.worker.index_document:prepare"
PREPARE_WITH_VECTORS = "filestead.worker.index_document:prepare_with_vectors"

ReadContent = Callable[[File], AsyncIterator[bytes]]


class IndexHandler:
    """Runs jobs of the kind `index`."""

    def __init__(
        self,
        index: IndexRepository,
        jobs: JobRepository,
        read: ReadContent,
        pool: SandboxPool,
        *,
        max_tokens: int,
        quota: Quota,
        folder: Path | None = None,
        vectors: VectorRepository | None = None,
        embedder: Embedder | None = None,
        observer: Observer = UNOBSERVED,
    ) -> None:
        """`read` yields the content of a file; large content is kept in `folder` while it is indexed.

        With the static vectors as `embedder`, vectors are made together with the segment; with another one, by a job.
        """
        self._vectors = vectors
        self._model: EmbeddingModel | None = None
        self._embed_later = embedder is not None and embedder.name != LOCAL_MODEL
        self._embed_now = embedder is not None and embedder.name == LOCAL_MODEL
        self._index = index
        self._jobs = jobs
        self._read = read
        self._pool = pool
        self._groups = DocumentGroups(pool)
        self._max_tokens = max_tokens
        self._quota = quota
        self._folder = folder
        self._observer = observer

    async def run(self, job: Job) -> None:
        """Index the file. It fails for good if its content is the reason; other failures are raised for a retry."""
        task = await self._index.index_task(job)
        if task is None:
            await self._jobs.finish(job)
            return
        error = await self._run(job, task)
        if error is not None:
            await self._index.fail_file(job, task, error)
            self._observer.file_indexed(task.file.bytes, failed=True)

    async def give_up(self, job: Job, error: str) -> None:
        """Let the file fail, and keep the job as a dead letter."""
        task = await self._index.index_task(job)
        if task is None:
            await self._jobs.finish(job)
        else:
            await self._index.fail_file(job, task, SERVER_ERROR, dead_letter=error)
            self._observer.file_indexed(task.file.bytes, failed=True)

    async def _run(self, job: Job, task: IndexTask) -> IndexingError | None:
        if unsupported_extension(task.file.filename) is not None:
            return UNSUPPORTED_FILE
        if task.file.bytes == 0:
            return EMPTY_FILE
        try:
            await self._index_content(job, task)
        except BlobNotFound:
            if await self._index.index_task(job) is not None:
                raise
            await self._jobs.finish(job)  # the file was deleted meanwhile
        except QuotaExceeded:
            return QUOTA_EXCEEDED
        except TaskRejected as rejected:
            return IndexingError(rejected.kind, rejected.message)
        except TaskFailed as failed:
            log.info("%s cannot be indexed: %s", task.file.id, failed)
            return TOO_LARGE_FILE if failed.reason in (Failure.OUTPUT, Failure.MEMORY) else UNPARSABLE_FILE
        return None

    async def _index_content(self, job: Job, task: IndexTask) -> None:
        if task.file.bytes > MAX_TEXT_BYTES or not is_plain_text(task.file.filename):
            async with self._content(task.file) as descriptor:
                await self._index_alone(job, task, descriptor)
            return
        async with contextlib.aclosing(self._read(task.file)) as blocks:  # type: ignore[type-var]
            content = b"".join([block async for block in blocks])
        try:
            frames = await self._groups.run(job.project_id, content, self._arguments(task))
        except GroupFailed:
            with memory_file(content) as descriptor:
                await self._index_alone(job, task, descriptor)
        else:
            await self._complete(job, task, await self._receive(job, task, _iterate(frames)))

    @contextlib.asynccontextmanager
    async def _content(self, file: File) -> AsyncIterator[int]:
        """The content as an open file: in memory if it is small."""
        small = file.bytes <= IN_MEMORY_BYTES
        with memory_file() if small else disk_file(self._folder) as descriptor:
            async with contextlib.aclosing(self._read(file)) as blocks:  # type: ignore[type-var]
                async for block in blocks:
                    if small:
                        write_all(descriptor, block)
                    else:
                        await asyncio.to_thread(write_all, descriptor, block)
            yield descriptor

    async def _index_alone(self, job: Job, task: IndexTask, descriptor: int) -> None:
        """Index a file in a process of its own."""
        async with self._pool.run(descriptor, asdict(self._arguments(task))) as frames:
            received = await self._receive(job, task, frames)
        await self._complete(job, task, received)

    def _arguments(self, task: IndexTask) -> "Arguments":
        from filestead.worker.index_document import Arguments  # noqa: PLC0415 - loads numpy, which only workers need

        return Arguments(
            task.attachment,
            task.file.filename,
            task.chunking.max_tokens,
            task.chunking.overlap_tokens,
            self._max_tokens,
            self._embed_now,
        )

    async def _receive(self, job: Job, task: IndexTask, frames: AsyncIterator[bytes]) -> "_Received":
        """Take the results of the sandbox; of a large file, most chunks are stored on the way."""
        from filestead.worker import index_document  # noqa: PLC0415 - loads numpy, which only workers need

        received = _Received(await self._local_model())
        async for frame in frames:
            kind, payload = frame[:1], memoryview(frame)[1:]
            if len(received.chunks) >= CHUNKS_PER_TRANSACTION and kind != index_document.VECTORS:
                await self._index.add_chunks(job, task, received.stored, received.chunks, received.vectors)
                received.stored += len(received.chunks)
                received.chunks, received.blocks = [], []
            if kind == index_document.CHUNKS:
                rows = msgspec.msgpack.decode(payload, type=list[index_document.ChunkRow])
                received.chunks += [StoredChunk(row.text, row.overlap, row.tokens) for row in rows]
            elif kind == index_document.VECTORS:
                vectors = msgspec.msgpack.decode(payload, type=list[index_document.VectorRow])
                received.blocks += [
                    VectorBlock(task.attachment, row.first, row.chunks, row.values, row.codes) for row in vectors
                ]
            else:
                parts = msgspec.msgpack.decode(payload, type=index_document.SegmentParts)
                received.segment = SegmentData(
                    parts.chunks, parts.length, parts.postings, parts.buckets, parts.documents
                )
                received.usage_bytes = parts.text_bytes + BYTES_PER_CHUNK * parts.chunks
        return received

    async def _complete(self, job: Job, task: IndexTask, received: "_Received") -> None:
        assert received.segment is not None
        await self._index.complete_file(
            job,
            task,
            received.segment,
            usage_bytes=received.usage_bytes,
            quota=self._quota,
            start=received.stored,
            chunks=received.chunks,
            vectors=received.vectors,
            embed=self._embed_later,
        )
        self._observer.file_indexed(task.file.bytes, failed=False)

    async def _local_model(self) -> EmbeddingModel | None:
        if self._model is None and self._embed_now and self._vectors is not None:
            self._model = await self._vectors.register(LOCAL_MODEL, LOCAL_DIMENSIONS)
        return self._model


async def _iterate(frames: list[bytes]) -> AsyncIterator[bytes]:
    for frame in frames:
        yield frame


@dataclass(slots=True)
class _Received:
    """The results of a file, apart from the chunks that are stored already."""

    model: EmbeddingModel | None
    stored: int = 0
    chunks: list[StoredChunk] = field(default_factory=list)
    blocks: list[VectorBlock] = field(default_factory=list)
    segment: SegmentData | None = None
    usage_bytes: int = 0

    @property
    def vectors(self) -> NewVectors | None:
        """The vectors of `chunks`."""
        return None if self.model is None else NewVectors(self.model, self.blocks)
