"""The service of the administration, with a repository that counts how often it is asked."""

import asyncio
from typing import Any

import pytest

from filestead.domain.access import DEFAULT_SCOPES, Principal
from filestead.domain.administration import USAGE_KEPT, Administration, Project, StoredUsage
from filestead.domain.quota import Quota

pytestmark = pytest.mark.anyio

PRINCIPAL = Principal("key", "user", "proj_a", "a", "org", "org", DEFAULT_SCOPES)


class Projects:
    """Counting takes `seconds` of the clock in the test's hand."""

    def __init__(self, seconds: float) -> None:
        self.now, self.seconds, self.counted = 0.0, seconds, 0

    def clock(self) -> float:
        return self.now

    async def get(self, organization_id: str, project_id: str) -> Project:
        return Project(project_id, project_id, 0)

    async def usage(self, organization_id: str, project_id: str, *, soon_seconds: int) -> StoredUsage:
        await asyncio.sleep(0)
        self.counted += 1
        self.now += self.seconds
        return StoredUsage(Project(project_id, project_id, 0), self.counted, 0, [], 0, 0)


def service(projects: Any) -> Administration:
    return Administration(
        projects,
        None,
        new_id=str,
        monotonic=projects.clock,
        quota=Quota(None, None),
        uploads_per_minute=0,  # type: ignore[arg-type]
    )


async def test_usage_is_counted_again_only_after_a_multiple_of_the_time_it_took() -> None:
    projects = Projects(seconds=2)
    administration = service(projects)
    results = await asyncio.gather(*(administration.own_usage(PRINCIPAL) for _ in range(5)))
    assert {usage.stored.bytes_used for usage in results} == {1}
    projects.now = 2 + USAGE_KEPT * 2 - 0.1
    await administration.own_usage(PRINCIPAL)
    assert projects.counted == 1
    await administration.project_usage(PRINCIPAL, "proj_b")
    assert projects.counted == 2
    projects.now += 0.2
    assert (await administration.own_usage(PRINCIPAL)).stored.bytes_used == 3


async def test_the_usage_of_a_small_project_is_always_fresh() -> None:
    projects = Projects(seconds=0)
    administration = service(projects)
    for number in (1, 2):
        assert (await administration.own_usage(PRINCIPAL)).stored.bytes_used == number
