"""Each sentence of `VectorRepository` and of `NearestChunks`."""

import numpy as np
import pytest

from filestead.database.repositories.vector_stores import pgvector
from filestead.domain.errors import JobLost
from filestead.domain.jobs import Job, JobKind
from filestead.domain.quota import Quota
from filestead.domain.vector_stores import scan
from filestead.domain.vector_stores.embeddings import (
    ROWS_PER_BLOCK,
    EmbeddingModel,
    NewVectors,
    PendingChunk,
    VectorBlock,
)
from filestead.domain.vector_stores.model import StoredChunk
from filestead.search.dense import encode
from tests.conformance.attachments import CHUNKS, SEGMENT, attach, claim, claim_task, complete, count, make_store
from tests.conformance.test_file_repository import add
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio

DIMENSIONS = 4


def vector(*numbers: float) -> bytes:
    values = np.array(numbers, "<f4")
    return (values / np.linalg.norm(values)).astype("<f4").tobytes()


def blocks(attachment: int, vectors: list[bytes], first: int = 0) -> list[VectorBlock]:
    return [VectorBlock(attachment, *block) for block in encode(vectors, first)]


async def embed_job(rows: Rows, name: str = "m") -> Job:
    assert await rows.vectors.add_jobs(name, limit=10) > 0
    (job,) = await claim(rows)
    assert job.kind is JobKind.EMBED
    return job


async def found(rows: Rows, store_id: str, query: bytes) -> list[tuple[int, int]]:
    searched = await rows.vectors.searched(store_id)
    assert searched is not None
    return [(each.attachment, each.ordinal) async for batch in rows.nearest.nearest(searched, query) for each in batch]


async def stored(rows: Rows) -> int:
    """Rows with vectors, of all models."""
    if rows.database.dialect.name == "sqlite":
        ((blocks_of_chunks,),) = await rows.run("SELECT coalesce(sum(chunks), 0) FROM vector_blocks")
        assert await count(rows, "vector_values") == blocks_of_chunks
        return int(blocks_of_chunks)
    names = await rows.run("SELECT tablename FROM pg_tables WHERE tablename ~ '^chunk_vectors_'")
    return sum([await count(rows, name) for (name,) in names])


async def test_a_model_is_a_name_with_dimensions(rows: Rows) -> None:
    assert await rows.vectors.newest("m") is None
    first = await rows.vectors.register("m", 4)
    assert (first.name, first.dimensions) == ("m", 4)
    assert await rows.vectors.register("m", 4) == first
    second = await rows.vectors.register("m", 8)
    assert second.id != first.id
    assert await rows.vectors.newest("m") == second
    assert await rows.vectors.newest("other") is None


