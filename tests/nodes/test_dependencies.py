"""A node whose database or store is down or silent: what clients are told, how soon, and that nothing needs a restart."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from filestead.domain.files.sweep import CLAIM_SECONDS
from filestead.domain.jobs import MAX_ATTEMPTS
from tests.batches.models import ThreadedModels
from tests.nodes.fleet import contents, fleet, unused
from tests.nodes.outages import AGAIN_SECONDS, Node, SlowUpload, are_unavailable, is_unavailable, killed, silent
from tests.nodes.work import PART, Work
from tests.support.model_server import ModelServer
from tests.support.postgres import PostgresServer
from tests.support.seaweedfs import SeaweedServer, require
from tests.support.servers import run_command
from tests.support.waiting import wait_until

ATTEMPTS = MAX_ATTEMPTS + 1
"""More than a job has that fails for another reason."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    require()
    postgres, seaweed = PostgresServer(), SeaweedServer()
    try:
        with ThreadedModels(ModelServer(instant=True)) as models:
            settings = {"inline_bytes": 0, "upstream_url": models.url}
            with fleet(tmp_path_factory.mktemp("node"), 1, postgres, seaweed, **settings) as made:
                yield Node(made, postgres, seaweed, models)
    finally:
        seaweed.stop()
        postgres.remove()


@pytest.mark.timing
@pytest.mark.promise("R-11")
@pytest.mark.parametrize("end", [killed, silent])
def test_a_node_without_its_database_reports_unavailable_and_recovers(
    node: Node, end: Callable[[object], AbstractContextManager[None]]
) -> None:
    client, file_id = node.server.client, node.stored()
    with end(node.postgres):
        are_unavailable(
            lambda: client.get("/files", timeout=60),
            lambda: client.get(f"/files/{file_id}", timeout=60),
            lambda: client.get(f"/files/{file_id}/content", timeout=60),
            lambda: client.delete(f"/files/{file_id}", timeout=60),
            node.upload,
        )
        is_unavailable(node.upload)  # also the next one
        unready = node.ready()
        assert unready.status_code == 503
        assert "Not ready: the database is unavailable." in unready.text
    wait_until(lambda: node.ready().status_code == 200, "it stays unready", AGAIN_SECONDS)
    assert client.get(f"/files/{file_id}/content").content == b"content"
    assert node.upload().status_code == 200


@pytest.mark.timing
@pytest.mark.promise("R-12")
@pytest.mark.parametrize("end", [killed, silent])
def test_a_node_without_its_blob_store_reports_unavailable_and_recovers(
    node: Node, end: Callable[[object], AbstractContextManager[None]]
) -> None:
    client, file_id = node.server.client, node.stored()
    with end(node.seaweed):
        are_unavailable(lambda: client.get(f"/files/{file_id}/content", timeout=60), node.upload)
        unready = node.ready()
        assert unready.status_code == 503
        assert "Not ready: the blob store is unavailable." in unready.text
        assert client.get(f"/files/{file_id}").status_code == 200, "what is in the database is still told"
        assert file_id in client.get("/files").text
    wait_until(lambda: node.ready().status_code == 200, "it stays unready", AGAIN_SECONDS)
    assert client.get(f"/files/{file_id}/content").content == b"content"
    assert node.upload().status_code == 200


@contextmanager
def under_way(node: Node) -> Iterator[tuple[Work, SlowUpload]]:
    """Work, a part on its way, and files that are attached the moment before."""
    wait_until(lambda: node.upload().status_code == 200, "it takes no upload", AGAIN_SECONDS)
    work = Work(node.server, node.models)
    try:
        texts = work.add_texts(8)
        slow = SlowUpload(node.server, f"/uploads/{work.upload}/parts", PART, field="data")
        work.attach(texts)
        yield work, slow
    finally:
        work.release_lines.set()


@pytest.mark.timing
@pytest.mark.rotating(2)
@pytest.mark.promise("R-11")
@pytest.mark.parametrize("end", [killed, silent])
def test_work_goes_on_after_an_outage_of_the_database(
    node: Node, end: Callable[[object], AbstractContextManager[None]]
) -> None:
    with under_way(node) as (work, slow):
        with end(node.postgres):
            are_unavailable(*work.requests_of_rows(), work.add_part)
            work.release_lines.set()
            slow.rest.set()
        part = slow.response()
        assert part is not None and part.status_code == 200, "its bytes are stored, and the outage ends soon"
        work.parts.append(part.json()["id"])
        wait_until(lambda: node.ready().status_code == 200, "it stays unready", AGAIN_SECONDS)
        work.check()


@pytest.mark.timing
@pytest.mark.rotating(2)
@pytest.mark.promise("R-12")
@pytest.mark.parametrize("end", [killed, silent])
def test_work_goes_on_after_an_outage_of_the_blob_store(
    node: Node, end: Callable[[object], AbstractContextManager[None]]
) -> None:
    with under_way(node) as (work, slow):
        with end(node.seaweed):
            slow.rest.set()
            are_unavailable(work.add_part, lambda: slow.response() or pytest.fail("no response"))
            for ask in work.requests_of_rows():
                response = ask()
                assert response.status_code == 200, f"{response.request.url}: {response.text}"
            work.release_lines.set()
            fail_to_index(node, ATTEMPTS)
        wait_until(lambda: node.ready().status_code == 200, "it stays unready", AGAIN_SECONDS)
        node.made.place.sql("UPDATE jobs SET due_us = 1 WHERE token IS NULL")
        work.check()


def fail_to_index(node: Node, times: int) -> None:
    """Attempts at a job that indexes a file, as if the time for the next one had come; the others wait meanwhile."""
    place = node.made.place
    place.sql("UPDATE jobs SET due_us = filestead_now() + 600000000 WHERE kind = 'index' AND token IS NULL")
    ((job,),) = place.sql("SELECT min(id) FROM jobs WHERE kind = 'index'")
    waits = "SELECT 1 FROM jobs WHERE id = ? AND token IS NULL AND due_us > filestead_now()"
    for _ in range(times):
        wait_until(lambda: place.sql(waits, job), "there is no attempt", AGAIN_SECONDS)
        place.sql("UPDATE jobs SET due_us = 1 WHERE id = ?", job)
    wait_until(lambda: place.sql(waits, job), "it is given up", AGAIN_SECONDS)


def test_refused_uploads_leave_neither_rows_nor_blobs(node: Node, tmp_path: Path) -> None:
    """Uploads that were refused have left neither rows nor bytes behind, once they are swept."""
    wait_until(lambda: node.upload().status_code == 200, "it takes no upload", AGAIN_SECONDS)
    place = node.made.place
    place.sql("UPDATE blobs SET lease_until_us = 1 WHERE state != 'live'")
    assert run_command(tmp_path, "sweep", place=place).returncode == 0
    # What the node is just sweeping is left to it, or free again when its claim ends.
    wait_until(lambda: not unused(place), lambda: unused(place), CLAIM_SECONDS + AGAIN_SECONDS)
    assert place.stored() == contents(place)
