"""Vector stores with files, and the work on them, for the tests of their repositories."""

from typing import Any

from filestead.domain.access import Principal
from filestead.domain.jobs import Job, JobKind
from filestead.domain.quota import Quota
from filestead.domain.vector_stores.model import (
    Chunking,
    IndexTask,
    NewAttachment,
    NewStore,
    SegmentData,
    SegmentInfo,
    StoredChunk,
)
from filestead.installation import new_id
from tests.support.databases import Rows

KINDS = tuple(JobKind)
SEGMENT = SegmentData(chunks=2, length=5, postings=4, buckets=(b"p0", b"p1"), documents=(b"d",))
CHUNKS = (StoredChunk("one zwei", 0, 2), StoredChunk("drei", 0, 1))


async def make_store(rows: Rows, who: Principal, *file_ids: str, **values: Any) -> str:
    """A store with files attached."""
    new = NewStore(new_id("vs_"), **values)
    files = [NewAttachment(file_id) for file_id in file_ids]
    return (await rows.vector_stores.create(who.project_id, who.organization_id, new, files, rate=0)).id


async def attach(
    rows: Rows,
    who: Principal,
    store_id: str,
    *file_ids: str,
    rate: int = 0,
    batch_id: str | None = None,
    chunking: Chunking = Chunking(),  # noqa: B008 - immutable
    **attributes: Any,
) -> Any:
    """Attach a file, or several as a batch; returns the decision on the rate."""
    ids = (who.project_id, who.organization_id, store_id)
    files = [NewAttachment(file_id, chunking, attributes) for file_id in file_ids]
    if batch_id is None and len(files) == 1:
        return (await rows.vector_stores.attach(*ids, files[0], rate=rate))[1]
    return (await rows.vector_stores.attach_batch(*ids, batch_id or new_id("vsfb_"), files, rate=rate))[1]


async def claim(rows: Rows, limit: int = 100, *, lease: int = 60) -> list[Job]:
    return await rows.jobs.claim(KINDS, token=new_id("t-"), lease_seconds=lease, limit=limit)


async def claim_task(rows: Rows) -> tuple[Job, IndexTask]:
    """The next file to index, with its job."""
    (job,) = await rows.jobs.claim([JobKind.INDEX], token=new_id("t-"), lease_seconds=60, limit=1)
    task = await rows.index.index_task(job)
    assert task is not None
    return job, task


async def complete(rows: Rows, segment: SegmentData = SEGMENT, usage: int = 7) -> IndexTask:
    """Index the next file."""
    job, task = await claim_task(rows)
    await rows.index.add_chunks(job, task, 0, CHUNKS)
    await rows.index.complete_file(job, task, segment, usage_bytes=usage, quota=Quota())
    return task


async def merge_job(rows: Rows) -> Job:
    (job,) = await claim(rows)
    assert job.kind is JobKind.MERGE
    return job


def blocks_of(segment: SegmentInfo, number: int) -> list[tuple[int, int]]:
    return [(segment.id, part) for part in range(number)]


async def count(rows: Rows, table: str, condition: str = "1 = 1") -> int:
    ((number,),) = await rows.run(f"SELECT count(*) FROM {table} WHERE {condition}")
    return int(number)


async def add_files(rows: Rows, who: Principal, number: int, prefix: str = "file-") -> list[str]:
    """Many files, without their uploads."""
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {number - 1}) "
    await rows.run(
        f"INSERT INTO blobs (key, project_id, state) {numbers} SELECT '{prefix}' || i, '{who.project_id}', 'live' FROM n",
        long=True,
    )
    await rows.run(
        "INSERT INTO files (id, project_id, filename, purpose, bytes, created_at, status, sha256, blob_key) "
        f"{numbers} SELECT '{prefix}' || i, '{who.project_id}', 'a.txt', 'assistants', 0, 1, 'processed', '', "
        f"'{prefix}' || i FROM n",
        long=True,
    )
    return [f"{prefix}{i}" for i in range(number)]