async def test_pending_chunks_are_made_and_then_searched(rows: Rows) -> None:
    who = await rows.principal()
    files = [await add(rows, who) for _ in range(3)]
    store_id = await make_store(rows, who, files[0].id, files[1].id)
    first, second = await complete(rows), await complete(rows)
    await make_store(rows, who, files[2].id)
    other = await complete(rows)
    assert await rows.vectors.searched(store_id) is None
    assert await rows.vectors.add_jobs("m", limit=10) == 2
    assert await rows.vectors.add_jobs("m", limit=10) == 0, "they have jobs"
    job, beside = sorted(await claim(rows), key=lambda each: each.subject != store_id)
    pending = await rows.vectors.pending(store_id, "m", limit=3)
    texts = [chunk.text for chunk in CHUNKS]
    assert pending.chunks == [
        PendingChunk(first.attachment, 0, texts[0]),
        PendingChunk(first.attachment, 1, texts[1]),
        PendingChunk(second.attachment, 0, texts[0]),
    ]
    assert pending.complete == [first.attachment]
    model = await rows.vectors.register("m", DIMENSIONS)
    near, far, middle = vector(1, 0.1, 0, 0), vector(-1, 0, 0, 0.1), vector(1, 1, 0, 0)
    made = [*blocks(first.attachment, [far, near]), *blocks(second.attachment, [middle])]
    await rows.vectors.add(job, store_id, model, made, complete=pending.complete)
    pending = await rows.vectors.pending(store_id, "m", limit=3)
    assert pending.chunks == [PendingChunk(second.attachment, 1, texts[1])], "what is stored is not made again"
    assert pending.complete == [second.attachment]
    await rows.vectors.add(
        job, store_id, model, blocks(second.attachment, [vector(0, 1, 0, 0)], 1), complete=pending.complete
    )
    assert (await rows.vectors.pending(store_id, "m", limit=3)).complete == []
    assert await rows.vectors.searched(store_id) is None, "not before they are complete"
    await rows.vectors.add(
        beside, beside.subject, model, blocks(other.attachment, [near] * 2), complete=[other.attachment]
    )
    await rows.vectors.activate(job, store_id, model)
    searched = await rows.vectors.searched(store_id)
    assert searched is not None and (searched.model, searched.chunks) == (model, 4)
    expected = [(first.attachment, 1), (second.attachment, 0), (second.attachment, 1), (first.attachment, 0)]
    assert await found(rows, store_id, vector(1, 0, 0, 0)) == expected
    await rows.vectors.finish(job, store_id, "m")
    await rows.vectors.finish(beside, beside.subject, "m")
    assert await claim(rows) == []


async def test_a_lost_job_stores_nothing(rows: Rows) -> None:
    who = await rows.principal()
    store_id = await make_store(rows, who, (await add(rows, who)).id)
    task = await complete(rows)
    job = await embed_job(rows)
    model = await rows.vectors.register("m", DIMENSIONS)
    await rows.jobs.release([job])
    (again,) = await claim(rows)
    made = blocks(task.attachment, [vector(1, 0, 0, 0)])
    for lost in (
        rows.vectors.add(job, store_id, model, made, complete=[]),
        rows.vectors.activate(job, store_id, model),
        rows.vectors.finish(job, store_id, "m"),
    ):
        with pytest.raises(JobLost):
            await lost
    assert await stored(rows) == 0
    await rows.vectors.add(again, store_id, model, made, complete=[])
    await rows.vectors.finish(again, store_id, "m")
    (following,) = await claim(rows)
    assert following.kind is JobKind.EMBED, "the file lacks one"


async def test_vectors_come_with_the_segment(rows: Rows) -> None:
    who = await rows.principal()
    store_id = await make_store(rows, who, (await add(rows, who)).id)
    model = await rows.vectors.register("m", DIMENSIONS)
    job, task = await claim_task(rows)
    one, two = vector(1, 0, 0, 0), vector(0, 1, 0, 0)
    await rows.index.add_chunks(job, task, 0, CHUNKS, NewVectors(model, blocks(task.attachment, [two] * 5)))
    await rows.index.add_chunks(job, task, 0, CHUNKS, NewVectors(model, blocks(task.attachment, [one])))
    last = [StoredChunk("c", 0, 1)]
    vectors = NewVectors(model, blocks(task.attachment, [two], 1))
    await rows.index.complete_file(
        job, task, SEGMENT, usage_bytes=1, quota=Quota(), start=1, chunks=last, vectors=vectors
    )
    assert await found(rows, store_id, two) == [(task.attachment, 1), (task.attachment, 0)]
    assert await rows.vectors.add_jobs("m", limit=10) == 0


async def test_a_job_follows_a_file_whose_vectors_come_later(rows: Rows) -> None:
    who = await rows.principal()
    store_id = await make_store(rows, who, (await add(rows, who)).id)
    job, task = await claim_task(rows)
    await rows.index.add_chunks(job, task, 0, CHUNKS)
    await rows.index.complete_file(job, task, SEGMENT, usage_bytes=1, quota=Quota(), embed=True)
    (following,) = await claim(rows)
    assert (following.kind, following.subject) == (JobKind.EMBED, store_id)
    await rows.vector_stores.delete(who.project_id, store_id)
    with pytest.raises(JobLost):
        await rows.vectors.finish(following, store_id, "m")


