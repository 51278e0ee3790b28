"""Two nodes and more on one database: what one of them does, the others know at once."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from filestead.database.engines.postgres import database as postgres
from filestead.domain.errors import FileNotFound, IdempotencyKeyReused, QuotaExceeded, RateLimited, UploadLost
from filestead.domain.files.model import File
from filestead.domain.quota import Quota
from tests.nodes.nodes import NO_QUOTA, Cluster, cluster, completed
from tests.support.databases import held_clock
from tests.support.promises import Trials

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many operations of few connections: how long they wait for one depends on the machine, and is not the question."""
    monkeypatch.setattr(postgres, "QUEUE_TIMEOUT_SECONDS", 30)


@pytest.fixture
def two() -> Iterator[Cluster]:
    with cluster(operation_timeout=60) as made:
        yield made


@pytest.mark.parametrize("quota", [Quota(1_000, None), Quota(None, 1_000), Quota(600, 1_000)], ids=str)
@pytest.mark.promise("I-12")
async def test_sixty_four_concurrent_uploads_on_two_nodes_never_exceed_the_quota(two: Cluster, quota: Quota) -> None:
    """In two projects of one organization, on two nodes."""
    projects = [await two.principal("one"), await two.principal("two")]
    sizes = [37, 53, 11, 29]
    outcomes = await asyncio.gather(
        *(
            two.nodes[n % 2].add(projects[n // 2 % 2], sizes[n % 4], quota=quota, at_least=n % 3 * 10)
            for n in range(64)
        ),
        return_exceptions=True,
    )
    assert {type(outcome) for outcome in outcomes} == {File, QuotaExceeded}
    used = []
    for who in projects:
        usage = await two.nodes[0].files.usage(who.project_id)
        assert usage.bytes_reserved == 0
        used.append(usage.bytes_used)
    assert sum(used) == sum(outcome.bytes for outcome in outcomes if isinstance(outcome, File))
    if quota.project_bytes is not None:
        assert max(used) <= quota.project_bytes
    if quota.organization_bytes is not None:
        assert sum(used) <= quota.organization_bytes
    # What is left is there to the last byte.
    room = min(
        quota.project_bytes - used[0] if quota.project_bytes is not None else 10**9,
        quota.organization_bytes - sum(used) if quota.organization_bytes is not None else 10**9,
    )
    await two.nodes[1].add(projects[0], room, quota=quota)
    with pytest.raises(QuotaExceeded):
        await two.nodes[0].add(projects[0], 1, quota=quota)
    assert await two.is_sound()


@pytest.mark.promise("R-19")
async def test_of_two_nodes_deleting_one_file_one_succeeds(two: Cluster, trials: Trials) -> None:
    who = await two.principal()
    for _ in range(200):
        file = await two.nodes[0].add(who)
        outcomes = await asyncio.gather(
            *(two.nodes[n % 2].files.delete(who.project_id, file.id) for n in range(8)), return_exceptions=True
        )
        assert outcomes.count(file) == 1
        assert sum(isinstance(outcome, FileNotFound) for outcome in outcomes) == 7
        trials()
    usage = await two.nodes[0].files.usage(who.project_id)
    assert (usage.bytes_used, usage.files) == (0, 0)
    assert await two.is_sound()


async def test_two_sweeps_claim_different_blobs(two: Cluster) -> None:
    with held_clock(two.server, two.name) as clock:
        projects = [await two.principal(name) for name in ("one", "two", "three")]
        made = [await two.nodes[0].add(projects[n % 3], expires_after_seconds=3_600) for n in range(90)]
        for file, who in zip(made, itertools.cycle(projects), strict=False):
            if file.bytes and made.index(file) % 2:
                await two.nodes[0].files.delete(who.project_id, file.id)
        started = [await two.nodes[0].begin(projects[n % 3], 7) for n in range(30)]
        clock.pass_(3_600)
        claimed: list[str] = []
        while any(
            claims := await asyncio.gather(
                *(two.nodes[n % 2].files.claim_garbage(lease_seconds=60, limit=11) for n in range(4))
            )
        ):
            claimed += [key for claim in claims for key in claim]
        assert sorted(claimed) == sorted([*started, *(file.blob_key for file in made)])
        for who in projects:
            usage = await two.nodes[1].files.usage(who.project_id)
            assert (usage.bytes_used, usage.bytes_reserved, usage.files) == (0, 0, 0)


@pytest.mark.promise("R-18")
async def test_blobs_claimed_by_a_dead_sweep_are_claimed_again(two: Cluster) -> None:
    with held_clock(two.server, two.name) as clock:
        who = await two.principal()
        made = [await two.nodes[0].add(who, expires_after_seconds=3_600) for _ in range(20)]
        clock.pass_(3_600)
        first = await two.nodes[0].files.claim_garbage(lease_seconds=60, limit=8)
        # Its node dies here, in the middle of the batch; another one dies before its claim is committed.
        with two.server.session(two.name) as dying:
            dying.execute("BEGIN; SELECT 1 FROM blobs WHERE lease_until_us <= filestead_now() FOR UPDATE")
            assert await two.nodes[1].files.claim_garbage(lease_seconds=60, limit=100) == [], "taken for now"
        second = await two.nodes[1].files.claim_garbage(lease_seconds=60, limit=100)
        assert len(first) == 8
        assert sorted(first + second) == sorted(file.blob_key for file in made)
        clock.pass_(59)
        assert await two.nodes[1].files.claim_garbage(lease_seconds=60, limit=100) == []
        await two.nodes[1].files.delete_blob_rows(second)
        clock.pass_(1)
        assert sorted(await two.nodes[1].files.claim_garbage(lease_seconds=60, limit=100)) == sorted(first)


async def test_eight_nodes_together_never_exceed_the_upload_rate() -> None:
    with cluster(8, connections=2, operation_timeout=60) as eight, held_clock(eight.server, eight.name) as clock:
        who = await eight.principal()
        for _ in range(3):
            outcomes = await asyncio.gather(
                *(node.begin(who, rate=50) for node in eight.nodes for _ in range(16)), return_exceptions=True
            )
            assert sum(isinstance(outcome, str) for outcome in outcomes) == 50
            assert sum(isinstance(outcome, RateLimited) for outcome in outcomes) == 78
            clock.pass_(60)


@pytest.mark.parametrize("quota", [NO_QUOTA, Quota(5, None), Quota(None, 5)], ids=str)
@pytest.mark.promise("R-16")
async def test_two_nodes_with_one_idempotency_key_create_one_file(two: Cluster, quota: Quota) -> None:
    who = await two.principal()
    for turn in range(20):
        key = f"key-{turn}"
        blobs = [await two.nodes[n % 2].begin(who, key=key, quota=quota) for n in range(8)]
        files = await asyncio.gather(
            *(
                two.nodes[n % 2].files.publish(completed(who, blob, key=key), quota=quota)
                for n, blob in enumerate(blobs)
            )
        )
        assert len({file.id for file in files}) == 1, "and the others found it, though there was room for one only"
        assert await two.ids(who) == [files[0].id]
        kept = [blob for blob in blobs if not await two.nodes[0].files.abandon(blob)]
        assert kept == [files[0].blob_key]
        await two.nodes[0].files.delete(who.project_id, files[0].id)
    assert await two.is_sound()


async def test_an_expired_idempotency_key_is_reused_by_one_of_two_nodes(two: Cluster) -> None:
    with held_clock(two.server, two.name) as clock:
        who = await two.principal()
        await two.nodes[0].add(who, key="k")
        for turn in range(10):
            clock.pass_(86_400)
            outcomes = await asyncio.gather(
                *(two.nodes[n % 2].add(who, key="k", form=f"{turn} {n}") for n in range(8)),
                two.nodes[0].files.claim_garbage(lease_seconds=60, limit=100),
                return_exceptions=True,
            )
            assert sum(isinstance(outcome, File) for outcome in outcomes) == 1
            assert sum(isinstance(outcome, IdempotencyKeyReused) for outcome in outcomes) == 7


@pytest.mark.parametrize("newest_first", [False, True])
async def test_paging_skips_no_file_while_two_nodes_publish(two: Cluster, newest_first: bool) -> None:
    """A walk to the oldest meets what was there when it began; one to the newest goes on behind what it has seen."""
    who = await two.principal()
    busy = True

    async def publish(n: int) -> None:
        while busy:
            await two.nodes[n % 2].add(who)

    publishers = [asyncio.create_task(publish(n)) for n in range(8)]
    try:
        if newest_first:
            while len(before := await two.ids(who)) < 200:
                assert set(before) <= set(await _walk(two, who.project_id))
        else:
            seen: list[str] = []
            while len(seen) < 200:
                page = await two.nodes[0].files.page(
                    who.project_id, purpose=None, after=seen[-1] if seen else None, limit=3, newest_first=False
                )
                seen += [file.id for file in page.files]
            # Whatever is before the last one seen, has been seen: nothing came in behind the pager's back.
            now = await two.ids(who)
            assert seen == now[: len(seen)]
    finally:
        busy = False
        await asyncio.gather(*publishers)
    assert await two.is_sound()


async def _walk(two: Cluster, project_id: str) -> list[str]:
    found: list[str] = []
    after = None
    while True:
        page = await two.nodes[1].files.page(project_id, purpose=None, after=after, limit=7, newest_first=True)
        found += [file.id for file in page.files]
        if not page.has_more:
            return found
        after = page.files[-1].id


@pytest.mark.promise("R-08")
async def test_publish_abandon_and_sweep_of_one_upload_exclude_one_another(two: Cluster) -> None:
    with held_clock(two.server, two.name) as clock:
        who = await two.principal()
        for _ in range(60):
            blob = await two.nodes[0].begin(who, 4)
            clock.pass_(120)
            published, abandoned, claimed, again = await asyncio.gather(
                two.nodes[0].files.publish(completed(who, blob), quota=NO_QUOTA),
                two.nodes[1].files.abandon(blob),
                two.nodes[1].files.claim_garbage(lease_seconds=60, limit=9),
                two.nodes[0].files.claim_garbage(lease_seconds=60, limit=9),
                return_exceptions=True,
            )
            visible = isinstance(published, File)
            assert visible or isinstance(published, UploadLost)
            assert visible == (await two.nodes[0].files.blob_states([blob]) == {blob: "live"})
            assert not (visible and (claimed or again or abandoned))
            assert len(claimed) + len(again) <= 1
            await two.nodes[0].files.delete_blob_rows([*claimed, *again, blob])
            if visible:
                await two.nodes[0].files.delete(who.project_id, published.id)
                await two.nodes[0].files.delete_blob_rows([blob])
        assert (await two.nodes[0].files.usage(who.project_id)).bytes_used == 0
        assert await two.is_sound()


async def test_an_upload_waits_for_the_quota_that_a_concurrent_sweep_releases(two: Cluster) -> None:
    with held_clock(two.server, two.name) as clock:
        who = await two.principal()
        quota = Quota(100, None)
        for _ in range(20):
            await two.nodes[0].add(who, 100, quota=quota, expires_after_seconds=3_600)
            clock.pass_(3_600)
            *_, file = await asyncio.gather(
                two.nodes[0].files.claim_garbage(lease_seconds=60, limit=9),
                two.nodes[1].files.claim_garbage(lease_seconds=60, limit=9),
                two.nodes[1].add(who, 100, quota=quota),
            )
            await two.nodes[0].files.delete(who.project_id, file.id)
        assert await two.is_sound()


async def test_a_key_is_created_once_on_many_nodes() -> None:
    with cluster(6, connections=2, operation_timeout=60) as six:
        await asyncio.gather(
            *(
                node.keys.create(
                    key_id=f"key_{n}", digest="d", hint="", organization="o", project="p", user="u",
                    scopes=frozenset(), expires_after_seconds=None,
                )
                for n, node in enumerate(six.nodes * 3)
            )
        )  # fmt: skip
        assert len(await six.nodes[0].keys.list()) == 1
