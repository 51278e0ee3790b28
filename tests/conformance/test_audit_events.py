"""Each type of event occurs, with the change that it tells of."""

import pytest

from filestead.domain.audit.denials import WRONG_KEY, Denial, DenialCounter
from filestead.domain.audit.events import EventType
from filestead.domain.batches.model import BatchError, BatchStatus
from tests.conformance import batches, test_upload_repository
from tests.conformance.attachments import attach, make_store
from tests.conformance.test_file_repository import add
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio

DAY = 86_400


Expected = dict[str, list[str]]
"""The types of the events of one thing, oldest first, by its id."""


async def end_batches(rows: Rows) -> Expected:
    """Batches with each of the ends."""
    who = await rows.principal()
    expected = {}
    for status in (BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.FAILED):
        batch, job = await batches.begin(rows, who)
        if status is BatchStatus.FAILED:
            await rows.batch_runs.fail(job, [BatchError("c", "m")])
        else:
            await rows.batch_runs.finish(job, status, [])
        expected[batch.id] = ["batch.created", f"batch.{status.value}"]
    batch, job = await batches.begin(rows, who)
    await rows.batches.cancel(who.project_id, batch.id)
    await rows.batch_runs.finish(job, BatchStatus.COMPLETED, [])
    return expected | {batch.id: ["batch.created", "batch.cancelling", "batch.cancelled"]}


async def end_uploads(rows: Rows) -> Expected:
    """Uploads in parts with each of the ends; one expires later."""
    who, parts = await rows.principal(), test_upload_repository
    completed, cancelled, expiring = [(await parts.create(rows, who, 2)).id for _ in range(3)]
    whole = await parts.complete(rows, who, completed, await parts.put_all(rows, who, completed, b"a", b"b"))
    await rows.uploads.cancel(who.project_id, cancelled)
    return {
        completed: ["upload.created", "upload.completed"],
        cancelled: ["upload.created", "upload.cancelled"],
        expiring: ["upload.created", "upload.expired"],
        whole.file.id: ["file.created"],
    }


async def end_stores(rows: Rows) -> Expected:
    """Vector stores, of which one is deleted, and one expires later with a file, and one without any."""
    who = await rows.principal()
    file = await add(rows, who)
    deleted, full = await make_store(rows, who), await make_store(rows, who, file.id, expires_after_days=1)
    empty = await make_store(rows, who, expires_after_days=1)
    await attach(rows, who, deleted, file.id)
    await rows.vector_stores.detach(who.project_id, deleted, file.id)
    await rows.vector_stores.delete(who.project_id, deleted)
    attached, detached = "vector_store.file.attached", "vector_store.file.detached"
    return {
        deleted: ["vector_store.created", "vector_store.deleted"],
        full: ["vector_store.created", "vector_store.expired"],
        empty: ["vector_store.created"],
        file.id: ["file.created", attached, attached, detached],
    }


@pytest.mark.promise("I-16")
async def test_each_type_of_event_occurs(rows: Rows) -> None:
    who = await rows.principal()
    expected = await end_batches(rows) | await end_uploads(rows) | await end_stores(rows)
    deleted, expiring = await add(rows, who), await add(rows, who, expires_after_seconds=3_600)
    await rows.files.delete(who.project_id, deleted.id)
    expected |= {deleted.id: ["file.created", "file.deleted"], expiring.id: ["file.created", "file.expired"]}
    rows.clock.pass_(20 * DAY)
    await rows.files.claim_garbage(lease_seconds=60, limit=100)
    await rows.index.delete_detached(1_000)
    await rows.projects.delete_account(who.project_id, who.user_id)
    denials = DenialCounter()
    denials.add(Denial(WRONG_KEY, "192.0.2.1"))
    await denials.flush(rows.audit)
    events = [(event.resource_id, event.type) for event in reversed(await rows.audit.tail(1_000))]
    found = {name: [kind for resource, kind in events if resource == name] for name in expected}
    assert found == expected
    assert {kind for _, kind in events} == {kind.value for kind in EventType}
    assert [finding for finding in await rows.files.check() if finding.invariant == "I-16"] == []
