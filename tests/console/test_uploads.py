"""Uploads in the browser: by drop and by button, many at once, progress, cancelling, lost connections, parts."""

import hashlib
import threading
import time
from pathlib import Path

import pytest

from filestead.api.routes import OPERATIONS
from tests.client.proxy import Fault, Proxy
from tests.console.conftest import Open, drop
from tests.support.browser import Page
from tests.support.servers import Server

HAS_PARTS = any(operation.path == "/v1/uploads" for operation in OPERATIONS)
MB = 1_000_000
LOST = ("net::ERR_",)
ARRIVED = (
    "Math.max(0, ...Object.entries(sessionStorage).filter(([name]) => name.startsWith('filestead.upload.'))"
    ".map(([, text]) => Object.keys(JSON.parse(text).parts).length))"
)
"""How many parts the tab remembers."""


def choose(page: Page, *paths: Path, purpose: str | None = None) -> None:
    page.click("button", "Upload files")
    page.set_files("dialog input[type=file]", *paths)
    page.wait_for("dialog li", paths[0].name)
    if purpose:
        page.choose("dialog select", purpose)
    page.click("dialog button[type=submit]")
    page.wait_until_gone("dialog")


def limit_rate(page: Page, bytes_per_second: int) -> None:
    page.command(
        "Network.emulateNetworkConditions",
        offline=False,
        latency=0,
        downloadThroughput=-1,
        uploadThroughput=bytes_per_second,
    )


def stored(server: Server, name: str) -> list[dict[str, object]]:
    return [file for file in server.client.get("/files").json()["data"] if file["filename"] == name]


