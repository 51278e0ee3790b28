"""Each sentence of `ProjectRepository`."""

import pytest

from filestead.domain import rate_limit
from filestead.domain.access import DEFAULT_SCOPES, Scope
from filestead.domain.administration import PurposeUsage, ServiceAccount
from filestead.domain.errors import (
    ItemCursorNotFound,
    KeyNotFound,
    ProjectExists,
    ProjectNotFound,
    ServiceAccountNotFound,
)
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio


async def add_key(
    rows: Rows,
    name: str,
    *,
    project: str = "one",
    expires: int | None = None,
    user: str | None = None,
    scopes: frozenset[Scope] = DEFAULT_SCOPES | {Scope.ADMIN},
) -> None:
    await rows.keys.create(
        key_id=f"key_{name}",
        digest=f"digest-{name}",
        hint=f"sk-{name}",
        organization="default",
        project=project,
        user=user or f"user {name}",
        scopes=scopes,
        expires_after_seconds=expires,
    )


async def test_projects_are_listed_by_age_page_by_page(rows: Rows) -> None:
    principal = await rows.principal("one")
    other = await rows.principal("one", organization="other")
    for number in range(4):
        if number % 2:
            rows.clock.pass_(1)
        await rows.projects.create(principal.organization_id, f"proj_{9 - number}", f"project {number}")
    everything = await rows.projects.list(principal.organization_id, after=None, limit=10)
    ids = [project.id for project in everything.items]
    assert len(ids) == 5
    assert not everything.has_more
    assert other.project_id not in ids
    walked, after = [], None
    for _ in range(3):
        page = await rows.projects.list(principal.organization_id, after=after, limit=2)
        walked += [project.id for project in page.items]
        after = walked[-1]
        assert page.has_more == (len(walked) < 5)
    assert walked == ids
    with pytest.raises(ItemCursorNotFound):
        await rows.projects.list(principal.organization_id, after=other.project_id, limit=2)


async def test_a_project_has_a_name_of_its_own(rows: Rows) -> None:
    principal = await rows.principal("one")
    other = await rows.principal("x", organization="other")
    made = await rows.projects.create(principal.organization_id, "proj_new", "two")
    assert (made.id, made.name, made.created_at) == ("proj_new", "two", int(rows.clock.now))
    assert await rows.projects.get(principal.organization_id, "proj_new") == made
    with pytest.raises(ProjectExists):
        await rows.projects.create(principal.organization_id, "proj_again", "two")
    assert (await rows.projects.create(other.organization_id, "proj_other", "two")).id == "proj_other"


async def test_a_project_of_another_organization_does_not_exist(rows: Rows) -> None:
    one, other = await rows.principal("one"), await rows.principal("two", organization="other")
    for project_id in (other.project_id, "proj_none", "\0"):
        with pytest.raises(ProjectNotFound):
            await rows.projects.get(one.organization_id, project_id)
        with pytest.raises(ProjectNotFound):
            await rows.projects.usage(one.organization_id, project_id, soon_seconds=60)


async def test_keys_are_listed_until_they_are_revoked(rows: Rows) -> None:
    principal = await rows.principal("one")
    for name in "abc":
        rows.clock.pass_(1)
        await add_key(rows, name, expires=60 if name == "b" else None)
    await add_key(rows, "elsewhere", project="two")
    page = await rows.projects.list_keys(principal.project_id, after=None, limit=10)
    assert [key.id for key in page.items][1:] == ["key_a", "key_b", "key_c"]
    shown = await rows.projects.get_key(principal.project_id, "key_b")
    assert (shown.hint, shown.user, shown.expires_at) == ("sk-b", "user b", int(rows.clock.now) - 1 + 60)
    assert shown.scopes == DEFAULT_SCOPES | {Scope.ADMIN}
    await rows.keys.revoke("key_b")
    with pytest.raises(KeyNotFound):
        await rows.projects.get_key(principal.project_id, "key_b")
    # A revoked key remains a valid cursor, so that all keys can be revoked while paging.
    page = await rows.projects.list_keys(principal.project_id, after="key_b", limit=10)
    assert [key.id for key in page.items] == ["key_c"]
    first = await rows.projects.list_keys(principal.project_id, after=None, limit=1)
    assert first.has_more
    for key_id in ("key_elsewhere", "key_none"):
        with pytest.raises(KeyNotFound):
            await rows.projects.get_key(principal.project_id, key_id)
        with pytest.raises(ItemCursorNotFound):
            await rows.projects.list_keys(principal.project_id, after=key_id, limit=1)


