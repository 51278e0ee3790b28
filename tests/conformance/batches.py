"""Batches and the work on them, for the tests of their repositories."""

import secrets
from typing import Any

from filestead.blobs.keys import new_key
from filestead.domain.access import Principal
from filestead.domain.batches.model import (
    Batch,
    NewBatch,
    OutputFile,
    ResultBlock,
    ResultKind,
    RunState,
    TokenUsage,
    Validated,
)
from filestead.domain.files.model import File
from filestead.domain.jobs import Job, JobKind
from filestead.domain.quota import Quota
from filestead.installation import new_id
from tests.conformance.test_file_repository import add
from tests.support.databases import Rows

NO_QUOTA = Quota(None, None)
DAY = 86_400
LEASE = 120


async def add_input(rows: Rows, who: Principal, size: int = 5, **changes: Any) -> File:
    return await add(rows, who, size, purpose="batch", **changes)


async def create(
    rows: Rows, who: Principal, input_file_id: str = "file-none", *, rate: int = 0, **values: Any
) -> Batch:
    given: dict[str, Any] = {
        "random": secrets.token_hex(12),
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "window_seconds": DAY,
        "input_file_id": input_file_id,
    }
    new = NewBatch(**given | values)
    return await rows.batches.create(who.project_id, who.organization_id, who.user_id, new, rate=rate)


async def claim(rows: Rows, kind: JobKind = JobKind.BATCH, *, lease: int = 30) -> Job:
    (job,) = await rows.jobs.claim([kind], token=new_id("t-"), lease_seconds=lease, limit=1)
    return job


async def begin(rows: Rows, who: Principal, total: int = 3, **values: Any) -> tuple[Batch, Job]:
    """A batch in progress, with the job that runs it."""
    file = await add_input(rows, who)
    batch = await create(rows, who, file.id, **values)
    job = await claim(rows)
    assert await rows.batch_runs.begin(job) is not None
    await rows.batch_runs.start(job, Validated(total, "m"))
    return batch, job


def block(*lines: int, kind: ResultKind = ResultKind.OUTPUT, ran: bool = True, size: int = 0) -> ResultBlock:
    """A block of results; `size` is that of a line, by default what it takes."""
    data = b"".join(b"%d %s\n" % (line, b"x" * max(0, size - len(str(line)) - 2)) for line in lines)
    completed = len(lines) if kind is ResultKind.OUTPUT else 0
    failed = len(lines) - completed if ran else 0
    usage = TokenUsage(*(completed * number for number in (10, 1, 20, 2, 30)))
    return ResultBlock(kind, lines, data, completed, failed, usage)


async def append(rows: Rows, job: Job, *blocks: ResultBlock, quota: Quota = NO_QUOTA, **options: Any) -> RunState:
    return await rows.batch_runs.append(job, blocks, quota=quota, **options)


async def output(rows: Rows, job: Job, kind: ResultKind, size: int) -> OutputFile:
    """A stored file of results, ready to be published."""
    key = new_key()
    await rows.batch_runs.begin_output(job, key, lease_seconds=LEASE)
    name = f"{job.subject}_{kind.value}.jsonl"
    return OutputFile(kind, new_id("file-"), key, name, size, "0" * 64)