def random_file(folder: Path, name: str, size: int) -> Path:
    path = folder / name
    path.write_bytes(hashlib.shake_128(name.encode()).digest(1_000_000) * (size // MB))
    return path


def test_dropped_files_are_uploaded_together(opened: Open, server: Server) -> None:
    page = opened()
    drop(page, {f"dropped-{number}.txt": f"content {number}" for number in range(7)})
    page.wait_for("dialog li", "dropped-0.txt")
    page.click("dialog button[type=submit]")
    page.wait_for_count(".upload .status.good", 7)
    for number in range(7):
        (file,) = stored(server, f"dropped-{number}.txt")
        content = server.client.get(f"/files/{file['id']}/content").content
        assert content == f"content {number}".encode()
    page.wait_for("tbody a", "dropped-6.txt")
    page.click("button", "Clear finished")
    page.wait_until_gone(".uploads")


def test_the_purpose_is_suggested_and_a_refusal_shown(opened: Open, server: Server, tmp_path: Path) -> None:
    page = opened(expected=("status of 400",))
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(b"\xff\xfe")
    choose(page, bad)  # .jsonl: a batch file
    page.wait_for(".upload .fault", "Invalid file for Batch API. Must be utf-8 encoded")
    assert page.shows(".upload button", "Resume")


def test_progress_and_cancelling(opened: Open, server: Server, tmp_path: Path) -> None:
    page = opened()
    limit_rate(page, MB)
    choose(page, random_file(tmp_path, "slow.bin", 20 * MB))
    page.wait_for(".upload", "per second")
    page.wait_for(".upload", "left")
    assert page.shows(".views .mark", "1")
    value = int(page.attribute(".upload [role=progressbar]", "aria-valuenow"))
    assert 0 < value < 100
    page.click(".upload button", "Cancel")
    page.wait_for(".upload .status", "cancelled")
    limit_rate(page, -1)
    assert stored(server, "slow.bin") == []


@pytest.mark.parametrize("fault", [Fault(cut_upload=3 * MB), Fault(drop_response=True)], ids=["request", "response"])
def test_a_lost_connection_is_taken_up_again_and_stores_once(
    opened: Open, server: Server, tmp_path: Path, fault: Fault
) -> None:
    path = random_file(tmp_path, f"cut-{fault.drop_response}.bin", 6 * MB)
    with Proxy(server.port) as proxy:
        page = opened(expected=LOST, at=proxy.base_url.removesuffix("/v1"))
        page.click("button", "Upload files")
        page.set_files("dialog input[type=file]", path)
        page.wait_for("dialog li", path.name)
        proxy.faults = [fault]
        page.click("dialog button[type=submit]")
        page.wait_for(".upload .status", "connection lost, trying again")
        page.wait_for(".upload .status", "done")
    (file,) = stored(server, path.name)
    assert server.client.get(f"/files/{file['id']}/content").content == path.read_bytes()
    posts = [
        seen.headers["idempotency-key"] for seen in proxy.seen if (seen.method, seen.target) == ("POST", "/v1/files")
    ]
    assert len(posts) == 2
    assert len(set(posts)) == 1


def test_a_server_that_is_gone_for_long_is_tried_again_on_request(opened: Open, server: Server, tmp_path: Path) -> None:
    path = random_file(tmp_path, "gone.bin", MB)
    with Proxy(server.port) as proxy:
        page = opened(expected=LOST, at=proxy.base_url.removesuffix("/v1"))
        page.run(
            "(() => { const wait = setTimeout; setTimeout = (work, ms, ...rest) => wait(work, ms > 500 ? 20 : ms, ...rest); })()"
        )
        proxy.faults = [Fault(cut_upload=1000) for _ in range(6)]
        choose(page, path)
        page.wait_for(".upload .fault", "The server cannot be reached.")
        page.click(".upload button", "Resume")
        page.wait_for(".upload .status", "done")
    assert len(stored(server, "gone.bin")) == 1


def test_an_expiry_is_sent(opened: Open, server: Server, tmp_path: Path) -> None:
    page = opened()
    page.click("button", "Upload files")
    path = random_file(tmp_path, "expiring.bin", MB)
    page.set_files("dialog input[type=file]", path)
    page.choose("dialog select >> nth=1", "3600")
    page.click("dialog button[type=submit]")
    page.wait_for(".upload .status", "done")
    (file,) = stored(server, "expiring.bin")
    assert file["expires_at"] == int(str(file["created_at"])) + 3600


@pytest.mark.skipif(not HAS_PARTS, reason="this server has no uploads in parts")
def test_parts_that_have_arrived_are_not_sent_again_after_the_page_was_loaded_anew(
    opened: Open, server: Server, tmp_path: Path
) -> None:
    path = random_file(tmp_path, "reloaded.bin", 80 * MB)
    with Proxy(server.port) as proxy:
        page = opened(expected=LOST, at=proxy.base_url.removesuffix("/v1"))
        page.click("button", "Upload files")
        page.set_files("dialog input[type=file]", path)
        page.wait_for("dialog li", path.name)
        # The upload begins, and of its five parts two get their responses; those of the others are held.
        held = threading.Event()
        proxy.faults = [*(Fault() for _ in range(3)), *(Fault(cut=0, pause=held) for _ in range(3))]
        page.click("dialog button[type=submit]")
        page.wait(f"{ARRIVED} === 2")
        deadline = time.monotonic() + 30
        while proxy.faults:
            assert time.monotonic() < deadline, "the other parts have not been sent"
            time.sleep(0.02)
        page.reload()
        held.set()
        page.wait_for(".views")
        arrived = int(page.run(ARRIVED))
        before = len(proxy.seen)
        choose(page, path)
        page.wait_for(".upload .status", "done", seconds=60)
        again = [seen.target.rpartition("/")[2] for seen in proxy.seen[before:] if seen.method == "POST"]
    assert arrived == 2
    assert sorted(again) == ["complete", *["parts"] * 3]
    (file,) = stored(server, "reloaded.bin")
    assert server.client.get(f"/files/{file['id']}/content").content == path.read_bytes()


@pytest.mark.skipif(not HAS_PARTS, reason="this server has no uploads in parts")
def test_600_mb_arrive_in_parts_over_a_connection_that_is_cut(opened: Open, server: Server, tmp_path: Path) -> None:
    path = random_file(tmp_path, "large.bin", 600 * MB)
    with Proxy(server.port) as proxy:
        page = opened(expected=LOST, at=proxy.base_url.removesuffix("/v1"))
        page.click("button", "Upload files")
        page.set_files("dialog input[type=file]", path)
        page.wait_for("dialog li", path.name)
        proxy.faults = [Fault() if number % 10 else Fault(cut_upload=9 * MB) for number in range(1, 31)]
        page.click("dialog button[type=submit]")
        page.wait_for(".upload .status", "connection lost, trying again", seconds=60)
        page.wait_for(".upload .status", "done", seconds=90)
    (file,) = stored(server, "large.bin")
    digest = hashlib.sha256()
    with server.client.stream("GET", f"/files/{file['id']}/content") as response:
        for block in response.iter_bytes():
            digest.update(block)
    assert digest.digest() == hashlib.sha256(path.read_bytes()).digest()
    sent = [seen.target.rpartition("/")[2] for seen in proxy.seen if seen.target.startswith("/v1/uploads")]
    parts = -(-600 * MB // (16 * 1024 * 1024))
    assert sent.count("uploads") == sent.count("complete") == 1
    assert parts < sent.count("parts") < parts + 15  # what had arrived was not sent again
