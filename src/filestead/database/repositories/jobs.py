"""The queue of durable jobs: `JobRepository` in SQL.

Other repositories use `JobQueue` to add a job in the transaction of its cause, and remove it in that of its effect.
"""

import contextlib
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Dialect,
    and_,
    bindparam,
    delete,
    exists,
    false,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    update,
)

from filestead.database.engines.statements import (
    Connection,
    Database,
    Statement,
    StatementSet,
    dialect_insert,
    int_param,
    json_array,
    now_us,
    text_array_param,
)
from filestead.database.tables import job_turns, jobs
from filestead.domain.errors import JobLost
from filestead.domain.jobs import URGENT, DeadJob, Job, JobKind

MAX_ERROR_CHARACTERS = 2_000

PROJECTS_PER_CLAIM = 64

REVIVE_SECONDS = 3_600
"""How long a dead letter keeps a new job for its subject from being added."""


class JobQueue(StatementSet):
    """Statements on jobs, for use within a transaction of another repository."""

    def __init__(self, dialect: Dialect) -> None:
        self._add = Statement(_insert_or_revive(dialect, now_us()), dialect)
        self._add_urgent = Statement(_insert_or_revive(dialect, literal_column("0")), dialect)
        held = and_(jobs.c.id == int_param("id"), jobs.c.token == bindparam("token"))
        self._finish = Statement(delete(jobs).where(held), dialect)
        self._bury = Statement(
            update(jobs).where(held).values(token=null(), due_us=null(), died_us=now_us(), error=bindparam("error")),
            dialect,
        )
        self._held = Statement(select(jobs.c.id).where(held).with_for_update(), dialect)
        self._progress = Statement(update(jobs).where(held).values(attempts=literal_column("1")), dialect)
        self._wake = Statement(
            update(jobs)
            .where(
                jobs.c.kind == bindparam("kind"),
                jobs.c.subject == bindparam("subject"),
                jobs.c.project_id == bindparam("project_id"),
                jobs.c.token.is_(None),
                jobs.c.due_us > now_us(),
            )
            .values(due_us=now_us()),
            dialect,
        )
        self._remove = Statement(
            delete(jobs).where(jobs.c.kind == bindparam("kind"), jobs.c.subject.in_(text_array_param("subjects"))),
            dialect,
        )

    def add(self, connection: Connection, kind: JobKind, subject: str, project_id: str) -> None:
        """Add a job that is due now, unless there is one for the subject; a dead letter is one for a while."""
        add = self._add_urgent if kind in URGENT else self._add
        add(connection, kind=kind.value, subject=subject, project_id=project_id)

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

    def record_progress(self, connection: Connection, job: Job) -> None:
        """Count the attempts anew from this one, since it gets ahead. Raises `JobLost` if its lease was lost."""
        if not self._progress(connection, id=job.id, token=job.token).rowcount:
            raise JobLost

    def wake(self, connection: Connection, kind: JobKind, subject: str, project_id: str) -> None:
        """Make a job due that waits for its next attempt. Without effect on one that a worker holds."""
        self._wake(connection, kind=kind.value, subject=subject, project_id=project_id)

    def remove(self, connection: Connection, kind: JobKind, subjects: Iterable[str]) -> None:
        """Remove jobs that are not needed any more, whoever holds them."""
        self._remove(connection, kind=kind.value, subjects=json_array(subjects))


