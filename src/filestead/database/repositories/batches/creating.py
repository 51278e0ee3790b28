"""Creating a batch, within the caller's transaction: its input is pinned, its job added, the rate counted.

Rows are locked in this order: the input file, the project, the record of the attempt. So the batches of a project are
committed in the order of `created_at` and `seq`, and a page never gets an older one later.
"""

import json
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Dialect, bindparam, case, insert, literal_column, null, select, update

from filestead.database.engines.statements import Connection, Statement, int_param, now, now_us
from filestead.database.repositories.audit_events import AuditEvents
from filestead.database.repositories.batches.rows import BATCH_COLUMNS, in_project, table, to_batch
from filestead.database.repositories.files.limits import QuotaLedger
from filestead.database.repositories.files.rows import require_row, visible_in_project
from filestead.database.repositories.idempotency import IdempotencyRecords
from filestead.database.repositories.jobs import JobQueue
from filestead.database.tables import batches, files, projects
from filestead.domain import rate_limit
from filestead.domain.audit.events import EventType
from filestead.domain.batches.model import Batch, BatchStatus, NewBatch
from filestead.domain.errors import BatchKeyReused, BatchRateLimited
from filestead.domain.jobs import JobKind

INPUT_PURPOSE = "batch"
DEFAULT_LIFETIME_SECONDS = 30 * 86_400
"""Of the files of results, as in the batch guide of the hosted service."""

RATE_PERIOD = 3_600_000_000
"""One hour, in microseconds."""


class BatchRate:
    """The GCRA state of each project's rate of created batches."""

    def __init__(self, dialect: Dialect) -> None:
        project, stored = projects.c.id == bindparam("project_id"), projects.c.batch_arrival_us
        # An arrival more than a period ahead was stored before the clock was set back.
        ahead = stored.between(now_us() + 1, now_us() + RATE_PERIOD)
        arrival = case((ahead, stored), else_=now_us())
        self._count = Statement(
            update(projects)
            .where(project, arrival <= now_us() + int_param("ahead"))
            .values(batch_arrival_us=arrival + int_param("interval"))
            .returning(stored),
            dialect,
        )
        self._arrival = Statement(select(stored, now_us()).where(project), dialect)

    def count(self, connection: Connection, project_id: str, rate: int) -> None:
        """Count a batch; raises `BatchRateLimited` if it exceeds the rate. 0 means no limit."""
        if not rate:
            return
        interval = rate_limit.interval(rate, RATE_PERIOD)
        values = {"interval": interval, "ahead": RATE_PERIOD - interval}
        if self._count(connection, project_id=project_id, **values).fetchone() is None:
            arrival, now_ = require_row(self._arrival(connection, project_id=project_id).fetchone())
            raise BatchRateLimited(rate_limit.refused(rate, arrival, now_, period=RATE_PERIOD))


class Owner(NamedTuple):
    """Whose batch it is."""

    project_id: str
    organization_id: str
    user_id: str


class Creating:
    """Statements that create batches."""

    def __init__(self, dialect: Dialect, queue: JobQueue, records: IdempotencyRecords) -> None:
        compiled = partial(Statement, dialect=dialect)
        self._queue = queue
        self._records = records
        self._audit = AuditEvents.of(dialect)
        self._rate = BatchRate(dialect)
        self._quota = QuotaLedger.of(dialect)
        # The lock keeps the file from being deleted until the pin is committed.
        self._input = compiled(
            select(files.c.blob_key, files.c.bytes, files.c.sha256)
            .where(visible_in_project(), files.c.purpose == INPUT_PURPOSE)
            .with_for_update(read=True, key_share=True)
        )
        self._by_key = compiled(
            select(table.fingerprint, *BATCH_COLUMNS).where(
                table.project_id == bindparam("project_id"), table.idempotency_key == bindparam("key")
            )
        )
        self._by_id = compiled(select(*BATCH_COLUMNS).where(in_project()))
        # Read once, so that `expires_at` is exactly one window after `created_at`, with which the id begins.
        self._now = compiled(select(null(), now()))
        texts = (
            *("id", "project_id", "organization_id", "user_id", "endpoint", "completion_window", "status", "metadata"),
            *("input_file_id", "input_blob_key", "input_sha256", "idempotency_key", "fingerprint", "retry_of"),
        )
        numbers = ("input_bytes", "output_lifetime", "created_at", "expires_at")
        values: dict[str, Any] = {name: bindparam(name) for name in texts}
        values |= {name: int_param(name) for name in numbers}
        self._insert = compiled(insert(batches).values(**values, total=literal_column("0")).returning(*BATCH_COLUMNS))

    def create(self, connection: Connection, owner: Owner, new: NewBatch, *, rate: int) -> Batch:
        """Create a batch. See `BatchRepository.create`."""
        project_id = owner.project_id
        found = self._input(connection, id=new.input_file_id, project_id=project_id).fetchone()
        self._quota.lock_project(connection, project_id=project_id)
        if (earlier := self._earlier(connection, project_id, new)) is not None:
            return earlier
        self._rate.count(connection, project_id, rate)
        blob_key, size, sha256 = found or (None, 0, "")
        _, created_at = require_row(self._now(connection).fetchone())
        batch_id = f"batch_{created_at:08x}{new.random}"
        row = self._insert(
            connection,
            id=batch_id,
            project_id=project_id,
            organization_id=owner.organization_id,
            user_id=owner.user_id,
            endpoint=new.endpoint,
            completion_window=new.completion_window,
            status=BatchStatus.VALIDATING.value,
            metadata=None if new.metadata is None else json.dumps(dict(new.metadata), ensure_ascii=False),
            input_file_id=new.input_file_id,
            input_blob_key=blob_key,
            input_bytes=size,
            input_sha256=sha256,
            output_lifetime=new.output_expires_after_seconds or DEFAULT_LIFETIME_SECONDS,
            created_at=created_at,
            expires_at=created_at + new.window_seconds,
            idempotency_key=new.idempotency_key,
            fingerprint=new.fingerprint,
            retry_of=new.retry_of,
        ).fetchone()
        self._queue.add(connection, JobKind.BATCH, batch_id, project_id)
        about = {"endpoint": new.endpoint, "input_file_id": new.input_file_id}
        self._audit.record(connection, EventType.BATCH_CREATED, batch_id, project_id, **about)
        if new.retry is not None:
            self._records.save_latest(connection, project_id, [(new.retry.record, batch_id)])
        return to_batch(require_row(row))

    def _earlier(self, connection: Connection, project_id: str, new: NewBatch) -> Batch | None:
        """The batch that this idempotency key, or an earlier attempt, has created."""
        if new.idempotency_key is not None:
            return self.find_by_key(connection, project_id, new.idempotency_key, new.fingerprint)
        if new.retry is None or not new.retry.is_retry:
            return None
        record = self._records.get(connection, project_id, new.retry.record.key)
        if record is None:
            return None
        row = self._by_id(connection, id=record[1], project_id=project_id).fetchone()
        return None if row is None else to_batch(row)

    def find_by_key(self, connection: Connection, project_id: str, key: str, fingerprint: str | None) -> Batch | None:
        """The batch that was created with an idempotency key. Raises `BatchKeyReused` if the request was another."""
        row = self._by_key(connection, project_id=project_id, key=key).fetchone()
        if row is None:
            return None
        found, *columns = row
        batch = to_batch(columns)
        if found != fingerprint:
            raise BatchKeyReused(batch.id)
        return batch
