"""Batches as the worker that holds their jobs sees them: `BatchRunRepository` in SQL.

Rows are locked in the order of `files/repository.py`, with batches after jobs and before blobs.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import BigInteger, Float, Text, bindparam, case, exists, func, literal_column, null, or_, select, update

from filestead.database.engines.statements import Connection, Database, Statement, int_param, now
from filestead.database.repositories.audit_events import AuditEvents
from filestead.database.repositories.batches.events import EventRecorder
from filestead.database.repositories.batches.journal import Journal
from filestead.database.repositories.batches.rows import (
    BATCH_COLUMNS,
    COUNT_COLUMNS,
    TOKEN_COLUMNS,
    encode_errors,
    encode_pauses,
    table,
    to_batch,
)
from filestead.database.repositories.clock import SqlClock
from filestead.database.repositories.files.blobs import BlobStatements
from filestead.database.repositories.files.limits import QuotaLedger
from filestead.database.repositories.files.rows import require_row
from filestead.database.repositories.files.uploads import Uploads
from filestead.database.repositories.jobs import JobQueue
from filestead.database.tables import batches, jobs
from filestead.domain.audit.events import EventType
from filestead.domain.batches.model import (
    TERMINAL,
    BatchError,
    BatchStatus,
    BatchTask,
    OutputFile,
    Parallelism,
    Pause,
    ResultBlock,
    ResultKind,
    RunState,
    TokenUsage,
    Validated,
)
from filestead.domain.clock import ClockWatch
from filestead.domain.errors import JobLost
from filestead.domain.files.model import CompletedUpload, FileStatus
from filestead.domain.jobs import Job
from filestead.domain.quota import Quota

OUTPUT_PURPOSE = "batch_output"

JOURNAL_COPIES = 2
"""Results are in the write-ahead log before they are in the database."""

RESERVED_AHEAD = 1024 * 1024
"""Bytes that are reserved ahead of the journal, so that not every group of results locks the row of the project."""

NEW_PARALLELISM = {
    name: func.coalesce(bindparam(f"new_{name}", type_=BigInteger), column)
    for name, column in (("lines_in_flight", table.lines_in_flight), ("line_limit", table.line_limit))
}
"""Set what `_bound` binds; None changes nothing."""

STATE = (table.status, table.expires_at)
"""The first fields of `RunState`."""


class SqlBatchRunRepository:
    """See `BatchRunRepository` for the contract."""

    def __init__(
        self,
        database: Database,
        new_id: Callable[[str], str],
        *,
        watch: ClockWatch | None = None,
        webhook: bool = False,
        require_free_space: Callable[[int], None] | None = None,
    ) -> None:
        """`new_id` makes an id with a prefix. With a `webhook`, events are recorded for it.

        `require_free_space` raises `StorageFull` unless the database's disk has room beside the reserve.
        """
        self._require_free_space = require_free_space
        dialect = database.dialect
        self._database = database
        self._queue = JobQueue.of(dialect)
        self._journal = Journal(dialect)
        self._audit = AuditEvents.of(dialect)
        self._events = EventRecorder(dialect, self._queue, new_id, enabled=webhook)
        self._blobs = BlobStatements.of(dialect)
        self._quota = QuotaLedger.of(dialect)
        self._clock = SqlClock(database, watch or ClockWatch())
        self._uploads = Uploads.compile(dialect, self._clock)
        compiled = partial(Statement, dialect=dialect)
        one = table.id == bindparam("id")
        self._task = compiled(
            select(
                *(table.organization_id, table.user_id, table.input_blob_key, table.input_bytes, table.input_sha256),
                *(table.output_lifetime, *BATCH_COLUMNS),
            ).where(one)
        )
        self._seq = compiled(select(table.seq).where(one))
        held = exists().where(jobs.c.id == int_param("job"), jobs.c.token == bindparam("token"))
        self._state = compiled(select(*STATE).where(one, held))
        self._start = compiled(
            update(batches)
            .where(one, table.status == BatchStatus.VALIDATING.value)
            .values(
                status=BatchStatus.IN_PROGRESS.value,
                in_progress_at=now(),
                total=int_param("number"),
                model=bindparam("new_model", type_=Text),
            )
        )
        finalizable = (BatchStatus.VALIDATING.value, BatchStatus.IN_PROGRESS.value)
        self._start_finalizing = compiled(
            update(batches)
            .where(one, or_(*(table.status == status for status in finalizable)))
            .values(status=BatchStatus.FINALIZING.value, finalizing_at=now())
        )
        self._set_pauses = compiled(
            update(batches).where(one).values(pauses=bindparam("new_pauses", type_=Text), **NEW_PARALLELISM)
        )
        self._compile_append(compiled)
        self._compile_end(compiled)

    def _compile_append(self, compiled: Callable[[Any], Statement]) -> None:
        one = table.id == bindparam("id")
        self._position = compiled(
            select(
                *(table.seq, table.project_id, table.organization_id, table.bytes_reserved),
                *(table.output_size, table.error_size),
            )
            .where(one)
            .with_for_update(key_share=True)
        )
        added = {
            column.name: column + int_param(f"more_{column.name}") for column in (*COUNT_COLUMNS[1:], *TOKEN_COLUMNS)
        }
        self._appended = compiled(
            update(batches)
            .where(one)
            .values(
                **added,
                output_size=int_param("new_output"),
                error_size=int_param("new_error"),
                bytes_reserved=int_param("new_reserved"),
                lines_per_second=func.coalesce(bindparam("rate", type_=Float), table.lines_per_second),
                **NEW_PARALLELISM,
            )
            .returning(*STATE)
        )

    def _compile_end(self, compiled: Callable[[Any], Statement]) -> None:
        one = table.id == bindparam("id")
        self._ending = compiled(
            select(
                *(table.status, table.project_id, table.organization_id, table.bytes_reserved),
                *(table.output_lifetime, table.input_blob_key),
            )
            .where(one)
            .with_for_update(key_share=True)
        )
        stamps: dict[str, Any] = {
            f"{status.value}_at": case((bindparam("end", type_=Text) == status.value, now()), else_=null())
            for status in TERMINAL
        }
        self._end = compiled(
            update(batches)
            .where(one)
            .values(
                **stamps,
                status=bindparam("end", type_=Text),
                errors=bindparam("new_errors", type_=Text),
                output_file_id=bindparam("output_file", type_=Text),
                error_file_id=bindparam("error_file", type_=Text),
                input_blob_key=null(),
                bytes_reserved=literal_column("0"),
                lines_per_second=null(),
                pauses=null(),
                lines_in_flight=null(),
                line_limit=null(),
                to_sweep=literal_column("1"),
            )
        )

    # --- begin and validation -------------------------------------------------------------------------------------

    async def begin(self, job: Job) -> BatchTask | None:
        """What to do; None if the batch has ended, and the job was removed."""

        def operation(connection: Connection) -> BatchTask | None:
            row = self._task(connection, id=job.subject).fetchone()
            if row is None:
                return None
            return BatchTask(to_batch(row[6:]), *(*row[:6], self._proven(connection)))

        task = await self._database.read(operation)
        if task is not None and task.batch.status not in TERMINAL:
            return task
        await self._database.write(lambda connection: self._queue.finish(connection, job))
        return None

    async def fail(self, job: Job, errors: Sequence[BatchError]) -> BatchStatus:
        """End a batch whose validation found faults."""
        return await self._database.write(
            lambda connection: self._finish(connection, job, BatchStatus.FAILED, errors=errors)
        )

    async def start(self, job: Job, validated: Validated) -> RunState:
        """Record a validation without faults."""
        return await self._change(job, self._start, number=validated.total, new_model=validated.model)

    async def start_finalizing(self, job: Job) -> RunState:
        """Set `finalizing`, unless the batch is being cancelled."""
        return await self._change(job, self._start_finalizing)

    async def _change(self, job: Job, statement: Statement, **values: object) -> RunState:
        def operation(connection: Connection) -> RunState:
            self._queue.require_held(connection, job)
            statement(connection, id=job.subject, **values)
            return self._read_state(connection, job)

        return await self._database.write(operation)

    def _read_state(self, connection: Connection, job: Job) -> RunState:
        row = self._state(connection, id=job.subject, job=job.id, token=job.token).fetchone()
        if row is None:
            raise JobLost
        return self._to_state(connection, row)

    def _to_state(self, connection: Connection, row: Sequence[Any]) -> RunState:
        status, expires_at = row
        return RunState(BatchStatus(status), expires_at, self._proven(connection))

    def _proven(self, connection: Connection) -> int:
        """The proven time in seconds, since the end of a window ends a batch for good."""
        return self._clock.proven_us(connection) // 1_000_000

    # --- results --------------------------------------------------------------------------------------------------

    async def append(
        self,
        job: Job,
        blocks: Sequence[ResultBlock],
        *,
        quota: Quota,
        lines_per_second: float | None = None,
        parallelism: Parallelism | None = None,
    ) -> RunState:
        """Append results to the journal, with the counts, and reserve their bytes."""
        if not blocks:
            return await self._database.read(lambda connection: self._read_state(connection, job))
        if self._require_free_space is not None:
            # Results must not take the reserve: without it, nothing could be deleted or cancelled to make room.
            self._require_free_space(JOURNAL_COPIES * sum(len(block.data) for block in blocks))

        def operation(connection: Connection) -> RunState:
            self._queue.record_progress(connection, job)
            row = self._position(connection, id=job.subject).fetchone()
            seq, project_id, organization_id, reserved, output, error = require_row(row)
            new = self._journal.new_blocks(connection, seq, blocks)
            sizes = {ResultKind.OUTPUT: output, ResultKind.ERROR: error}
            sizes = self._journal.append(connection, seq, sizes, new)
            missing = sum(sizes.values()) - reserved
            if missing > 0:
                reserved += self._reserve(connection, project_id, organization_id, missing, quota)
            state = self._appended(
                connection,
                id=job.subject,
                **_sums(new),
                new_output=sizes[ResultKind.OUTPUT],
                new_error=sizes[ResultKind.ERROR],
                new_reserved=reserved,
                rate=lines_per_second,
                **_bound(parallelism),
            ).fetchone()
            return self._to_state(connection, require_row(state))

        return await self._database.write(operation)

    async def set_pauses(self, job: Job, pauses: Sequence[Pause], parallelism: Parallelism | None = None) -> None:
        """Replace the pauses of the batch, and its parallelism unless that is None."""
        await self._change(job, self._set_pauses, new_pauses=encode_pauses(pauses), **_bound(parallelism))

    def _reserve(
        self, connection: Connection, project_id: str, organization_id: str, missing: int, quota: Quota
    ) -> int:
        """Reserve what is missing, and some more if that fits; returns how much. Raises `QuotaExceeded`."""
        ahead = missing + RESERVED_AHEAD
        if self._quota.charge(connection, project_id, organization_id, quota, reserve=ahead) is None:
            return ahead
        if exceeded := self._uploads.charge(connection, project_id, organization_id, quota, reserve=missing):
            raise exceeded
        return missing

    async def done_lines(self, batch_id: str) -> bytes:
        """The packed numbers of all lines that have a result."""
        return await self._read(batch_id, self._journal.lines, long=True)

    async def read_journal(self, batch_id: str, kind: ResultKind, start: int, limit: int) -> bytes:
        """Some bytes of the results."""
        return await self._read(
            batch_id, lambda connection, seq: self._journal.read(connection, seq, kind, start, limit)
        )

    async def _read(self, batch_id: str, read: Callable[[Connection, int], bytes], *, long: bool = False) -> bytes:
        def operation(connection: Connection) -> bytes:
            row = self._seq(connection, id=batch_id).fetchone()
            return b"" if row is None else read(connection, row[0])

        return await self._database.read(operation, long=long)

    # --- the end --------------------------------------------------------------------------------------------------

    async def begin_output(self, job: Job, blob_key: str, *, lease_seconds: int) -> None:
        """Record a pending blob for a file of results."""

        def operation(connection: Connection) -> None:
            self._queue.require_held(connection, job)
            lease_us = lease_seconds * 1_000_000
            self._blobs.add_pending(
                connection, key=blob_key, project_id=job.project_id, bytes_reserved=0, lease_us=lease_us
            )

        await self._database.write(operation)

    async def finish(self, job: Job, status: BatchStatus, files: Sequence[OutputFile]) -> BatchStatus:
        """Publish the files of results, set the final status, and end the job."""
        return await self._database.write(lambda connection: self._finish(connection, job, status, files))

    def _finish(
        self,
        connection: Connection,
        job: Job,
        status: BatchStatus,
        files: Sequence[OutputFile] = (),
        errors: Sequence[BatchError] = (),
    ) -> BatchStatus:
        self._queue.finish(connection, job)
        row = require_row(self._ending(connection, id=job.subject).fetchone())
        before, project_id, organization_id, reserved, lifetime, input_key = row
        if before == BatchStatus.CANCELLING:
            status, errors = BatchStatus.CANCELLED, ()
        ids = {file.kind: file.file_id for file in files}
        self._end(
            connection,
            id=job.subject,
            end=status.value,
            new_errors=encode_errors(errors) if errors else None,
            output_file=ids.get(ResultKind.OUTPUT),
            error_file=ids.get(ResultKind.ERROR),
        )
        for key in sorted({file.blob_key for file in files} | ({input_key} if input_key else set())):
            self._blobs.lock(connection, key=key)
        if input_key:
            self._blobs.restart_leases(connection, key=input_key)
        if reserved:
            self._quota.release(connection, project_id=project_id, used=0, reserved=reserved)
        for file in files:
            # Its bytes were within the quota when they were reserved.
            self._uploads.publish(connection, _completed(file, project_id, organization_id, lifetime), Quota())
        self._events.record(connection, project_id, job.subject, status)
        self._audit.record(connection, EventType(f"batch.{status.value}"), job.subject, project_id)
        return status

    async def delete_finished_journals(self, limit: int) -> int:
        """Delete blocks of journals whose batches have ended."""
        # Mostly there is nothing, and a read costs no sync.
        if not await self._database.read(self._journal.is_to_be_swept):
            return 0
        return await self._database.write(lambda connection: self._journal.sweep(connection, limit))


def _bound(parallelism: Parallelism | None) -> dict[str, int | None]:
    in_flight, limit = parallelism or (None, None)
    return {"new_lines_in_flight": in_flight, "new_line_limit": limit}


def _sums(blocks: Sequence[ResultBlock]) -> dict[str, int]:
    """What blocks add to the counts and tokens of their batch."""
    usage = TokenUsage(*map(sum, zip(*(block.usage for block in blocks), strict=True))) if blocks else TokenUsage()
    sums = {f"more_{column.name}": number for column, number in zip(TOKEN_COLUMNS, usage, strict=True)}
    sums["more_completed"] = sum(block.completed for block in blocks)
    sums["more_failed"] = sum(block.failed for block in blocks)
    return sums


def _completed(file: OutputFile, project_id: str, organization_id: str, lifetime: int) -> CompletedUpload:
    return CompletedUpload(
        id=file.file_id,
        blob_key=file.blob_key,
        project_id=project_id,
        organization_id=organization_id,
        filename=file.filename,
        purpose=OUTPUT_PURPOSE,
        bytes=file.bytes,
        sha256=file.sha256,
        expires_after_seconds=lifetime,
        status=FileStatus.PROCESSED,
        status_details=None,
    )
