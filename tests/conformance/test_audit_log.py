"""Each sentence of `AuditLog`, and an event for each change, in its transaction."""

import asyncio
import dataclasses
import json
from collections.abc import Iterator
from functools import partial

import pytest

from filestead.blobs.keys import new_inline_key
from filestead.domain.audit.chain import find_broken, link
from filestead.domain.audit.events import Event, EventType, Filters, Origin, RecordedEvent, event_id, set_origin
from filestead.domain.errors import FileNotFound, ItemCursorNotFound, QuotaExceeded
from filestead.domain.files.model import CompletedUpload, File, FileStatus, InlineUpload
from filestead.domain.quota import Quota
from filestead.domain.uploads.model import NewUpload
from filestead.domain.vector_stores.model import NewAttachment, NewStore
from filestead.installation import new_id
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio

NO_QUOTA = Quota(None, None)
ALL = Filters()
DAY = 86_400


@pytest.fixture(autouse=True)
def no_origin() -> Iterator[None]:
    yield
    set_origin(None)


def upload(project_id: str, organization_id: str, *, expires: int | None = None) -> InlineUpload:
    completed = CompletedUpload(
        id=new_id("file-"),
        blob_key=new_inline_key(1_700_000_000_000),
        project_id=project_id,
        organization_id=organization_id,
        filename="secret name.txt",
        purpose="user_data",
        bytes=5,
        sha256="0" * 64,
        expires_after_seconds=expires,
        status=FileStatus.PROCESSED,
        status_details=None,
    )
    return InlineUpload(completed, b"hello", "user-1")


async def create(
    rows: Rows,
    project: str = "one",
    *,
    organization: str = "default",
    expires: int | None = None,
    quota: Quota = NO_QUOTA,
) -> File:
    who = await rows.principal(project, organization=organization)
    new = upload(who.project_id, who.organization_id, expires=expires)
    return (await rows.files.create_inline(new, rate=0, quota=quota)).file


async def events(rows: Rows) -> list[RecordedEvent]:
    """All of them, oldest first, without those of keys and what belongs to them."""
    found = await rows.audit.tail(1_000)
    made_by_keys = ("api_key", "organization", "project", "service_account")
    return [event for event in reversed(found) if event.type.partition(".")[0] not in made_by_keys]


async def kinds(rows: Rows) -> list[tuple[str, str | None]]:
    return [(event.type, event.resource_id) for event in await events(rows)]


async def seal(rows: Rows) -> int:
    total = 0
    while count := await rows.audit.seal():
        total += count
    return total


# --- events ---------------------------------------------------------------------------------------------------------


@pytest.mark.promise("I-16")
async def test_a_file_has_an_event_of_its_creation_and_one_of_its_end(rows: Rows) -> None:
    origin = Origin("key_1", "user_1", "req_1", "192.0.2.1")
    set_origin(lambda: origin)
    deleted = await create(rows)
    await rows.files.delete(deleted_in := (await rows.principal()).project_id, deleted.id)
    with pytest.raises(FileNotFound):
        await rows.files.delete(deleted_in, deleted.id)
    expired = await create(rows, expires=10)
    rows.clock.pass_(20 * DAY)
    for _ in range(3):
        await rows.files.observe_clock()
        rows.clock.pass_(2 * DAY)
        await rows.files.claim_garbage(lease_seconds=60, limit=100)
    assert await kinds(rows) == [
        ("file.created", deleted.id),
        ("file.deleted", deleted.id),
        ("file.created", expired.id),
        ("file.expired", expired.id),
    ]
    first, *_, last = await events(rows)
    assert (first.key_id, first.user_id, first.request_id, first.address) == dataclasses.astuple(origin)
    assert json.loads(first.data or "") == {"bytes": 5, "purpose": "user_data"}
    assert last.key_id is last.request_id is None, "a sweep is no request, even if it runs in one"
    who = await rows.principal()
    assert {(event.project_id, event.organization_id) for event in await events(rows)} == {
        (who.project_id, who.organization_id)
    }
    assert await rows.files.check() == []


async def test_a_change_that_fails_has_no_event(rows: Rows) -> None:
    with pytest.raises(QuotaExceeded):
        await create(rows, quota=Quota(1, None))
    assert await events(rows) == []


async def test_uploads_that_share_a_transaction_have_the_origin_of_their_own_request(rows: Rows) -> None:
    await rows.principal()

    async def one(number: int) -> tuple[str, str]:
        set_origin(partial(Origin, f"key_{number}", None, f"req_{number}"))
        return (await create(rows)).id, f"key_{number}"

    made = await asyncio.gather(*(one(number) for number in range(20)))
    assert {(event.resource_id, event.key_id) for event in await events(rows)} == set(made)


