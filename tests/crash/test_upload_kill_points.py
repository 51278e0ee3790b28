"""kill -9 before and after every step of an upload in parts: its client goes on where it was, and gets one whole file."""

import functools
from collections.abc import Callable

import httpx2
import pytest

from tests.crash.harness import sha256, sql
from tests.crash.steps import (
    LARGE,
    PUT,
    REMOVE,
    SMALL,
    Installation,
    Step,
    durable,
    is_behind,
    passed,
    points,
)
from tests.support.parts import add_part, create_upload, send_complete, send_part, upload_in_parts
from tests.support.waiting import wait_until

CREATE: list[Step] = [durable("uploads.create"), "answer head", "answer body"]
PART: list[Step] = [
    *(durable("uploads.begin_part"), PUT, durable("uploads.accept_part"), "answer head", "answer body"),
]
COMPLETE: list[Step] = [durable("uploads.complete"), "answer head", "answer body"]
CANCEL: list[Step] = [
    *(durable("uploads.cancel"), "answer head", "answer body", REMOVE, durable("records.delete_blob_rows")),
]
REPEATED_PART: list[Step] = [
    *(durable("uploads.begin_part"), PUT, durable("uploads.accept_part"), durable("records.abandon"), REMOVE),
    *(durable("records.delete_blob_rows"), "answer head", "answer body"),
]
CHECK: list[Step] = [durable("uploads.record_check")]
SWEEP: list[Step] = [durable("records.claim_garbage"), REMOVE, durable("records.delete_blob_rows")]
DELETE: list[Step] = [durable("records.delete"), REMOVE, durable("records.delete_blob_rows")]


def ended(installation: Installation) -> None:
    """An hour passes for the uploads that nobody goes on with; the next check sweeps them."""
    sql(installation.data_dir, "UPDATE uploads SET expires_at = created_at WHERE status = 'pending'")


def finish(installation: Installation, upload_id: str, parts: list[str], content: bytes) -> str:
    """Complete, and expect the file from now on."""
    response = send_complete(installation.victim.client, upload_id, parts)
    assert response.status_code == 200, response.text
    file_id = str(response.json()["file"]["id"])
    installation.contents[file_id] = sha256(content)
    assert installation.victim.client.get(f"/files/{file_id}/content").content == content
    return file_id


# --- the order of the steps -----------------------------------------------------------------------------------------


def test_the_steps_of_an_upload_in_parts(installation: Installation) -> None:
    victim = installation.victim

    def traced(act: Callable[[], object], last: str) -> list[str]:
        with victim.traced() as trace:
            act()
            wait_until(lambda: victim.trace()[-1].startswith(f"after {last}|"), f"no {last}")
        return passed(trace)

    made: list[str] = []
    found = traced(lambda: made.append(create_upload(victim.client, len(SMALL))["id"]), "answer body")
    assert found == points(CREATE)
    parts: list[str] = []
    assert traced(lambda: parts.append(add_part(victim.client, made[0], SMALL)), "answer body") == points(PART)
    assert traced(lambda: send_part(victim.client, made[0], SMALL, retries=1), "answer body") == points(REPEATED_PART)
    assert traced(lambda: finish_untraced(installation, made[0], parts), "answer body") == points(COMPLETE)
    other = create_upload(victim.client, len(SMALL))["id"]
    add_part(victim.client, other, SMALL)
    wait_until(lambda: victim.trace()[-1].startswith("after answer body|"), "the answer is not noted")
    cancel = functools.partial(victim.client.post, f"/uploads/{other}/cancel")
    assert traced(cancel, "records.delete_blob_rows") == points(CANCEL)


def finish_untraced(installation: Installation, upload_id: str, parts: list[str]) -> None:
    file = send_complete(installation.victim.client, upload_id, parts).json()["file"]
    installation.contents[file["id"]] = sha256(SMALL)


# --- kills ----------------------------------------------------------------------------------------------------------


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", points(CREATE))
@pytest.mark.promise("R-01")
def test_killed_while_an_upload_is_created(installation: Installation, step: str) -> None:
    before = pending_uploads(installation)
    installation.die_at(step, 1, lambda client: client.post("/uploads", json=new_upload(step)))
    committed = is_behind(step, "after commit of uploads.create", CREATE)
    assert pending_uploads(installation) - before == ({step} if committed else set())
    ended(installation)


def new_upload(name: str) -> dict[str, object]:
    return {"filename": name, "purpose": "user_data", "bytes": 1_000_000, "mime_type": "text/plain"}


