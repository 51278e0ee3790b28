"""The queue of durable jobs: `JobRepository` in SQL.

Other repositories use `JobQueue` to add a job in the transaction of its cause, and remove it in that of its effect.
"""

import contextlib
from collections.abc import Iterable, Sequence
from functools import partial

from sqlalchemy import Dialect, and_, bindparam, delete, exists, func, null, select, update
from sqlalchemy.dialects import postgresql, sqlite

from filestead.database.engines.statements import (
    Connection,
    Database,
    Statement,
    int_param,
    json_array,
    now_us,
    text_array_param,
)
from filestead.database.tables import job_turns, jobs, projects
from filestead.domain.errors import JobLost
from filestead.domain.jobs import DeadJob, Job, JobKind

MAX_ERROR_CHARACTERS = 2_000


class JobQueue:
    """Statements on jobs, for use within a transaction of another repository."""

    def __init__(self, dialect: Dialect) -> None:
        on_conflict = (sqlite.insert if dialect.name == "sqlite" else postgresql.insert)(jobs)
        self._add = Statement(
            on_conflict.values(
                kind=bindparam("kind"),
                subject=bindparam("subject"),
                project_id=bindparam("project_id"),
                due_us=now_us(),
                created_us=now_us(),
            ).on_conflict_do_nothing(index_elements=["kind", "subject"]),
            dialect,
        )
        held = and_(jobs.c.id == int_param("id"), jobs.c.token == bindparam("token"))
        self._finish = Statement(delete(jobs).where(held), dialect)
        self._bury = Statement(
            update(jobs).where(held).values(token=null(), due_us=null(), died_us=now_us(), error=bindparam("error")),
            dialect,
        )
        self._held = Statement(select(jobs.c.id).where(held).with_for_update(), dialect)
        self._remove = Statement(
            delete(jobs).where(jobs.c.kind == bindparam("kind"), jobs.c.subject.in_(text_array_param("subjects"))),
            dialect,
        )

    def add(self, connection: Connection, kind: JobKind, subject: str, project_id: str) -> None:
        """Add a job that is due now, unless there is one for the subject."""
        self._add(connection, kind=kind.value, subject=subject, project_id=project_id)

    def finish(self, connection: Connection, job: Job) -> None:
        """Remove a job whose effect this transaction commits. Raises `JobLost` if its lease was lost."""
        if not self._finish(connection, id=job.id, token=job.token).rowcount:
            raise JobLost

    def bury(self, connection: Connection, job: Job, error: str) -> None:
        """Move the job to the dead letters. Raises `JobLost` if its lease was lost."""
        if not self._bury(connection, id=job.id, token=job.token, error=error[:MAX_ERROR_CHARACTERS]).rowcount:
            raise JobLost

    def require_held(self, connection: Connection, job: Job) -> None:
        """Raise `JobLost` unless the claim is still valid; it stays so until the end of the transaction."""
        if self._held(connection, id=job.id, token=job.token).fetchone() is None:
            raise JobLost

    def remove(self, connection: Connection, kind: JobKind, subjects: Iterable[str]) -> None:
        """Remove jobs that are not needed any more, whoever holds them."""
        self._remove(connection, kind=kind.value, subjects=json_array(subjects))