async def test_stores_and_uploads_in_parts_have_their_events(rows: Rows) -> None:
    who = await rows.principal()
    file = await create(rows)
    attachment = NewAttachment(file.id)
    ids = (who.project_id, who.organization_id)
    await rows.vector_stores.create(*ids, NewStore("vs_1"), [attachment], rate=0)
    await rows.vector_stores.attach(*ids, "vs_1", attachment, rate=0)  # it is attached already
    await rows.vector_stores.detach(who.project_id, "vs_1", file.id)
    await rows.vector_stores.delete(who.project_id, "vs_1")
    new = NewUpload("0" * 24, *ids, who.user_id, "a", "user_data", 5, None)
    made, _ = await rows.uploads.create(new, rate=0, quota=NO_QUOTA)
    for _ in range(2):
        await rows.uploads.cancel(who.project_id, made.id)
    assert await kinds(rows) == [
        ("file.created", file.id),
        ("vector_store.created", "vs_1"),
        ("vector_store.file.attached", file.id),
        ("vector_store.file.detached", file.id),
        ("vector_store.deleted", "vs_1"),
        ("upload.created", made.id),
        ("upload.cancelled", made.id),
    ]


async def test_keys_and_what_they_belong_to_have_their_events(rows: Rows) -> None:
    who = await rows.principal()
    again = await rows.principal(user="bob")
    for _ in range(2):
        await rows.keys.revoke(again.key_id)
    found = [(event.type, event.resource_id) for event in reversed(await rows.audit.tail(100))]
    assert found == [
        ("organization.created", who.organization_id),
        ("project.created", who.project_id),
        ("service_account.created", who.user_id),
        ("api_key.created", who.key_id),
        ("service_account.created", again.user_id),
        ("api_key.created", again.key_id),
        ("api_key.deleted", again.key_id),
    ]
    await rows.projects.delete_account(who.project_id, who.user_id)
    latest = [(event.type, event.resource_id) for event in await rows.audit.tail(2)]
    assert latest == [("api_key.deleted", who.key_id), ("service_account.deleted", who.user_id)]


@pytest.mark.promise("I-16")
@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM audit_events WHERE type = 'file.created'",
        "UPDATE audit_events SET type = 'file.deleted' WHERE type = 'file.created'",
        "DELETE FROM files",
    ],
)
async def test_a_change_without_its_event_is_found(rows: Rows, sql: str) -> None:
    await create(rows)
    await rows.run("UPDATE audit_chain SET complete_since = 0")  # the template is younger than the clock of the test
    assert await rows.files.check() == []
    await rows.run(sql)
    assert "I-16" in {violation.invariant for violation in await rows.files.check()}


# --- the chain ------------------------------------------------------------------------------------------------------


@pytest.mark.promise("I-16")
async def test_the_chain_holds_every_event_in_order(rows: Rows) -> None:
    made = [await create(rows) for _ in range(5)]
    assert await seal(rows) == 4 + 5
    assert await seal(rows) == 0
    made.append(await create(rows))
    assert await seal(rows) == 1
    chain = await rows.audit.scan(0, 100)
    assert [event.sequence for event in chain] == [*range(1, 11)]
    assert [event.resource_id for event in chain[4:]] == [file.id for file in made]
    previous = ""
    for event in chain:
        assert event.hash == link(previous, event)
        previous = event.hash
    broken, state = await find_broken(rows.audit)
    assert broken is None
    assert (state.last_sequence, state.last_hash, state.anchor_sequence) == (10, previous, 0)


async def test_many_nodes_seal_without_gaps(rows: Rows) -> None:
    async def work() -> None:
        for _ in range(10):
            await create(rows)
            await rows.audit.seal()

    await asyncio.gather(*(work() for _ in range(4)))
    await seal(rows)
    assert [event.sequence for event in await rows.audit.scan(0, 100)] == [*range(1, 45)]
    assert (await find_broken(rows.audit))[0] is None


@pytest.mark.promise("I-16")
@pytest.mark.parametrize(
    ("sql", "first"),
    [
        ("UPDATE audit_events SET resource_id = 'file-x' WHERE sequence = 3", 3),
        ("UPDATE audit_events SET effective_at = effective_at + 1 WHERE sequence = 3", 3),
        ("UPDATE audit_events SET key_id = 'key_x' WHERE sequence = 1", 1),
        ("UPDATE audit_events SET data = NULL WHERE sequence = 5", 5),
        ("UPDATE audit_events SET hash = 'x' WHERE sequence = 9", 9),
        ("DELETE FROM audit_events WHERE sequence = 3", 3),
        ("DELETE FROM audit_events WHERE sequence = 1", 1),
        ("DELETE FROM audit_events WHERE sequence >= 8", 8),
        ("DELETE FROM audit_events", 1),
        ("UPDATE audit_chain SET last_sequence = 8", 8),
        ("UPDATE audit_chain SET last_hash = 'x'", 9),
        ("UPDATE audit_chain SET anchor_hash = 'x'", 1),
        ("UPDATE audit_chain SET anchor_sequence = 2", 3),
    ],
)
async def test_the_first_broken_event_is_named(rows: Rows, sql: str, first: int) -> None:
    for _ in range(5):
        await create(rows)
    await seal(rows)
    assert (await find_broken(rows.audit))[0] is None
    await rows.run(sql)
    broken, _ = await find_broken(rows.audit)
    assert broken is not None
    assert broken.subject == f"audit event {first}"


