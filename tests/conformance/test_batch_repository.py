"""Each sentence of `BatchRepository` and `BatchRunRepository`."""

from array import array

import pytest

from filestead.domain.batches.model import (
    BatchStatus,
    RequestCounts,
    ResultKind,
    RunState,
    TokenUsage,
)
from filestead.domain.jobs import JobKind
from tests.conformance.batches import DAY, add_input, append, begin, block, claim, create, output
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio

OUTPUT, ERROR = ResultKind.OUTPUT, ResultKind.ERROR
ODD = {"ключ \0": "'; -- %s :x", "": "\ufffd" * 512, "emoji": "👩‍🚀"}


async def test_a_batch_is_created_with_its_input_and_read(rows: Rows) -> None:
    who = await rows.principal()
    file = await add_input(rows, who, 7)
    made = await create(rows, who, file.id, metadata=ODD)
    now = int(rows.clock.now)
    assert made == await rows.batches.get(who.project_id, made.id)
    assert (made.status, made.created_at, made.expires_at) == (BatchStatus.VALIDATING, now, now + DAY)
    assert (made.input_file_id, made.endpoint, made.completion_window) == (file.id, "/v1/chat/completions", "24h")
    assert (made.metadata, made.counts, made.usage, made.errors) == (ODD, RequestCounts(), TokenUsage(), ())
    assert (made.model, made.output_file_id, made.error_file_id) == (None, None, None)
    job = await claim(rows)
    assert (job.kind, job.subject, job.project_id) == (JobKind.BATCH, made.id, who.project_id)
    task = await rows.batch_runs.begin(job)
    assert task is not None
    assert (task.batch, task.organization_id, task.user_id) == (made, who.organization_id, who.user_id)
    assert (task.input_blob_key, task.input_bytes, task.input_sha256) == (file.blob_key, 7, file.sha256)
    assert (task.output_expires_after_seconds, task.now) == (30 * DAY, now)


async def test_a_whole_run_from_validation_to_files(rows: Rows) -> None:
    who = await rows.principal()
    made, job = await begin(rows, who, total=3, output_expires_after_seconds=3_600)
    start = int(rows.clock.now)
    rows.clock.pass_(5)
    first, second, failed = block(2), block(1), block(3, kind=ERROR)
    state = await append(rows, job, first, failed, lines_per_second=2.5)
    assert state == RunState(BatchStatus.IN_PROGRESS, start + DAY, start + 5)
    running = await rows.batches.get(who.project_id, made.id)
    assert (running.status, running.in_progress_at, running.model) == (BatchStatus.IN_PROGRESS, start, "m")
    assert (running.counts, running.usage) == (RequestCounts(3, 1, 1), TokenUsage(10, 1, 20, 2, 30))
    assert running.lines_per_second == 2.5
    await append(rows, job, second)
    assert await rows.batch_runs.done_lines(made.id) in (
        array("I", [3, 2, 1]).tobytes(),
        array("I", [2, 1, 3]).tobytes(),
    )
    content = first.data + second.data
    assert await rows.batch_runs.read_journal(made.id, OUTPUT, 0, 1_000) == content
    assert (await rows.batch_runs.start_finalizing(job)).status is BatchStatus.FINALIZING
    files = [await output(rows, job, OUTPUT, len(content)), await output(rows, job, ERROR, len(failed.data))]
    rows.clock.pass_(5)
    assert await rows.batch_runs.finish(job, BatchStatus.COMPLETED, files) is BatchStatus.COMPLETED
    ended = await rows.batches.get(who.project_id, made.id)
    assert (ended.status, ended.finalizing_at, ended.completed_at) == (BatchStatus.COMPLETED, start + 5, start + 10)
    assert (ended.failed_at, ended.expired_at, ended.cancelling_at, ended.cancelled_at) == (None,) * 4
    assert (ended.output_file_id, ended.error_file_id) == (files[0].file_id, files[1].file_id)
    assert (ended.counts, ended.lines_per_second) == (RequestCounts(3, 2, 1), None)
    for made_file, size in zip(files, (len(content), len(failed.data)), strict=True):
        file = await rows.files.get(who.project_id, made_file.file_id)
        assert (file.purpose, file.bytes, file.filename) == ("batch_output", size, made_file.filename)
        assert (file.created_at, file.expires_at) == (start + 10, start + 10 + 3_600)
    usage = await rows.files.usage(who.project_id)
    assert (usage.bytes_used, usage.bytes_reserved) == (5 + len(content) + len(failed.data), 0)
    assert await rows.files.check() == []
