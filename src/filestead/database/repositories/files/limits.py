"""What users and projects have consumed: the rate of uploads, and the bytes used and reserved."""

from collections import Counter
from functools import partial
from typing import Any

from sqlalchemy import Dialect, bindparam, case, func, or_, select, update

from filestead.database.engines.statements import Connection, RowLock, Statement, StatementSet, int_param, now_us
from filestead.database.repositories.files.rows import require_row
from filestead.database.tables import organizations, projects, users
from filestead.domain import rate_limit
from filestead.domain.errors import QuotaExceeded, RateLimited
from filestead.domain.quota import Quota
from filestead.domain.rate_limit import RateDecision

_NO_QUOTA = 1 << 62


class UploadRate(StatementSet):
    """The GCRA state of each user's upload rate."""

    def __init__(self, dialect: Dialect) -> None:
        user = users.c.id == bindparam("user_id")
        # An arrival more than a period ahead was stored before the clock was set back.
        ahead = users.c.upload_arrival_us.between(now_us() + 1, now_us() + rate_limit.PERIOD)
        arrival = case((ahead, users.c.upload_arrival_us), else_=now_us())
        count = (
            update(users)
            .where(user, arrival <= now_us() + int_param("ahead"))
            .values(upload_arrival_us=arrival + int_param("interval"))
            .returning(users.c.upload_arrival_us, now_us())
        )
        self._count = Statement(count, dialect)
        self._arrival = Statement(select(users.c.upload_arrival_us, now_us()).where(user), dialect)

    def count(self, connection: Connection, user_id: str, rate: int) -> RateDecision:
        """Count an upload; raises `RateLimited` if it exceeds the rate."""
        if not rate:
            return rate_limit.UNLIMITED
        interval = rate_limit.interval(rate)
        ahead = rate_limit.PERIOD - interval
        row = self._count(connection, user_id=user_id, interval=interval, ahead=ahead).fetchone()
        if row is not None:
            return rate_limit.allowed(rate, row[0], row[1])
        arrival, now = require_row(self._arrival(connection, user_id=user_id).fetchone())
        raise RateLimited(rate_limit.refused(rate, arrival, now))

    def count_many(self, connection: Connection, user_id: str, rate: int, uploads: int) -> list[RateDecision]:
        """Count several uploads of a user; raises `RateLimited` if not all are within the rate."""
        if not rate:
            return [rate_limit.UNLIMITED] * uploads
        interval = rate_limit.interval(rate)
        ahead = rate_limit.PERIOD - uploads * interval
        row = self._count(connection, user_id=user_id, interval=uploads * interval, ahead=ahead).fetchone()
        if row is None:
            arrival, now = require_row(self._arrival(connection, user_id=user_id).fetchone())
            raise RateLimited(rate_limit.refused(rate, arrival, now))
        last, now = row
        return [rate_limit.allowed(rate, last - later * interval, now) for later in reversed(range(uploads))]

    def decision(self, connection: Connection, user_id: str, rate: int) -> RateDecision:
        """The decision on an upload that was counted before, as it is now."""
        if not rate:
            return rate_limit.UNLIMITED
        arrival, now = require_row(self._arrival(connection, user_id=user_id).fetchone())
        return rate_limit.allowed(rate, arrival, now)


class QuotaLedger(StatementSet):
    """The bytes used and reserved by each project."""

    def __init__(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        project = projects.c.id == bindparam("project_id")
        organization: Any = bindparam("organization_id")
        charged = projects.c.bytes_used + projects.c.bytes_reserved
        needed, settle = int_param("needed"), int_param("settle")
        self.lock_project = RowLock(select(projects.c.id).where(project), dialect)
        self.lock_organization = RowLock(select(organizations.c.id).where(organizations.c.id == organization), dialect)
        self._charge_project = compiled(
            update(projects)
            .where(project, or_(needed == 0, charged + needed - settle <= int_param("quota")))
            .values(
                bytes_used=projects.c.bytes_used + int_param("use"),
                bytes_reserved=projects.c.bytes_reserved + int_param("reserve") - settle,
            )
        )
        self._organization_bytes = compiled(
            select(func.coalesce(func.sum(charged), 0)).where(projects.c.organization_id == organization)
        )
        self.release = compiled(
            update(projects)
            .where(project)
            .values(
                bytes_used=projects.c.bytes_used - int_param("used"),
                bytes_reserved=projects.c.bytes_reserved - int_param("reserved"),
            )
        )

    def charge(
        self,
        connection: Connection,
        project_id: str,
        organization_id: str,
        quota: Quota,
        *,
        use: int = 0,
        reserve: int = 0,
        settle: int = 0,
        needed: int = 0,
    ) -> QuotaExceeded | None:
        """Add to the usage and the reservation of a project, and settle an earlier reservation.

        At least `needed` bytes must fit, even if fewer are charged. Otherwise nothing changes, and `QuotaExceeded` is
        returned: raising it would roll the transaction back.
        """
        needed = max(needed, use + reserve)
        limit = quota.organization_bytes
        if limit is not None and needed:
            self.lock_organization(connection, organization_id=organization_id)
            total = self._organization_bytes(connection, organization_id=organization_id).fetchone()
            if require_row(total)[0] + needed - settle > limit:
                return QuotaExceeded("organization", limit)
        limit = _NO_QUOTA if quota.project_bytes is None else quota.project_bytes
        changes = {"use": use, "reserve": reserve, "settle": settle, "needed": needed}
        fits = self._charge_project(connection, project_id=project_id, quota=limit, **changes).rowcount
        return None if fits else QuotaExceeded("project", limit)

    def release_all(self, connection: Connection, *, used: Counter[str], reserved: Counter[str]) -> None:
        """Release bytes of several projects, in the order in which rows are locked."""
        for project_id in sorted(used | reserved):
            self.release(connection, project_id=project_id, used=used[project_id], reserved=reserved[project_id])