class SqlJobRepository:
    """See `JobRepository` for the contract."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = database.dialect
        self._queue = JobQueue(dialect)
        compiled = partial(Statement, dialect=dialect)
        due = jobs.c.due_us <= now_us()
        kinds = jobs.c.kind.in_(text_array_param("kinds"))
        held = and_(jobs.c.id == int_param("id"), jobs.c.token == bindparam("token"))
        served = select(job_turns.c.served_us).where(job_turns.c.project_id == projects.c.id)
        self._turns = compiled(
            select(projects.c.id)
            .where(exists().where(jobs.c.project_id == projects.c.id, due, kinds))
            .order_by(func.coalesce(served.scalar_subquery(), 0), projects.c.id)
            .limit(int_param("limit"))
        )
        next_job = (
            select(jobs.c.id)
            .where(jobs.c.project_id == bindparam("project_id"), due, kinds)
            .order_by(jobs.c.due_us, jobs.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        self._claim = compiled(
            update(jobs)
            .where(jobs.c.id.in_(next_job))
            .values(attempts=jobs.c.attempts + 1, token=bindparam("new_token"), due_us=now_us() + int_param("lease_us"))
            .returning(jobs.c.id, jobs.c.kind, jobs.c.subject, jobs.c.project_id, jobs.c.attempts, jobs.c.token)
        )
        turn = (sqlite.insert if dialect.name == "sqlite" else postgresql.insert)(job_turns)
        self._serve = compiled(
            turn.values(project_id=bindparam("project_id"), served_us=now_us()).on_conflict_do_update(
                index_elements=["project_id"], set_={"served_us": turn.excluded.served_us}
            )
        )
        self._renew = compiled(update(jobs).where(held).values(due_us=now_us() + int_param("lease_us")))
        self._retry = compiled(
            update(jobs)
            .where(held)
            .values(token=null(), due_us=now_us() + int_param("delay_us"), error=bindparam("error"))
        )
        self._bury = compiled(
            update(jobs).where(held).values(token=null(), due_us=null(), died_us=now_us(), error=bindparam("error"))
        )
        self._finish = compiled(delete(jobs).where(held))
        self._release = compiled(
            update(jobs).where(held).values(token=null(), due_us=now_us(), attempts=jobs.c.attempts - 1)
        )
        leased = and_(jobs.c.token.is_not(None), jobs.c.due_us.is_not(None))
        self._release_all = compiled(update(jobs).where(leased).values(token=null(), due_us=now_us()))
        self._dead = compiled(
            select(
                jobs.c.id,
                jobs.c.kind,
                jobs.c.subject,
                jobs.c.project_id,
                jobs.c.attempts,
                jobs.c.error,
                jobs.c.died_us // 1_000_000,
            )
            .where(jobs.c.died_us.is_not(None))
            .order_by(jobs.c.died_us.desc(), jobs.c.id.desc())
            .limit(int_param("limit"))
        )

    async def claim(self, kinds: Sequence[JobKind], *, token: str, lease_seconds: int, limit: int) -> list[Job]:
        """Claim jobs; projects take turns."""

        def operation(connection: Connection) -> list[Job]:
            claimed: list[Job] = []
            wanted = json_array(kinds)
            while len(claimed) < limit:
                turns = self._turns(connection, kinds=wanted, limit=limit - len(claimed)).fetchall()
                before = len(claimed)
                for (project_id,) in turns:
                    row = self._claim(
                        connection,
                        project_id=project_id,
                        kinds=wanted,
                        new_token=f"{token}:{len(claimed)}",
                        lease_us=lease_seconds * 1_000_000,
                    ).fetchone()
                    if row is not None:
                        self._serve(connection, project_id=project_id)
                        claimed.append(Job(row[0], JobKind(row[1]), *row[2:]))
                if len(claimed) == before:
                    break
            return claimed

        # Idle workers poll: a read costs no sync and takes no lock.
        if not await self._database.read(
            lambda connection: self._turns(connection, kinds=json_array(kinds), limit=1).fetchall()
        ):
            return []
        return await self._database.write(operation)

    async def renew(self, jobs: Sequence[Job], *, lease_seconds: int) -> set[int]:
        """Extend the leases of the jobs that are still held."""

        def operation(connection: Connection) -> set[int]:
            return {
                job.id
                for job in sorted(jobs, key=lambda job: job.id)
                if self._renew(connection, id=job.id, token=job.token, lease_us=lease_seconds * 1_000_000).rowcount
            }

        return await self._database.write(operation)

    async def retry(self, job: Job, error: str, *, delay_seconds: float) -> None:
        """End this attempt; the job is due again after the delay."""
        values = {"id": job.id, "token": job.token, "error": error[:MAX_ERROR_CHARACTERS]}
        delay_us = int(delay_seconds * 1e6)
        await self._database.write(lambda connection: self._retry(connection, delay_us=delay_us, **values).rowcount)

    async def bury(self, job: Job, error: str) -> None:
        """Move the job to the dead letters."""
        with contextlib.suppress(JobLost):
            await self._database.write(lambda connection: self._queue.bury(connection, job, error))

    async def finish(self, job: Job) -> None:
        """Remove a job that has no effect to commit."""
        await self._database.write(lambda connection: self._finish(connection, id=job.id, token=job.token).rowcount)

    async def release(self, jobs: Sequence[Job]) -> None:
        """Give claimed jobs back."""

        def operation(connection: Connection) -> None:
            for job in sorted(jobs, key=lambda job: job.id):
                self._release(connection, id=job.id, token=job.token)

        await self._database.write(operation)

    async def release_leases(self) -> int:
        """End every lease."""
        return await self._database.write(lambda connection: self._release_all(connection).rowcount)

    async def dead(self, limit: int) -> list[DeadJob]:
        """The latest dead letters."""
        rows = await self._database.read(lambda connection: self._dead(connection, limit=limit).fetchall())
        return [DeadJob(*row) for row in rows]
