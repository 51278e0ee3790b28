"""`FiguresRepository` in SQL: sums and bounded counts over rows of the whole installation."""

from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Dialect, Select, and_, case, func, select

from filestead.database.engines.statements import Connection, Database, Statement, int_param, now, now_us
from filestead.database.tables import batches, blobs, files, jobs, projects, uploads
from filestead.domain.figures import MAX_COUNTED, MAX_PROJECTS, Figures, ProjectUsage, UnfinishedBatches, Waiting

OTHER = "other"


class SqlFigures:
    """The figures of an installation, read in a few statements."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statements = _Statements(database.dialect)

    async def read(self) -> Figures:
        """Read them."""
        return await self._database.read(self._read, long=True)

    def _read(self, connection: Connection) -> Figures:
        statements = self._statements
        named = [ProjectUsage(*row) for row in statements.largest_projects(connection, limit=MAX_PROJECTS).fetchall()]
        all_used, all_reserved = map(int, statements.all_projects(connection).fetchall()[0])
        rest = ProjectUsage(
            OTHER,
            max(0, all_used - sum(each.used for each in named)),
            max(0, all_reserved - sum(each.reserved for each in named)),
        )
        sweep = [
            Waiting(kind, "due", count, max(0.0, (oldest or 0) / 1e6))
            for kind, statement in (("blobs", statements.blobs), ("files", statements.files))
            for count, oldest in statement(connection, limit=MAX_COUNTED).fetchall()
        ]
        found = statements.jobs(connection, limit=MAX_COUNTED).fetchall()
        waiting = [Waiting(kind, state, count, max(0.0, oldest / 1e6)) for kind, state, count, oldest in found]
        unfinished = [
            UnfinishedBatches(status, count, max(0.0, float(oldest)), int(left), *times)
            for status, count, oldest, left, *times in statements.batches(connection, limit=MAX_COUNTED).fetchall()
        ]
        pending = statements.uploads(connection, limit=MAX_COUNTED).fetchall()[0][0]
        return Figures([*named, rest], sweep, waiting, unfinished, pending)


class _Statements:
    """Bounded by their indexes.

    These are `blobs_by_lease`, `files_by_expiry`, `batches_by_pin`, `uploads_pending`, and the primary keys of
    `projects` and `jobs`.
    """

    def __init__(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        used = projects.c.bytes_used
        self.largest_projects = compiled(
            select(projects.c.id, used, projects.c.bytes_reserved)
            .order_by((used + projects.c.bytes_reserved).desc(), projects.c.id)
            .limit(int_param("limit"))
        )
        self.all_projects = compiled(
            select(func.coalesce(func.sum(used), 0), func.coalesce(func.sum(projects.c.bytes_reserved), 0))
        )
        lease = blobs.c.lease_until_us
        # A lease of 0 was ended by a restart: it says nothing about the age.
        self.blobs = compiled(
            _count_and_age(select(case((lease > 0, lease)).label("since_us")).where(lease <= now_us()), lease)
        )
        end = files.c.expires_at
        self.files = compiled(_count_and_age(select((end * 1_000_000).label("since_us")).where(end <= now()), end))
        self.jobs = compiled(_jobs_by_state())
        self.batches = compiled(_batches_by_status())
        pending = select(uploads.c.id).where(uploads.c.status == "pending").limit(int_param("limit")).subquery()
        self.uploads = compiled(select(func.count()).select_from(pending))


def _count_and_age(rows: Select[Any], order: ColumnElement[Any]) -> Select[Any]:
    """The number of rows up to the limit, and microseconds since the first."""
    bounded = rows.order_by(order).limit(int_param("limit")).subquery()
    columns: list[Any] = [func.count(), now_us() - func.min(bounded.c.since_us)]
    return select(*columns).select_from(bounded)


def _jobs_by_state() -> Select[Any]:
    """By kind and state: their number, and microseconds since the oldest was created, or died."""
    state = case(
        (jobs.c.died_us.is_not(None), "dead"),
        (and_(jobs.c.token.is_not(None), jobs.c.due_us > now_us()), "running"),
        (jobs.c.due_us > now_us(), "delayed"),
        else_="due",
    )
    bounded = (
        select(jobs.c.kind, state.label("state"), func.coalesce(jobs.c.died_us, jobs.c.created_us).label("since_us"))
        .order_by(jobs.c.id)
        .limit(int_param("limit"))
        .subquery()
    )
    age = now_us() - func.min(bounded.c.since_us)
    columns: list[Any] = [bounded.c.kind, bounded.c.state, func.count(), age]
    return select(*columns).group_by(bounded.c.kind, bounded.c.state)


def _batches_by_status() -> Select[Any]:
    """The columns of `UnfinishedBatches`. Only a batch that has not ended pins its input."""
    since = case(
        (batches.c.status == "validating", batches.c.created_at),
        (batches.c.status == "in_progress", batches.c.in_progress_at),
        (batches.c.status == "finalizing", batches.c.finalizing_at),
        else_=batches.c.cancelling_at,
    )
    left = batches.c.total - batches.c.completed - batches.c.failed
    bounded = (
        select(
            *(batches.c.status, since.label("since"), left.label("lines_left"), batches.c.expires_at),
            (left / func.nullif(batches.c.lines_per_second, 0.0)).label("remaining"),
        )
        .where(batches.c.input_blob_key.is_not(None))
        .order_by(batches.c.input_blob_key)
        .limit(int_param("limit"))
        .subquery()
    )
    columns: list[Any] = [
        *(bounded.c.status, func.count(), now() - func.min(bounded.c.since), func.sum(bounded.c.lines_left)),
        func.min(bounded.c.expires_at) - now(),
        func.max(bounded.c.remaining),
        func.min(bounded.c.expires_at - now() - bounded.c.remaining),
    ]
    return select(*columns).group_by(bounded.c.status)