async def in_model(rows: Rows, name: str, store_id: str, vectors: list[bytes]) -> EmbeddingModel:
    """Give the only file of a store vectors, by a job."""
    job = await embed_job(rows, name)
    pending = await rows.vectors.pending(store_id, name, limit=1_000)
    model = await rows.vectors.register(name, len(vectors[0]) // 4)
    (attachment,) = pending.complete
    await rows.vectors.add(job, store_id, model, blocks(attachment, vectors), complete=pending.complete)
    await rows.vectors.activate(job, store_id, model)
    await rows.vectors.finish(job, store_id, name)
    return model


async def test_another_model_replaces_the_vectors(rows: Rows) -> None:
    who = await rows.principal()
    store_id = await make_store(rows, who, (await add(rows, who)).id)
    await complete(rows)
    await in_model(rows, "m", store_id, [vector(1, 0, 0, 0), vector(0, 1, 0, 0)])
    before = await stored(rows)
    second = await in_model(rows, "other", store_id, [vector(1, 0), vector(0, 1)])
    searched = await rows.vectors.searched(store_id)
    assert searched is not None and searched.model == second
    assert await stored(rows) == before
    assert [ordinal for _, ordinal in await found(rows, store_id, vector(0, 1))] == [1, 0]


async def test_detached_files_leave_no_vectors(rows: Rows) -> None:
    who = await rows.principal()
    gone, kept = await add(rows, who), await add(rows, who)
    store_id = await make_store(rows, who, gone.id, kept.id)
    first, second = await complete(rows), await complete(rows)
    job = await embed_job(rows)
    model = await rows.vectors.register("m", DIMENSIONS)
    both = [*blocks(first.attachment, [vector(1, 0, 0, 0)] * 40), *blocks(second.attachment, [vector(0, 1, 0, 0)])]
    await rows.vectors.add(job, store_id, model, both, complete=[])
    await rows.files.delete(who.project_id, gone.id)
    while await rows.index.delete_detached(3):
        pass
    assert await stored(rows) == 1
    await rows.vectors.add(job, store_id, model, both, complete=[first.attachment, second.attachment])
    assert await stored(rows) == 1, "a file that is detached gets none"
    await rows.vectors.activate(job, store_id, model)
    assert await found(rows, store_id, vector(0, 1, 0, 0)) == [(second.attachment, 0)]


async def test_all_chunks_come_in_growing_batches(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "FIRST_BATCH", 20)
    monkeypatch.setattr(scan, "BLOCKS_PER_READ", 3)
    monkeypatch.setattr(pgvector, "FIRST_BATCH", 20)
    monkeypatch.setattr(pgvector, "EXACT_CHUNKS", 1)
    who = await rows.principal()
    store_id = await make_store(rows, who, (await add(rows, who)).id)
    task = await complete(rows)
    number = 10 * ROWS_PER_BLOCK + 3
    vectors = [vector(np.cos(angle), np.sin(angle), 0, 0) for angle in np.linspace(0, np.pi, number)]
    await in_model(rows, "m", store_id, vectors)
    for _ in range(2):
        assert await found(rows, store_id, vector(1, 0, 0, 0)) == [(task.attachment, n) for n in range(number)]
    file = await add(rows, who)
    await attach(rows, who, store_id, file.id)
    job, added = await claim_task(rows)
    model = await rows.vectors.newest("m")
    assert model is not None
    made = NewVectors(model, blocks(added.attachment, [vector(1, 0, 0, 0)]))
    await rows.index.complete_file(job, added, SEGMENT, usage_bytes=1, quota=Quota(), chunks=CHUNKS[:1], vectors=made)
    assert (await found(rows, store_id, vector(1, 0, 0, 0)))[:2] == [(task.attachment, 0), (added.attachment, 0)]
