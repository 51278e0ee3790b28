"""The interface of the vector store repository; `tests/conformance` tests it on every backend.

Errors of the database as in `FileRepository`. Every method takes the project, and finds nothing of another one. A file
is attached while its row, its file and its vector store exist and the file has not expired: files that are deleted or
expired disappear from every store at once, from listings, counts and searches alike.
"""

from collections.abc import Sequence
from typing import Protocol

from filestead.domain.jobs import Job
from filestead.domain.quota import Quota
from filestead.domain.rate_limit import RateDecision
from filestead.domain.vector_stores.embeddings import NewVectors
from filestead.domain.vector_stores.model import (
    AttachedFile,
    Attributes,
    ChunkRef,
    FileBatch,
    IndexingError,
    IndexStatus,
    IndexTask,
    ItemPage,
    NewAttachment,
    NewStore,
    PageRequest,
    SearchableFile,
    SegmentData,
    SegmentInfo,
    StoreChanges,
    StoredChunk,
    VectorStore,
)


class VectorStoreRepository(Protocol):
    """Rows of vector stores, attached files and file batches. Each method is one transaction."""

    async def create(
        self, project_id: str, organization_id: str, new: NewStore, files: Sequence[NewAttachment], *, rate: int
    ) -> VectorStore:
        """Create a store and attach files, as `attach` does, all or nothing.

        With `retry` the store is recorded there. One that `is_retry` waits for those in progress, and returns the store
        that is recorded if it still exists; no file is then attached or counted.
        """

    async def get(self, project_id: str, store_id: str) -> VectorStore:
        """Return the store, expired or not. Raises `VectorStoreNotFound`."""

    async def page(self, project_id: str, request: PageRequest) -> ItemPage[VectorStore]:
        """Return stores in the order of creation. Raises `ItemCursorNotFound`."""

    async def update(self, project_id: str, store_id: str, changes: StoreChanges) -> VectorStore:
        """Change a store. Raises `VectorStoreNotFound`, `VectorStoreExpired`."""

    async def delete(self, project_id: str, store_id: str) -> None:
        """Delete a store and detach its files. Raises `VectorStoreNotFound`."""

    async def was_deleted(self, project_id: str, *ids: str) -> bool:
        """Whether `delete` with this id, or `detach` with these two, has succeeded within the last ten minutes."""

    async def touch(self, project_id: str, store_id: str) -> None:
        """Record activity, to the minute, which postpones the expiry.

        Raises `VectorStoreNotFound`, `VectorStoreExpired`.
        """

    async def attach(
        self, project_id: str, organization_id: str, store_id: str, attachment: NewAttachment, *, rate: int
    ) -> tuple[AttachedFile, RateDecision]:
        """Attach a file and add its job. The file must be the project's, and visible, at the commit.

        A file that is attached already keeps its index and gets the new attributes; if the chunking differs, or if it
        is failed or cancelled, it is attached anew. Counts the file against the organization's `rate` per minute.
        Returns the file as it is at the commit. Raises `VectorStoreNotFound`, `VectorStoreExpired`,
        `FilesNotAttachable`, `UnsupportedFileType`, `AttachRateLimited`.
        """

    async def attach_batch(
        self,
        project_id: str,
        organization_id: str,
        store_id: str,
        batch_id: str,
        files: Sequence[NewAttachment],
        *,
        rate: int,
    ) -> tuple[FileBatch, RateDecision]:
        """Create a file batch and attach its files as `attach` does, all or nothing; unsupported types have failed.

        Returns the batch as it is at the commit. Raises as `attach`, except `UnsupportedFileType`.
        """

    async def get_file(self, project_id: str, store_id: str, file_id: str) -> AttachedFile:
        """Return an attached file. Raises `VectorStoreNotFound`, then `AttachedFileNotFound`."""

    async def page_files(
        self,
        project_id: str,
        store_id: str,
        request: PageRequest,
        *,
        status: IndexStatus | None = None,
        batch_id: str | None = None,
    ) -> ItemPage[AttachedFile]:
        """Return attached files in the order of attachment, of one status or batch if given.

        Raises `VectorStoreNotFound`, `FileBatchNotFound`, `ItemCursorNotFound`.
        """

    async def update_file(self, project_id: str, store_id: str, file_id: str, attributes: Attributes) -> AttachedFile:
        """Replace the attributes of an attached file. Raises as `get_file`, and `VectorStoreExpired`."""

    async def detach(self, project_id: str, store_id: str, file_id: str) -> None:
        """Detach a file; the file itself stays. Raises as `get_file`."""

    async def get_batch(self, project_id: str, store_id: str, batch_id: str) -> FileBatch:
        """Return a file batch. Raises `VectorStoreNotFound`, then `FileBatchNotFound`."""

    async def cancel_batch(self, project_id: str, store_id: str, batch_id: str) -> FileBatch:
        """Cancel the files of a batch that are in progress; nothing changes if none is. Raises as `get_batch`."""

    async def text(self, project_id: str, store_id: str, file_id: str) -> list[StoredChunk]:
        """Return the chunks of an attached file in order; none unless it is completed. Raises as `get_file`."""