def pending_uploads(installation: Installation) -> set[str]:
    return {name for (name,) in sql(installation.data_dir, "SELECT filename FROM uploads WHERE status = 'pending'")}


FIRST = b"unlike the part that follows: of equal parts it is not known which one is repeated"
LARGE_STEPS = ("after write staging", "after rename staging", "before commit of uploads.accept_part")


@pytest.mark.rotating(3)
@pytest.mark.parametrize(
    ("step", "content"),
    [*((step, SMALL) for step in points(PART)), *((step, LARGE) for step in LARGE_STEPS)],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",
)
@pytest.mark.promise("R-01")
def test_killed_while_a_part_is_stored(installation: Installation, step: str, content: bytes) -> None:
    upload_id = create_upload(installation.victim.client, len(FIRST) + len(content), name=step)["id"]
    first = add_part(installation.victim.client, upload_id, FIRST)
    response = installation.die_at(step, 1, lambda client: send_part(client, upload_id, content))
    stored = sql(installation.data_dir, "SELECT id FROM upload_parts WHERE upload_id = ?", upload_id)
    assert (first,) in stored, "parts survive a restart"
    committed = is_behind(step, "after commit of uploads.accept_part", PART)
    assert len(stored) == 1 + committed
    again = send_part(installation.victim.client, upload_id, content, retries=1)
    assert again.status_code == 200, again.text
    if committed:
        assert (again.json()["id"],) in stored, "it is the same part"
    assert response is None or response.json() == again.json()
    finish(installation, upload_id, [first, again.json()["id"]], FIRST + content)


@pytest.mark.rotating(3)
@pytest.mark.parametrize("contents", [[SMALL], [SMALL, LARGE, b"last"]], ids=["one part", "parts"])
@pytest.mark.parametrize("step", points(COMPLETE))
@pytest.mark.promise("R-01")
def test_killed_while_an_upload_is_completed(
    installation: Installation,
    step: str,
    contents: list[bytes],
) -> None:
    name = f"{step} {len(contents)}"
    upload_id = create_upload(installation.victim.client, sum(map(len, contents)), name=name)["id"]
    parts = [add_part(installation.victim.client, upload_id, content) for content in contents]
    response = installation.die_at(step, 1, lambda client: send_complete(client, upload_id, parts))
    committed = is_behind(step, "after commit of uploads.complete", COMPLETE)
    assert (name in installation.listed().values()) == committed
    file_id = finish(installation, upload_id, parts, b"".join(contents))
    assert response is None or response.json()["file"]["id"] == file_id
    assert list(installation.listed().values()).count(name) == 1


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", points(CANCEL))
@pytest.mark.promise("R-01")
def test_killed_while_an_upload_is_cancelled(installation: Installation, step: str) -> None:
    upload_id = create_upload(installation.victim.client, 100)["id"]
    part = add_part(installation.victim.client, upload_id, b"x" * 100)
    installation.die_at(step, 1, lambda client: client.post(f"/uploads/{upload_id}/cancel"))
    if is_behind(step, "after commit of uploads.cancel", CANCEL):
        assert send_complete(installation.victim.client, upload_id, [part]).status_code == 400
    assert installation.victim.client.post(f"/uploads/{upload_id}/cancel").json()["status"] == "cancelled"


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", points(REPEATED_PART[2:]))
@pytest.mark.promise("R-01")
def test_killed_while_a_part_is_repeated(installation: Installation, step: str) -> None:
    upload_id = create_upload(installation.victim.client, len(SMALL))["id"]
    part = add_part(installation.victim.client, upload_id, SMALL)
    installation.die_at(step, 1, lambda client: send_part(client, upload_id, SMALL, retries=1))
    finish(installation, upload_id, [part], SMALL)


KEY = "part-1"


def finish_with_two_copies(installation: Installation, upload_id: str, response: httpx2.Response | None) -> str:
    """Repeat the part until it is acknowledged, add another one with the same bytes, and complete.

    There is room for both, so only the key tells that the repetition is the same part.
    """
    client = installation.victim.client
    again = send_part(client, upload_id, SMALL, key=KEY)
    assert again.status_code == 200, again.text
    assert response is None or response.json() == again.json()
    assert send_part(client, upload_id, SMALL[::-1], key=KEY).status_code == 400, "other bytes with the same key"
    part = str(again.json()["id"])
    assert len(stored_parts(installation, upload_id)) == 1
    other = add_part(client, upload_id, SMALL)
    assert other != part
    finish(installation, upload_id, [part, other], SMALL + SMALL)
    return part


