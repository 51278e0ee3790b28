"""kill -9 before and after every step of an upload whose bytes are a row of the database, and of its deletion."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.crash.harness import findings, garbage, send_form, sha256, sql
from tests.crash.steps import ANSWERED, SMALL, Installation, Installations, Step, durable, is_behind, passed, points
from tests.support.waiting import wait_until

UPLOAD: list[Step] = [durable("records.create_inline"), "answer head", "answer body"]
REFUSED: list[Step] = [durable("records.count_upload"), "answer head", "answer body"]
DELETE: list[Step] = [
    *(durable("records.delete"), "answer head", "answer body"),
    *(durable("inline.delete"), durable("records.delete_blob_rows")),
]
RATE = 1_000_000


@pytest.fixture(scope="module")
def inline_installations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installations]:
    settings = {"inline_bytes": 16384, "uploads_per_minute": RATE, "sweep_seconds": 3_600}
    made = Installations(lambda: Installation(tmp_path_factory.mktemp("inline") / "data", **settings))
    yield made
    list(made.close())


@pytest.fixture
def installation(inline_installations: Installations) -> Iterator[Installation]:
    with inline_installations.one() as found:
        yield found
        assert not list((found.data_dir / "blobs").glob("*/*")), "the blob store was used"


def arrival(installation: Installation) -> int:
    """The state of the upload rate: it moves by 60 µs for each upload that is counted."""
    return max(at for (at,) in sql(installation.data_dir, "SELECT upload_arrival_us FROM users"))


def test_the_steps_of_an_upload(installation: Installation) -> None:
    with installation.victim.traced() as trace:
        installation.upload("traced", SMALL)
    assert passed(trace) == points(UPLOAD), "one transaction, and nothing on the disk beside it"
    at = [next(n for n, line in enumerate(trace) if line.startswith(step)) for step in (
        "before commit of records.create_inline", "after commit of records.create_inline", "before answer head")]  # fmt: skip
    assert at == sorted(at)


def test_the_steps_of_a_refused_upload(installation: Installation) -> None:
    with installation.victim.traced() as trace:
        assert refused_upload(installation.victim.client).status_code == 400
        wait_until(lambda: installation.victim.trace()[-1] == ANSWERED, "the answer is not noted")
    assert passed(trace) == points(REFUSED), "nothing was recorded that would have to be undone"


def refused_upload(client: httpx2.Client) -> httpx2.Response:
    return client.post("/files", data={"purpose": "batch"}, files={"file": ("refused.jsonl", b"[]\n")})


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", points(UPLOAD))
@pytest.mark.promise("R-01")
def test_killed_in_an_upload(installation: Installation, step: str) -> None:
    before = arrival(installation)
    response = installation.die_at(step, 1, lambda client: send_form(client, step, SMALL))
    if response is not None:
        assert response.status_code == 200
        installation.contents[response.json()["id"]] = sha256(SMALL)
    installation.settle(step, SMALL)
    committed = is_behind(step, "after commit of records.create_inline", UPLOAD)
    assert (step in installation.listed().values()) == committed
    assert response is None or committed
    assert (arrival(installation) > before) == committed, "the file and its count go together"


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", points(UPLOAD))
@pytest.mark.promise("R-01", "R-16")
def test_killed_and_sent_again_with_its_key(installation: Installation, step: str) -> None:
    key = f"again-{step.replace(' ', '-')}"

    def send(client: httpx2.Client) -> httpx2.Response:
        form = {"data": {"purpose": "user_data"}, "files": {"file": (key, SMALL)}}
        return client.post("/files", headers={"Idempotency-Key": key}, **form)

    response = installation.die_at(step, 1, send)
    committed = is_behind(step, "after commit of records.create_inline", UPLOAD)
    again = send(installation.victim.client)
    assert again.status_code == 200
    assert again.headers.get("idempotent-replayed") == ("true" if committed else None)
    assert response is None or response.json() == again.json()
    installation.contents[again.json()["id"]] = sha256(SMALL)
    assert [name for name in installation.listed().values() if name == key] == [key]


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", points(DELETE))
@pytest.mark.promise("R-01")
def test_killed_in_a_delete(installation: Installation, step: str) -> None:
    file_id = installation.upload(step, SMALL)
    response = installation.die_at(step, 1, lambda client: client.delete(f"/files/{file_id}"))
    assert response is None or response.status_code == 200
    committed = is_behind(step, "after commit of records.delete", DELETE)
    if committed:
        installation.gone.add(file_id)
    assert (file_id in installation.listed()) == (not committed)


@pytest.mark.parametrize("act", ["EIO", "ENOSPC"])
@pytest.mark.promise("R-10")
def test_a_failed_commit_leaves_nothing(installation: Installation, act: str) -> None:
    with installation.victim.failing(act, "before commit of records.create_inline", "*"):
        assert send_form(installation.victim.client, "failed", SMALL).status_code in (500, 507)
    assert "failed" not in installation.listed().values()
    assert garbage(installation.data_dir) == {}
    assert findings(installation.data_dir) == []
    installation.upload("works again", SMALL)
