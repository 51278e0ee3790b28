"""A node that is cut off from its servers acknowledges nothing, says so soon, and comes back by itself."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.batches.models import ThreadedModels
from tests.batches.runs import get
from tests.nodes.fleet import Fleet, fleet
from tests.nodes.outages import AGAIN_SECONDS, SlowUpload, are_unavailable
from tests.nodes.work import Work
from tests.support.databases import shared_postgres
from tests.support.model_server import ModelServer
from tests.support.namespaces import Namespace, NamespaceServer, Relay, namespace
from tests.support.promises import Trials
from tests.support.seaweedfs import require, shared_server
from tests.support.servers import Server, run_command
from tests.support.waiting import wait_until

LARGE = b"large" * 100_000
CUT_SECONDS = 3
"""The cable stays cut so long after the last answer."""
ANSWER_SECONDS = 20

pytestmark = pytest.mark.embedded("chooses itself where its installations are")


@dataclass
class Pair:
    """Two nodes, of which one can be cut off. The other one runs no jobs."""

    network: Namespace
    made: Fleet
    cut_off: Server
    models: ThreadedModels
    """Both nodes reach them, also the one that is cut off."""

    @property
    def other(self) -> Server:
        (node,) = self.made.alive
        return node


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    require()
    postgres, seaweed = shared_postgres(), shared_server()
    with (
        namespace() as network,
        ThreadedModels(ModelServer(instant=True)) as models,
        fleet(tmp_path, 1, postgres, seaweed, sweep_seconds=1, role="api", upstream_url=models.url) as made,
    ):
        relays = [Relay(network.server_address, port) for port in (postgres.port, seaweed.port)]
        rows, store = (f"{network.server_address}:{relay.port}" for relay in relays)
        relays.append(Relay(network.outside_address, int(models.url.split(":")[2].split("/")[0])))
        env = {
            "FILESTEAD_HOST": network.client_address,
            "FILESTEAD_DATABASE_URL": postgres.url_of(made.place.name).replace(f"127.0.0.1:{postgres.port}", rows),
            "FILESTEAD_S3_ENDPOINT": f"http://{store}",
            "FILESTEAD_UPSTREAM_URL": f"http://{network.outside_address}:{relays[-1].port}/v1",
        }
        NamespaceServer.network = network
        with NamespaceServer(tmp_path / "cut off", place=made.place, env=env, uploads_per_minute=0) as server:
            yield Pair(network, made, server, models)
        for relay in relays:
            relay.close()
    postgres.drop(made.place.name)


def ready(server: Server) -> httpx2.Response:
    return httpx2.get(f"{server.origin}/health/ready", timeout=30)


def listed(server: Server) -> dict[str, str]:
    """Name by id."""
    return {file["id"]: file["filename"] for file in server.client.get("/files?limit=1000").json()["data"]}


@pytest.mark.timeout(900)
@pytest.mark.promise("R-15")
def test_a_node_that_is_cut_off_acknowledges_nothing_and_comes_back(pair: Pair, trials: Trials) -> None:
    cut_off, other = pair.cut_off, pair.other
    client = cut_off.client
    kept = {cut_off.upload(b"small", name="small")["id"]: b"small", cut_off.upload(LARGE, name="large")["id"]: LARGE}
    gone = cut_off.upload(b"gone", name="gone")["id"]
    names = {file_id: listed(other)[file_id] for file_id in kept}
    assert client.get(f"/files/{gone}").status_code == 200
    slow = SlowUpload(cut_off, "/files", LARGE * 2, purpose="user_data")

    def upload(content: bytes) -> httpx2.Response:
        return client.post("/files", data={"purpose": "user_data"}, files={"file": ("no", content)}, timeout=60)

    with pair.network.cut():
        slow.rest.set()  # the node tries for a while to store it
        are_unavailable(
            lambda: client.get("/files", timeout=60),
            *(lambda path=path: client.get(path, timeout=60) for path in (f"/files/{gone}", f"/files/{gone}/content")),
            lambda: client.delete(f"/files/{next(iter(kept))}", timeout=60),
            lambda: upload(b"small"),
            lambda: upload(LARGE),
            seconds=ANSWER_SECONDS,
        )
        unready = ready(cut_off)
        assert unready.status_code == 503
        assert "Not ready: " in unready.text
        assert httpx2.get(f"{cut_off.origin}/health", timeout=30).status_code == 200, "it lives"

        # The other node goes on; the one that is cut off does not say what it knew before.
        made = other.upload(b"made meanwhile", name="meanwhile")["id"]
        assert other.client.delete(f"/files/{gone}").status_code == 200
        assert ready(other).status_code == 200
        again = (lambda: client.get(f"/files/{gone}", timeout=60), lambda: upload(b"small"))
        are_unavailable(*again, seconds=ANSWER_SECONDS)
        response = slow.response()
        assert response is None or response.status_code == 503, response.text
        time.sleep(CUT_SECONDS)

    wait_until(lambda: ready(cut_off).status_code == 200, "it stays unready", AGAIN_SECONDS)
    kept[made], names[made] = b"made meanwhile", "meanwhile"
    for server in (cut_off, other):
        assert listed(server) == names
        for file_id, content in kept.items():
            assert server.client.get(f"/files/{file_id}/content").content == content
        assert server.client.get(f"/files/{gone}").status_code == 404
    assert client.delete(f"/files/{made}").status_code == 200
    assert other.client.get(f"/files/{made}").status_code == 404

    assert_sound(pair)
    trials()


@pytest.mark.timeout(900)
@pytest.mark.promise("R-15")
def test_jobs_of_a_node_that_is_cut_off_go_on_at_another(pair: Pair, tmp_path: Path) -> None:
    place = pair.made.place
    work = Work(pair.cut_off, pair.models)
    work.attach(work.add_texts(20))
    with pair.network.cut():
        work.server = pair.other
        work.release_lines.set()  # the node that is cut off gets their results, and can store none
        with Server(tmp_path / "worker", place=place, role="worker", upstream_url=pair.models.url, sweep_seconds=1):
            place.sql("UPDATE jobs SET due_us = 1 WHERE token IS NOT NULL")  # as if the leases had expired
            work.check()
            done = get(pair.other, work.batch)
    wait_until(lambda: ready(pair.cut_off).status_code == 200, "it stays unready", AGAIN_SECONDS)
    wait_until(lambda: "is not ours any more" in pair.cut_off.output, "it does not notice", AGAIN_SECONDS)
    assert get(pair.cut_off, work.batch) == done, "the late node changes nothing"
    work.wait_until_indexed()
    assert_sound(pair)


def assert_sound(pair: Pair) -> None:
    pair.made.place.sql("UPDATE blobs SET lease_until_us = 1 WHERE state != 'live'")
    for command in (["sweep"], ["verify", "--deep", "--json"]):
        done = run_command(pair.cut_off.data_dir, *command, place=pair.made.place)
        assert done.returncode == 0, done.stdout + done.stderr