async def test_users_with_valid_keys_are_service_accounts(rows: Rows) -> None:
    project = (await rows.principal("one")).project_id
    start = int(rows.clock.now)
    for number, (key, user) in enumerate([("a1", "ann"), ("b1", "bob"), ("a2", "ann"), ("c1", "cyd")]):
        rows.clock.pass_(1)
        await add_key(rows, key, user=user, scopes=DEFAULT_SCOPES | ({Scope.ADMIN} if number == 2 else set()))
    await add_key(rows, "elsewhere", user="eve", project="two")
    _, ann, bob, cyd = (await rows.projects.list_accounts(project, after=None, limit=10)).items
    assert ann == ServiceAccount(ann.id, "ann", start + 1, is_owner=True)
    assert bob == ServiceAccount(bob.id, "bob", start + 2, is_owner=False)
    assert await rows.projects.get_account(project, cyd.id) == cyd
    page = await rows.projects.list_accounts(project, after=ann.id, limit=1)
    assert (list(page.items), page.has_more) == ([bob], True)
    # Its oldest key is revoked: the account stays, in its place.
    await rows.keys.revoke("key_a1")
    assert await rows.projects.get_account(project, ann.id) == ann
    await rows.projects.delete_account(project, ann.id)
    assert [key.user for key in (await rows.projects.list_keys(project, after=None, limit=10)).items][1:] == [
        "bob",
        "cyd",
    ]
    # A deleted account remains a valid cursor, so that all can be deleted while paging.
    assert list((await rows.projects.list_accounts(project, after=ann.id, limit=9)).items) == [bob, cyd]
    elsewhere = (await rows.projects.get_key((await rows.principal("two")).project_id, "key_elsewhere")).user_id
    for unknown in (ann.id, elsewhere, "user-none", "\0"):
        with pytest.raises(ServiceAccountNotFound):
            await rows.projects.get_account(project, unknown)
        with pytest.raises(ServiceAccountNotFound):
            await rows.projects.delete_account(project, unknown)
    with pytest.raises(ItemCursorNotFound):
        await rows.projects.list_accounts(project, after=elsewhere, limit=1)


async def test_usage_counts_visible_files_by_purpose(rows: Rows) -> None:
    principal = await rows.principal("one")
    await rows.principal("two")
    empty = await rows.projects.usage(principal.organization_id, principal.project_id, soon_seconds=100)
    assert (list(empty.by_purpose), empty.expiring_files, empty.expiring_bytes, empty.bytes_used) == ([], 0, 0, 0)
    now = int(rows.clock.now)
    for number, (purpose, size, expires) in enumerate(
        [("batch", 10, None), ("batch", 5, now + 50), ("vision", 7, now + 500), ("vision", 100, now - 1)]
    ):
        await rows.run(
            "INSERT INTO blobs (key, project_id, state, bytes_reserved) "
            f"VALUES ('blob{number}', '{principal.project_id}', 'live', 0)"
        )
        await rows.run(
            "INSERT INTO files (id, project_id, filename, purpose, bytes, created_at, expires_at, status, sha256, blob_key) "
            f"VALUES ('file{number}', '{principal.project_id}', 'a', '{purpose}', {size}, {now}, "
            f"{'NULL' if expires is None else expires}, 'processed', '', 'blob{number}')"
        )
    usage = await rows.projects.usage(principal.organization_id, principal.project_id, soon_seconds=100)
    assert list(usage.by_purpose) == [PurposeUsage("batch", 2, 15), PurposeUsage("vision", 1, 7)]
    assert (usage.expiring_files, usage.expiring_bytes) == (1, 5)


async def test_uploads_remaining_follow_the_rate(rows: Rows) -> None:
    principal = await rows.principal("one")
    user = principal.user_id
    assert await rows.projects.uploads_remaining(user, 10) == 10
    now_us = int(rows.clock.now * 1e6)
    await rows.run(f"UPDATE users SET upload_arrival_us = {now_us + 3 * rate_limit.interval(10)} WHERE id = '{user}'")
    assert await rows.projects.uploads_remaining(user, 10) == 7
    await rows.run(f"UPDATE users SET upload_arrival_us = {now_us + 100 * rate_limit.PERIOD} WHERE id = '{user}'")
    assert await rows.projects.uploads_remaining(user, 10) == 10  # as the rate itself takes it


async def test_index_bytes_are_those_of_the_organization(rows: Rows) -> None:
    principal = await rows.principal("one")
    assert list(await rows.projects.index_bytes(principal.organization_id)) == []