class _ClaimStatements:
    """Statements that find and claim jobs of some kinds."""

    def __init__(self, dialect: Dialect, kinds: Sequence[JobKind]) -> None:
        waiting = jobs.alias("waiting")
        due = and_(
            waiting.c.due_us <= now_us(), or_(false(), *(waiting.c.kind == literal(kind.value) for kind in kinds))
        )
        # From project to project by the index, past the jobs of each: there may be very many.
        first = select(func.min(jobs.c.project_id).label("project_id")).cte("holders", recursive=True)
        later = select(func.min(jobs.c.project_id)).where(jobs.c.project_id > first.c.project_id).scalar_subquery()
        holders = first.union_all(select(later).where(first.c.project_id.is_not(None)))
        served = func.coalesce(job_turns.c.served_us, 0)
        self.waiting = Statement(
            select(holders.c.project_id, served)
            .join(job_turns, job_turns.c.project_id == holders.c.project_id, isouter=True)
            .where(
                exists().where(waiting.c.project_id == holders.c.project_id, due),
                holders.c.project_id.not_in(text_array_param("excluded")),
            )
            .order_by(served, holders.c.project_id)
            .limit(int_param("limit")),
            dialect,
        )
        oldest = (
            select(waiting.c.id)
            .where(waiting.c.project_id == bindparam("project_id"), due)
            .order_by(waiting.c.due_us, waiting.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        self.claim = Statement(
            update(jobs)
            .where(jobs.c.id == oldest.scalar_subquery())
            .values(attempts=jobs.c.attempts + 1, token=bindparam("new_token"), due_us=now_us() + int_param("lease_us"))
            .returning(jobs.c.id, jobs.c.kind, jobs.c.subject, jobs.c.project_id, jobs.c.attempts, jobs.c.token),
            dialect,
        )


def _insert_or_revive(dialect: Dialect, due_us: ColumnElement[int]) -> Any:
    """Insert a job, or try a dead one again. Waits for a transaction that is finishing a job of the subject."""
    new = dialect_insert(jobs, dialect).values(
        kind=bindparam("kind"),
        subject=bindparam("subject"),
        project_id=bindparam("project_id"),
        due_us=due_us,
        created_us=now_us(),
    )
    columns = {"due_us": new.excluded.due_us, "died_us": null(), "error": null(), "attempts": literal_column("0")}
    return new.on_conflict_do_update(
        index_elements=["kind", "subject"],
        set_=columns,
        where=jobs.c.died_us <= now_us() - literal_column(str(REVIVE_SECONDS * 1_000_000)),
    )


class SqlJobRepository:
    """See `JobRepository` for the contract."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = database.dialect
        self._queue = JobQueue.of(dialect)
        compiled = partial(Statement, dialect=dialect)
        held = and_(jobs.c.id == int_param("id"), jobs.c.token == bindparam("token"))
        self._claims: dict[tuple[JobKind, ...], _ClaimStatements] = {}
        self._now = compiled(select(null(), now_us()))
        turn = dialect_insert(job_turns, dialect)
        self._serve = compiled(
            turn.values(project_id=bindparam("project_id"), served_us=int_param("served_us")).on_conflict_do_update(
                index_elements=["project_id"], set_={"served_us": turn.excluded.served_us}
            )
        )
        self._renew = compiled(update(jobs).where(held).values(due_us=now_us() + int_param("lease_us")))
        self._retry = compiled(
            update(jobs)
            .where(held)
            .values(
                token=null(),
                due_us=now_us() + int_param("delay_us"),
                error=bindparam("error"),
                attempts=jobs.c.attempts - int_param("uncounted"),
            )
        )
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

    async def claim(
        self,
        kinds: Sequence[JobKind],
        *,
        token: str,
        lease_seconds: int,
        limit: int,
        exclude_projects: Collection[str] = (),
    ) -> list[Job]:
        """Claim jobs; projects take turns."""
        statements = self._claim_statements(kinds)
        excluded = json_array(exclude_projects)

        def operation(connection: Connection) -> list[Job]:
            waiting = statements.waiting(connection, limit=max(limit, PROJECTS_PER_CLAIM), excluded=excluded).fetchall()
            turns = deque(project_id for project_id, _ in waiting)
            claimed: list[Job] = []
            last: dict[str, int] = {}
            while turns and len(claimed) < limit:
                project_id = turns.popleft()
                row = statements.claim(
                    connection,
                    project_id=project_id,
                    new_token=f"{token}:{len(claimed)}",
                    lease_us=lease_seconds * 1_000_000,
                ).fetchone()
                if row is not None:
                    claimed.append(Job(row[0], JobKind(row[1]), *row[2:]))
                    last[project_id] = len(claimed)
                    turns.append(project_id)
            # Later than the turn of any project that waits, also if the clock has been set back.
            start = max(served for _, served in [*self._now(connection).fetchall(), *waiting])
            for project_id, position in sorted(last.items()):
                self._serve(connection, project_id=project_id, served_us=start + position)
            return claimed

        # Idle workers poll: a read costs no sync and takes no lock.
        if not await self._database.read(
            lambda connection: statements.waiting(connection, limit=1, excluded=excluded).fetchall()
        ):
            return []
        return await self._database.write(operation)

    def _claim_statements(self, kinds: Sequence[JobKind]) -> "_ClaimStatements":
        key = tuple(sorted(set(kinds)))
        if key not in self._claims:
            self._claims[key] = _ClaimStatements(self._database.dialect, key)
        return self._claims[key]

    async def renew(self, jobs: Sequence[Job], *, lease_seconds: int) -> set[int]:
        """Extend the leases of the jobs that are still held."""
        # Each in a transaction of its own: effects that are being committed lock jobs, too, in an order of their own.
        values = {"lease_us": lease_seconds * 1_000_000}
        return {job.id for job in jobs if await self._change(self._renew, job, **values)}

    async def retry(self, job: Job, error: str, *, delay_seconds: float, counted: bool = True) -> None:
        """End this attempt; the job is due again after the delay."""
        text, delay_us = error[:MAX_ERROR_CHARACTERS], int(delay_seconds * 1e6)
        await self._change(self._retry, job, delay_us=delay_us, error=text, uncounted=int(not counted))

    async def bury(self, job: Job, error: str) -> None:
        """Move the job to the dead letters."""
        with contextlib.suppress(JobLost):
            await self._database.write(lambda connection: self._queue.bury(connection, job, error))

    async def finish(self, job: Job) -> None:
        """Remove a job that has no effect to commit."""
        with contextlib.suppress(JobLost):
            await self._database.write(lambda connection: self._queue.finish(connection, job))

    async def release(self, jobs: Sequence[Job]) -> None:
        """Give claimed jobs back."""
        for job in jobs:
            await self._change(self._release, job)

    async def _change(self, statement: Statement, job: Job, **values: object) -> bool:
        """Run a statement on a job; False if its lease was lost."""

        def operation(connection: Connection) -> bool:
            return bool(statement(connection, id=job.id, token=job.token, **values).rowcount)

        return await self._database.write(operation)

    async def release_leases(self) -> int:
        """End every lease."""
        return await self._database.write(lambda connection: self._release_all(connection).rowcount)

    async def dead(self, limit: int) -> list[DeadJob]:
        """The latest dead letters."""
        rows = await self._database.read(lambda connection: self._dead(connection, limit=limit).fetchall())
        return [DeadJob(*row) for row in rows]