class IndexRepository(Protocol):
    """What indexing writes and search reads. A file that is detached, cancelled or deleted loses its job at once."""

    async def index_task(self, job: Job) -> IndexTask | None:
        """Return what to index; None if the file was detached, cancelled or indexed meanwhile.

        A file that has expired is indexed as long as it is not deleted: the clock may be wrong.
        """

    async def add_chunks(
        self,
        job: Job,
        task: IndexTask,
        start: int,
        chunks: Sequence[StoredChunk],
        vectors: NewVectors | None = None,
    ) -> None:
        """Store chunks from the ordinal `start` on, replacing those of an earlier attempt. Raises `JobLost`.

        `vectors` are those of these chunks, or none of them.
        """

    async def complete_file(
        self,
        job: Job,
        task: IndexTask,
        segment: SegmentData,
        *,
        usage_bytes: int,
        quota: Quota,
        start: int = 0,
        chunks: Sequence[StoredChunk] = (),
        vectors: NewVectors | None = None,
        embed: bool = False,
    ) -> None:
        """Store the last chunks, from the ordinal `start` on, add the segment, and set the file to `completed`.

        The usage is charged and the job finished in the same transaction. With `embed`, a job that makes vectors is
        added. Raises `JobLost` and `QuotaExceeded`.
        """

    async def fail_file(
        self, job: Job, task: IndexTask, error: IndexingError, *, dead_letter: str | None = None
    ) -> None:
        """Set the file to `failed` and finish the job, or keep it as a dead letter. Raises `JobLost`."""

    async def segments(self, store_id: str) -> list[SegmentInfo]:
        """Return the segments of a store."""

    async def read_postings(self, blocks: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """Return the blocks of postings (segment, bucket). Raises `SegmentsChanged` if one is gone."""

    async def read_documents(self, blocks: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """Return the blocks of chunk numbers (segment, block). Raises `SegmentsChanged` if one is gone."""

    async def searchable(self, store_id: str, attachments: Sequence[int]) -> dict[int, SearchableFile]:
        """Return those of the attachments that are completed, attached, and whose file is visible, now."""

    async def attached(self, store_id: str) -> list[int]:
        """Return the attachments of a store: what merges keep."""

    async def chunk_texts(self, chunks: Sequence[ChunkRef]) -> dict[ChunkRef, str]:
        """Return the texts of chunks that are still stored."""

    async def merge_candidates(self, store_id: str) -> list[SegmentInfo]:
        """Return segments of one level that should be merged into one; empty if there are too few of each level."""

    async def replace_segments(
        self, job: Job, store_id: str, old: Sequence[SegmentInfo], merged: SegmentData, *, level: int
    ) -> None:
        """Replace segments by their merge and finish the job. Raises `JobLost`, `SegmentsChanged`."""

    async def delete_detached(self, limit: int) -> int:
        """Detach files of expired vector stores; delete chunks, segments and blocks that belong to nothing any more.

        At most about `limit` rows in all, in short transactions; returns their number, 0 if nothing is left to do. The
        proven time decides which stores have expired (see `domain.clock`); they stay, empty, until they are deleted.
        """
