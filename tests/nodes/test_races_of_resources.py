"""Two nodes change one vector store, batch or upload at once: one does it, or all are told of the same end.

`RACE_ROUNDS` is how often.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator

import pytest

from filestead.domain.audit.events import EventType
from filestead.domain.batches.model import Batch, BatchStatus
from filestead.domain.errors import UploadNotPending, VectorStoreNotFound
from filestead.domain.uploads.model import CompletedUpload
from tests.conformance.attachments import make_store
from tests.conformance.batches import add_input
from tests.conformance.batches import create as create_batch
from tests.conformance.test_file_repository import add
from tests.conformance.test_upload_repository import complete, put_all, usage
from tests.conformance.test_upload_repository import create as create_upload
from tests.nodes.nodes import cluster
from tests.support.databases import Clock, Rows, over
from tests.support.promises import Trials

pytestmark = [pytest.mark.anyio, pytest.mark.promise("R-19", "I-16")]
ROUNDS = int(os.environ.get("RACE_ROUNDS", "30"))
AT_ONCE = 6


@pytest.fixture
def two() -> Iterator[list[Rows]]:
    with cluster(operation_timeout=60) as made:
        yield [over(node.database, Clock()) for node in made.nodes]


async def events(rows: Rows) -> Counter[tuple[str, str]]:
    """How often each type is in the audit log, by resource."""
    return Counter((kind, resource) for kind, resource in await rows.run("SELECT type, resource_id FROM audit_events"))


async def is_sound(rows: Rows) -> bool:
    return not [finding for finding in await rows.files.check() if finding.severity == "A"]


async def test_of_two_nodes_deleting_one_vector_store_one_succeeds(two: list[Rows], trials: Trials) -> None:
    who = await two[0].principal()
    file = await add(two[0], who)
    stores = []
    for _ in range(ROUNDS):
        stores.append(await make_store(two[0], who, file.id))
        outcomes = await asyncio.gather(
            *(two[n % 2].vector_stores.delete(who.project_id, stores[-1]) for n in range(AT_ONCE)),
            return_exceptions=True,
        )
        assert outcomes.count(None) == 1
        assert sum(isinstance(outcome, VectorStoreNotFound) for outcome in outcomes) == AT_ONCE - 1
        trials()
    found = await events(two[0])
    assert [found[EventType.STORE_DELETED, store] for store in stores] == [1] * ROUNDS
    assert await two[0].run("SELECT 1 FROM vector_store_files") == []
    assert await is_sound(two[0])


async def test_two_nodes_that_cancel_one_batch_are_told_the_same(two: list[Rows], trials: Trials) -> None:
    who = await two[0].principal()
    file = await add_input(two[0], who)
    batches = []
    for _ in range(ROUNDS):
        batches.append((await create_batch(two[0], who, file.id)).id)
        outcomes: list[Batch] = await asyncio.gather(
            *(two[n % 2].batches.cancel(who.project_id, batches[-1]) for n in range(AT_ONCE))
        )
        assert {(batch.status, batch.cancelling_at) for batch in outcomes} == {
            (BatchStatus.CANCELLING, outcomes[0].cancelling_at)
        }
        trials()
    found = await events(two[0])
    assert [found[EventType.BATCH_CANCELLING, batch] for batch in batches] == [1] * ROUNDS
    assert await is_sound(two[0])


async def test_of_completing_and_cancelling_one_upload_on_two_nodes_one_succeeds(
    two: list[Rows], trials: Trials
) -> None:
    who = await two[0].principal()
    ends = Counter[EventType]()
    for turn in range(ROUNDS):
        upload = await create_upload(two[0], who, 2)
        parts = await put_all(two[1], who, upload.id, b"a", b"b")
        completing = [complete(two[n % 2], who, upload.id, parts) for n in range(AT_ONCE)]
        cancelling = [two[n % 2].uploads.cancel(who.project_id, upload.id) for n in range(AT_ONCE)]
        tasks = [*completing, *cancelling] if turn % 2 else [*cancelling, *completing]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        completed = [outcome for outcome in outcomes if isinstance(outcome, CompletedUpload)]
        refused = sum(isinstance(outcome, UploadNotPending) for outcome in outcomes)
        assert len(completed) in (0, AT_ONCE) and refused == AT_ONCE, outcomes
        assert len({done.file.id for done in completed}) <= 1
        end, other = (EventType.UPLOAD_COMPLETED, EventType.UPLOAD_CANCELLED)[:: 1 if completed else -1]
        found = await events(two[0])
        assert (found[end, upload.id], found[other, upload.id]) == (1, 0)
        ends[end] += 1
        trials()
    assert len(ends) == 2, "each wins now and then"
    assert await usage(two[0], who) == (2 * ends[EventType.UPLOAD_COMPLETED], 0, ends[EventType.UPLOAD_COMPLETED])
    assert await is_sound(two[0])