async def test_pruning_keeps_the_chain_and_what_is_younger(rows: Rows) -> None:
    for _ in range(3):
        await create(rows)
    await seal(rows)
    rows.clock.pass_(10 * DAY)
    last = await create(rows)
    await seal(rows)
    rows.clock.pass_(3 * DAY)
    assert await rows.audit.prune(20 * DAY) == 0
    assert await rows.audit.prune(12 * DAY) == 7
    assert await rows.audit.prune(12 * DAY) == 0
    assert [event.resource_id for event in await rows.audit.tail(100)] == [last.id]
    broken, chain = await find_broken(rows.audit)
    assert (broken, chain.anchor_sequence, chain.last_sequence) == (None, 7, 8)
    assert await rows.files.check() == []


async def test_a_jump_of_the_clock_prunes_nothing(rows: Rows) -> None:
    await create(rows)
    await seal(rows)
    await rows.files.observe_clock()
    rows.clock.pass_(1_000 * DAY)
    await rows.files.observe_clock()
    assert await rows.audit.prune(DAY) == 0


# --- listing --------------------------------------------------------------------------------------------------------


async def test_pages_go_from_new_to_old_and_back(rows: Rows) -> None:
    made = [(await create(rows)).id for _ in range(6)]
    await create(rows, organization="another")
    organization = (await rows.principal()).organization_id
    assert (await rows.audit.page(organization, ALL, after=None, before=None, limit=10)).events == []
    await seal(rows)

    async def page(**cursors: int) -> tuple[list[str | None], list[int], bool]:
        both = {"after": None, "before": None} | cursors
        found = await rows.audit.page(organization, Filters(types=["file.created"]), **both, limit=2)
        events = [event for event, _ in found.events]
        assert {name for _, name in found.events} <= {"one"}
        return [event.resource_id for event in events], [event.sequence or 0 for event in events], found.has_more

    newest, places, more = await page()
    assert (newest, more) == ([made[5], made[4]], True)
    assert (await page(after=places[1]))[0] == [made[3], made[2]]
    oldest, old_places, more = await page(after=(await page(after=places[1]))[1][1])
    assert (oldest, more) == ([made[1], made[0]], False)
    assert (await page(before=old_places[0]))[::2] == ([made[3], made[2]], True)
    assert (await page(after=places[0], before=old_places[1]))[::2] == ([made[4], made[3]], True)


async def test_a_cursor_must_be_an_event_of_the_organization(rows: Rows) -> None:
    await create(rows)
    await create(rows, organization="another")
    await seal(rows)
    mine = (await rows.principal()).organization_id
    theirs = [event for event in await rows.audit.scan(0, 100) if event.organization_id != mine]
    for place in (theirs[0].sequence, 0, 100, 2**63 - 1):
        for cursors in ({"after": place, "before": None}, {"after": None, "before": place}):
            with pytest.raises(ItemCursorNotFound, match=event_id(place or 0)):
                await rows.audit.page(mine, ALL, **cursors, limit=10)


async def test_every_filter_filters(rows: Rows) -> None:
    set_origin(lambda: Origin("key_a", "user_a"))
    first = await create(rows)
    rows.clock.pass_(100)
    set_origin(lambda: Origin("key_b", "user_b"))
    second = await create(rows, "two")
    await seal(rows)
    one, two = await rows.principal(), await rows.principal("two")
    now = int(rows.clock.now)

    async def found(**values: object) -> set[str | None]:
        filters = Filters(**({"types": ["file.created"]} | values))  # type: ignore[arg-type]
        page = await rows.audit.page(one.organization_id, filters, after=None, before=None, limit=100)
        return {event.resource_id for event, _ in page.events}

    assert await found() == {first.id, second.id}
    assert await found(types=["file.deleted"]) == await found(types=[]) == await found(actors=()) == set()
    assert await found(after_time=now - 100) == {second.id}
    assert await found(after_time=now - 101, before_time=now) == {first.id}
    assert await found(before_time=2**63 - 1) == {first.id, second.id}
    assert await found(projects=[two.project_id]) == {second.id}
    assert await found(actors=["key_a"]) == await found(actors=["user_a", "x"]) == {first.id}
    assert await found(resources=[first.id, "x"]) == {first.id}


async def test_events_of_no_change_are_recorded(rows: Rows) -> None:
    who = await rows.principal()
    denied = Event(EventType.ACCESS_DENIED, None, who.project_id, {"reason": "missing_scope", "count": 3})
    await rows.audit.record([(Origin("key_1"), denied), (None, Event(EventType.ACCESS_DENIED, None))])
    await rows.audit.record([])
    last, first = await rows.audit.tail(2)
    assert (first.organization_id, first.key_id, first.data) == (
        *(who.organization_id, "key_1"),
        '{"count": 3, "reason": "missing_scope"}',
    )
    assert (last.organization_id, last.data) == (None, None)


async def test_only_what_exists_is_foreign(rows: Rows) -> None:
    file, who = await create(rows), await rows.principal()
    suspects = {"file": {file.id, "file-x"}, "batch": {file.id}}
    assert await rows.audit.foreign(suspects) == {file.id: (who.project_id, who.organization_id)}