def stored_parts(installation: Installation, upload_id: str) -> list[str]:
    rows = sql(installation.data_dir, "SELECT id FROM upload_parts WHERE upload_id = ?", upload_id)
    return [part for (part,) in rows]


@pytest.mark.rotating(6)
@pytest.mark.parametrize("step", points(PART))
@pytest.mark.promise("R-01")
def test_killed_while_a_part_with_a_key_is_stored(installation: Installation, step: str) -> None:
    upload_id = create_upload(installation.victim.client, 2 * len(SMALL))["id"]
    response = installation.die_at(step, 1, lambda client: send_part(client, upload_id, SMALL, key=KEY))
    stored = stored_parts(installation, upload_id)
    assert len(stored) == is_behind(step, "after commit of uploads.accept_part", PART)
    part = finish_with_two_copies(installation, upload_id, response)
    assert stored in ([], [part])


@pytest.mark.rotating(6)
@pytest.mark.parametrize("step", points(REPEATED_PART))
@pytest.mark.promise("R-01")
def test_killed_while_a_part_with_a_key_is_repeated(installation: Installation, step: str) -> None:
    upload_id = create_upload(installation.victim.client, 2 * len(SMALL))["id"]
    first = send_part(installation.victim.client, upload_id, SMALL, key=KEY)
    response = installation.die_at(step, 1, lambda client: send_part(client, upload_id, SMALL, key=KEY))
    assert stored_parts(installation, upload_id) == [first.json()["id"]]
    assert response is None or response.json() == first.json()
    assert finish_with_two_copies(installation, upload_id, first) == first.json()["id"]


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", points(CHECK))
@pytest.mark.promise("R-01")
def test_killed_while_a_file_in_parts_is_checked(installation: Installation, step: str) -> None:
    found: list[str] = []

    def complete(client: httpx2.Client) -> httpx2.Response:
        found.append(upload_in_parts(client, SMALL, LARGE)["file"]["id"])
        raise httpx2.TransportError("nobody waits for a check")

    installation.die_at(step, 1, complete)
    installation.contents[found[0]] = sha256(SMALL + LARGE)
    query = "SELECT sha256, (SELECT count(*) FROM jobs) FROM files WHERE id = ?"
    wait_until(
        lambda: sql(installation.data_dir, query, found[0]) == [(sha256(SMALL + LARGE), 0)], "it was not checked again"
    )


@pytest.mark.rotating(3)
@pytest.mark.parametrize(("step", "nth"), [*((step, 1) for step in points(DELETE)), ("before unlink blob", 3)])
@pytest.mark.promise("R-01")
def test_killed_while_a_file_in_parts_is_deleted(installation: Installation, step: str, nth: int) -> None:
    file_id = upload_in_parts(installation.victim.client, b"one", b"two", b"three")["file"]["id"]
    installation.contents[file_id] = sha256(b"onetwothree")
    settled = "SELECT count(*) FROM jobs"
    wait_until(lambda: sql(installation.data_dir, settled) == [(0,)], "it was not checked")
    installation.die_at(step, nth, lambda client: client.delete(f"/files/{file_id}"))
    committed = is_behind(step, "after commit of records.delete", DELETE)
    if committed:
        installation.gone.add(file_id)
    assert (file_id in installation.listed()) == (not committed)


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", points(SWEEP))
@pytest.mark.promise("R-01")
def test_killed_while_expired_uploads_are_swept(sweeping: Installation, step: str) -> None:
    upload_id = create_upload(sweeping.victim.client, 100)["id"]
    parts = [add_part(sweeping.victim.client, upload_id, b"%d" % number) for number in range(3)]
    nth = 1 if "records." in step else 2  # the second of three blobs

    def expire_now(client: httpx2.Client) -> httpx2.Response:
        ended(sweeping)
        raise httpx2.TransportError("nobody waits for a sweep")

    sweeping.die_at(step, nth, expire_now)
    assert send_complete(sweeping.victim.client, upload_id, parts).status_code == 400
    sql(sweeping.data_dir, "UPDATE blobs SET lease_until_us = 1 WHERE state = 'doomed'")
    wait_until(lambda: sql(sweeping.data_dir, "SELECT sum(bytes_reserved) FROM projects") == [(0,)], "not released")
