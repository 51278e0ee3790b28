"""kill -9 before and after every step of changes of vector stores and batches, and of the jobs that run for them."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.batches import runs
from tests.batches.models import ThreadedModels
from tests.crash.harness import findings, sha256, sql
from tests.crash.steps import Installation, Installations, Step, durable, is_behind, passed, points
from tests.support.attempts import attempt
from tests.support.model_server import Fault, ModelServer, Received
from tests.support.waiting import wait_until

ANSWER: list[Step] = ["answer head", "answer body"]
ATTACH: list[Step] = [durable("stores.attach"), *ANSWER]
DETACH: list[Step] = [durable("stores.detach"), *ANSWER]
CREATE_STORE: list[Step] = [durable("stores.create"), *ANSWER]
DELETE_STORE: list[Step] = [durable("stores.delete"), *ANSWER]
INDEX: list[Step] = ["commit of jobs.claim", durable("index.complete_file")]
CREATE_BATCH: list[Step] = [durable("batches.create"), *ANSWER]
CANCEL_BATCH: list[Step] = [durable("batches.cancel"), *ANSWER]
OUTPUT: list[Step] = [durable("runs.begin_output"), "blobs.put", durable("runs.finish")]
RUN: list[Step] = [
    *("commit of jobs.claim", durable("runs.start"), durable("runs.append"), durable("runs.start_finalizing")),
    *OUTPUT,
]
INVALID: list[Step] = ["commit of jobs.claim", durable("runs.fail")]

TEXT = b"harbour lights at night"
LINES = 4
SLOW = "slow"
SLOW_SECONDS = 5
"""The text of a line that the model server takes its time for, so that its batch can be cancelled."""


@pytest.fixture(scope="module")
def models() -> Iterator[ThreadedModels]:
    def wait_if_asked(received: Received) -> Fault | None:
        return Fault.slow(SLOW_SECONDS) if received.json["messages"][-1]["content"] == SLOW else None

    with ThreadedModels(ModelServer(instant=True, script=wait_if_asked)) as running:
        yield running


@pytest.fixture(scope="module")
def working_installations(tmp_path_factory: pytest.TempPathFactory, models: ThreadedModels) -> Iterator[Installations]:
    """Their claims of jobs are steps."""
    settings = {"sweep_seconds": 3_600, "upstream_url": models.url, "jobs": True}
    made = Installations(lambda: Installation(tmp_path_factory.mktemp("stores") / "data", **settings))
    yield made
    list(made.close())


@pytest.fixture
def installation(working_installations: Installations) -> Iterator[Installation]:
    with working_installations.one() as found:
        yield found


def in_background(request: Callable[[httpx2.Client], httpx2.Response]) -> Callable[[httpx2.Client], httpx2.Response]:
    """A request that is answered before the steps that it starts."""

    def send(client: httpx2.Client) -> httpx2.Response:
        assert request(client).status_code == 200
        raise httpx2.TransportError("nobody waits for a job")

    return send


CHANGES = ("commit of", "stores.", "index.", "batches.", "runs.", "blobs.")


def changes(trace: list[str]) -> list[str]:
    """The points at calls of the stores that change something, and at their commits; each in its first place."""
    ours = [line for line in trace if line.partition(" ")[2].startswith(CHANGES) and "commit of start" not in line]
    return list(dict.fromkeys(passed(ours)))


def is_committed_before_the_answer(trace: list[str], call: str) -> bool:
    points = [line.partition("|")[0] for line in trace]
    return points.index(f"after commit of {call}") < points.index("before answer head")


# --- vector stores --------------------------------------------------------------------------------------------------


def new_store(installation: Installation) -> str:
    return str(installation.victim.client.post("/vector_stores", json={}).json()["id"])


def attach(client: httpx2.Client, store: str, file_id: str) -> httpx2.Response:
    return client.post(f"/vector_stores/{store}/files", json={"file_id": file_id})


def attached(installation: Installation, store: str) -> list[str]:
    """The files of a store, of which there are as many as its counts say."""
    client = installation.victim.client
    found = [file["id"] for file in client.get(f"/vector_stores/{store}/files").json()["data"]]
    assert client.get(f"/vector_stores/{store}").json()["file_counts"]["total"] == len(found)
    return found


def wait_for_index(installation: Installation, store: str, *expected: str) -> None:
    """These files are found, each once, and no others."""
    client = installation.victim.client

    def counts() -> Any:
        return client.get(f"/vector_stores/{store}").json()["file_counts"]

    wait_until(lambda: counts()["completed"] == counts()["total"], counts)
    found = client.post(f"/vector_stores/{store}/search", json={"query": "harbour"}).json()["data"]
    assert sorted(each["file_id"] for each in found) == sorted(expected)
    usage = client.get(f"/vector_stores/{store}").json()["usage_bytes"]
    files = client.get(f"/vector_stores/{store}/files").json()["data"]
    assert usage == sum(file["usage_bytes"] for file in files)


def test_the_steps_of_an_attachment(installation: Installation) -> None:
    store = new_store(installation)
    file_id = installation.upload("traced.txt", TEXT)
    with installation.victim.traced() as trace:
        assert attach(installation.victim.client, store, file_id).status_code == 200
        wait_for_index(installation, store, file_id)
    assert changes(trace) == points([ATTACH[0], *INDEX])
    assert is_committed_before_the_answer(trace, "stores.attach")


@pytest.mark.rotating(6)
@pytest.mark.parametrize("step", points(ATTACH))
@pytest.mark.promise("R-01")
def test_killed_while_a_file_is_attached(installation: Installation, step: str) -> None:
    store = new_store(installation)
    file_id = installation.upload("attached.txt", TEXT)
    response = installation.die_at(step, 1, lambda client: attach(client, store, file_id))
    committed = is_behind(step, "after commit of stores.attach", ATTACH)
    assert response is None or committed
    assert attached(installation, store) == ([file_id] if committed else [])
    wait_for_index(installation, store, *([file_id] if committed else []))
    assert attach(installation.victim.client, store, file_id).status_code == 200
    wait_for_index(installation, store, file_id)


@pytest.mark.rotating(6)
@pytest.mark.parametrize("step", points(DETACH))
@pytest.mark.promise("R-01")
def test_killed_while_a_file_is_detached(installation: Installation, step: str) -> None:
    store = new_store(installation)
    file_id = installation.upload("detached.txt", TEXT)
    attach(installation.victim.client, store, file_id)
    wait_for_index(installation, store, file_id)
    response = installation.die_at(
        step, 1, lambda client: client.delete(f"/vector_stores/{store}/files/{file_id}")
    )  # fmt: skip
    committed = is_behind(step, "after commit of stores.detach", DETACH)
    assert response is None or committed
    assert attached(installation, store) == ([] if committed else [file_id])
    wait_for_index(installation, store, *([] if committed else [file_id]))


@pytest.mark.rotating(6)
@pytest.mark.parametrize("step", points(CREATE_STORE))
@pytest.mark.promise("R-01")
def test_killed_while_a_store_is_created(installation: Installation, step: str) -> None:
    files = [installation.upload(f"{number}.txt", TEXT) for number in range(2)]
    body = {"name": step, "file_ids": files}
    response = installation.die_at(step, 1, lambda client: client.post("/vector_stores", json=body))
    stores = installation.victim.client.get("/vector_stores", params={"limit": 100}).json()["data"]
    found = [store["id"] for store in stores if store["name"] == step]
    committed = is_behind(step, "after commit of stores.create", CREATE_STORE)
    assert len(found) == committed
    assert response is None or found == [response.json()["id"]]
    for store in found:
        assert sorted(attached(installation, store)) == sorted(files)
        wait_for_index(installation, store, *files)


@pytest.mark.rotating(6)
@pytest.mark.parametrize("step", points(CREATE_STORE))
@pytest.mark.promise("R-01", "R-16")
def test_killed_while_a_store_is_created_and_sent_again(installation: Installation, step: str) -> None:
    body = {"name": f"again {step}", "file_ids": [installation.upload("again.txt", TEXT)]}

    def send(client: httpx2.Client, number: int) -> httpx2.Response:
        return client.post("/vector_stores", json=body, headers=attempt(number))

    first = installation.die_at(step, 1, lambda client: send(client, 0))
    again = send(installation.victim.client, 1)
    assert again.status_code == 200
    stores = installation.victim.client.get("/vector_stores", params={"limit": 100}).json()["data"]
    assert [store["id"] for store in stores if store["name"] == body["name"]] == [again.json()["id"]]
    assert first is None or first.json()["id"] == again.json()["id"]
    wait_for_index(installation, again.json()["id"], *body["file_ids"])


@pytest.mark.rotating(6)
@pytest.mark.parametrize("step", points(DELETE_STORE))
@pytest.mark.promise("R-01")
def test_killed_while_a_store_is_deleted(installation: Installation, step: str) -> None:
    store = new_store(installation)
    file_id = installation.upload("kept.txt", TEXT)
    attach(installation.victim.client, store, file_id)
    wait_for_index(installation, store, file_id)
    response = installation.die_at(step, 1, lambda client: client.delete(f"/vector_stores/{store}"))
    committed = is_behind(step, "after commit of stores.delete", DELETE_STORE)
    assert response is None or committed
    assert installation.victim.client.get(f"/vector_stores/{store}").status_code == (404 if committed else 200)
    if not committed:
        wait_for_index(installation, store, file_id)
        assert installation.victim.client.delete(f"/vector_stores/{store}").status_code == 200
    assert findings(installation.data_dir) == []
    assert sql(installation.data_dir, "SELECT count(*) FROM vector_store_chunks c, detached_files d") == [(0,)]


@pytest.mark.rotating(6)
@pytest.mark.parametrize("step", points(INDEX))
@pytest.mark.promise("R-18")
def test_killed_while_a_file_is_indexed(installation: Installation, step: str) -> None:
    store = new_store(installation)
    file_id = installation.upload("indexed.txt", TEXT)
    installation.die_at(step, 1, in_background(lambda client: attach(client, store, file_id)))
    assert attached(installation, store) == [file_id]
    wait_for_index(installation, store, file_id)
    assert sql(installation.data_dir, "SELECT count(*) FROM jobs") == [(0,)]


# --- batches --------------------------------------------------------------------------------------------------------


def new_input(installation: Installation, lines: list[runs.Line]) -> str:
    content = runs.encode(lines)
    file_id = str(installation.victim.upload(content, purpose="batch", name="input.jsonl")["id"])
    installation.contents[file_id] = sha256(content)
    return file_id


def create(client: httpx2.Client, input_id: str, headers: dict[str, str] | None = None) -> httpx2.Response:
    body = {"input_file_id": input_id, "endpoint": runs.CHAT, "completion_window": "24h"}
    return client.post("/batches", json=body, headers=headers)


def batches_of(installation: Installation, input_id: str) -> list[Any]:
    found = installation.victim.client.get("/batches", params={"limit": 100}).json()["data"]
    return [batch for batch in found if batch["input_file_id"] == input_id]


def end(installation: Installation, batch: Any) -> tuple[Any, list[str]]:
    """Wait for the end; the batch, and the ids of the lines with a result."""
    victim = installation.victim
    done = runs.wait(victim, batch)
    for file_id in filter(None, (done["output_file_id"], done["error_file_id"])):
        installation.contents[file_id] = sha256(victim.client.get(f"/files/{file_id}/content").content)
    ids = [line["custom_id"] for file in runs.results(victim, done) for line in file]
    return done, sorted(ids)


def check_completed(installation: Installation, batch: Any) -> None:
    done, ids = end(installation, batch)
    assert (done["status"], runs.counts(done)) == ("completed", (LINES, LINES, 0))
    assert ids == runs.ids(runs.lines(LINES)), "each line has one result"
    assert sql(installation.data_dir, "SELECT count(*) FROM jobs") == [(0,)]


def test_the_steps_of_a_batch(installation: Installation) -> None:
    input_id = new_input(installation, runs.lines(LINES))
    with installation.victim.traced() as trace:
        batch = create(installation.victim.client, input_id).json()
        check_completed(installation, batch)
    assert changes(trace) == points([CREATE_BATCH[0], *RUN])
    assert is_committed_before_the_answer(trace, "batches.create")


@pytest.mark.rotating(6)
@pytest.mark.parametrize("step", points(CREATE_BATCH))
@pytest.mark.promise("R-01")
def test_killed_while_a_batch_is_created(installation: Installation, step: str) -> None:
    input_id = new_input(installation, runs.lines(LINES))
    response = installation.die_at(step, 1, lambda client: create(client, input_id))
    found = batches_of(installation, input_id)
    assert len(found) == is_behind(step, "after commit of batches.create", CREATE_BATCH)
    assert response is None or found[0]["id"] == response.json()["id"]
    for batch in found:
        check_completed(installation, batch)


@pytest.mark.rotating(6)
@pytest.mark.parametrize("step", points(CREATE_BATCH))
@pytest.mark.promise("R-01", "R-16")
def test_killed_while_a_batch_is_created_and_sent_again(installation: Installation, step: str) -> None:
    input_id = new_input(installation, runs.lines(LINES))
    first = installation.die_at(step, 1, lambda client: create(client, input_id, attempt(0)))
    again = create(installation.victim.client, input_id, attempt(1))
    assert again.status_code == 200
    (batch,) = batches_of(installation, input_id)
    assert batch["id"] == again.json()["id"]
    assert first is None or first.json()["id"] == batch["id"]
    check_completed(installation, batch)


@pytest.mark.rotating(6)
@pytest.mark.parametrize("step", points(RUN))
@pytest.mark.promise("R-18")
def test_killed_while_a_batch_runs(installation: Installation, step: str) -> None:
    input_id = new_input(installation, runs.lines(LINES))
    installation.die_at(step, 1, in_background(lambda client: create(client, input_id)))
    (batch,) = batches_of(installation, input_id)
    check_completed(installation, batch)


@pytest.mark.rotating(6)
@pytest.mark.parametrize("step", points(INVALID))
@pytest.mark.promise("R-18")
def test_killed_while_a_batch_fails(installation: Installation, step: str) -> None:
    input_id = new_input(installation, [*runs.lines(2), runs.lines(1)[0]])  # an id twice
    installation.die_at(step, 1, in_background(lambda client: create(client, input_id)))
    (batch,) = batches_of(installation, input_id)
    done, ids = end(installation, batch)
    assert (done["status"], ids) == ("failed", [])
    assert [runs.fault(each)[1] for each in done["errors"]["data"]] == [3]


def started(installation: Installation) -> tuple[str, Any]:
    """A batch with a result, and a line that runs."""
    input_id = new_input(installation, [*runs.lines(1), runs.line("line-2", SLOW)])
    batch = create(installation.victim.client, input_id).json()
    return input_id, runs.wait(installation.victim, batch, runs.has_counts(completed=1))


def check_cancelled(installation: Installation, batch: Any) -> None:
    done, ids = end(installation, batch)
    assert (done["status"], runs.counts(done)[2]) == ("cancelled", 0)
    assert ids == ["line-1", "line-2"], "each line has one result, or the error that it was cancelled"
    assert sql(installation.data_dir, "SELECT count(*) FROM jobs") == [(0,)]


@pytest.mark.rotating(6)
@pytest.mark.parametrize("step", points(CANCEL_BATCH))
@pytest.mark.promise("R-01")
def test_killed_while_a_batch_is_cancelled(installation: Installation, step: str) -> None:
    _, batch = started(installation)
    response = installation.die_at(step, 1, lambda client: client.post(f"/batches/{batch['id']}/cancel"))
    committed = is_behind(step, "after commit of batches.cancel", CANCEL_BATCH)
    assert response is None or committed
    status = runs.get(installation.victim, batch)["status"]
    assert status in (("cancelling", "cancelled") if committed else ("in_progress",))
    if not committed:
        assert installation.victim.client.post(f"/batches/{batch['id']}/cancel").status_code == 200
    check_cancelled(installation, batch)


@pytest.mark.rotating(6)
@pytest.mark.parametrize("step", points(OUTPUT))
@pytest.mark.promise("R-18")
def test_killed_while_a_cancelled_batch_ends(installation: Installation, step: str) -> None:
    _, batch = started(installation)
    installation.die_at(step, 1, in_background(lambda client: client.post(f"/batches/{batch['id']}/cancel")))
    check_cancelled(installation, batch)
