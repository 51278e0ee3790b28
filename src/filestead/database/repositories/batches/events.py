"""Events for the webhook: recorded with the end of a batch, and deleted when they were delivered."""

from collections.abc import Callable
from functools import partial

from sqlalchemy import Dialect, bindparam, delete, insert, select

from filestead.database.engines.statements import Connection, Database, Statement, now
from filestead.database.repositories.jobs import JobQueue
from filestead.database.tables import webhook_events
from filestead.domain.batches.model import BatchStatus, WebhookEvent
from filestead.domain.jobs import Job, JobKind

table = webhook_events.c


class EventRecorder:
    """Records events, if there is a webhook."""

    def __init__(self, dialect: Dialect, queue: JobQueue, new_id: Callable[[str], str], *, enabled: bool) -> None:
        """`new_id` makes an id with a prefix."""
        self._queue = queue
        self._new_id = new_id
        self._enabled = enabled
        self._insert = Statement(
            insert(webhook_events).values(
                **{name: bindparam(name) for name in ("id", "project_id", "type", "subject")}, created_at=now()
            ),
            dialect,
        )

    def record(self, connection: Connection, project_id: str, batch_id: str, status: BatchStatus) -> None:
        """Record that a batch has ended, and add the job that delivers it."""
        if self._enabled:
            event_id = self._new_id("evt_")
            self._insert(connection, id=event_id, project_id=project_id, type=f"batch.{status.value}", subject=batch_id)
            self._queue.add(connection, JobKind.WEBHOOK, event_id, project_id)


class SqlWebhookEventRepository:
    """See `WebhookEventRepository` for the contract."""

    def __init__(self, database: Database) -> None:
        compiled = partial(Statement, dialect=database.dialect)
        self._database = database
        self._queue = JobQueue.of(database.dialect)
        one = table.id == bindparam("id")
        self._get = compiled(select(table.id, table.type, table.subject, table.created_at).where(one))
        self._delete = compiled(delete(webhook_events).where(one))

    async def get(self, job: Job) -> WebhookEvent | None:
        """The event to deliver."""
        row = await self._database.read(lambda connection: self._get(connection, id=job.subject).fetchone())
        return None if row is None else WebhookEvent(*row)

    async def finish(self, job: Job) -> None:
        """Delete an event that was delivered, with its job."""

        def operation(connection: Connection) -> None:
            self._queue.finish(connection, job)
            self._delete(connection, id=job.subject)

        await self._database.write(operation)

    async def give_up(self, job: Job, error: str) -> None:
        """Delete an event that cannot be delivered; its job goes to the dead letters."""

        def operation(connection: Connection) -> None:
            self._queue.bury(connection, job, error)
            self._delete(connection, id=job.subject)

        await self._database.write(operation)
