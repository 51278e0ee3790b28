"""Uploads in parts: when they are used, what goes again after a broken connection, and what ends them."""

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from filestead import APIConnectionError, APIStatusError, AsyncFilesClient, FilesClient, SourceChanged
from filestead.client._parts import async_creation, async_upload, bounded, creation, upload
from filestead.client._upload.sources import open_source, part_of
from filestead.client.config import PARALLEL_PARTS
from tests.client.any_client import AnyClient
from tests.client.proxy import Fault, Proxy, raw_response
from tests.client.relay import Relay, write_random
from tests.support.servers import Server

pytestmark = pytest.mark.embedded("about the client, behind a proxy that makes the faults")

MIB = 1024 * 1024
PART = 100_000
CONTENT = os.urandom(350_001)
NO_ROUTE = [Fault(response=raw_response(status)) for status in ("404 Not Found", "405 X")]


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 100 kB, used by themselves above 300 kB."""
    for module in (async_creation, creation, async_upload, upload):
        monkeypatch.setattr(module, "PART_BYTES", PART)
    for module in (async_creation, creation):
        monkeypatch.setattr(module, "PARTS_ABOVE_BYTES", 3 * PART)


def routes(proxy: Proxy) -> list[str]:
    """The paths of the requests, without ids."""
    return [re.sub(r"upload_\w+", "ID", seen.target.removeprefix("/v1")) for seen in proxy.seen]


CREATE, SEND, COMPLETE, CANCEL = "/uploads", "/uploads/ID/parts", "/uploads/ID/complete", "/uploads/ID/cancel"


def content_of(server: Server, file_id: str) -> bytes:
    return server.client.get(f"/files/{file_id}/content").content


def test_a_large_file_is_sent_in_parts(connect_with_faults: Any, server: Server, tmp_path: Path) -> None:
    (tmp_path / "ü.bin").write_bytes(CONTENT)
    for given, name in ((tmp_path / "ü.bin", "ü.bin"), (CONTENT, "upload"), ((tmp_path / "ü.bin").open("rb"), "ü.bin")):
        client, proxy = connect_with_faults()
        made = client.create_file(given, "user_data", expires_after=7200)
        assert routes(proxy) == [CREATE, *[SEND] * 4, COMPLETE]
        assert (made.filename, made.bytes, made.purpose) == (name, len(CONTENT), "user_data")
        assert made.expires_at == made.created_at + 7200
        assert content_of(server, made.id) == CONTENT


def test_a_name_and_an_expiry_of_its_own(client: AnyClient) -> None:
    policy = {"anchor": "created_at", "seconds": 3600}
    made = client.create_file(CONTENT, "user_data", expires_after=policy, filename="other.txt")
    assert (made.filename, made.expires_at) == ("other.txt", made.created_at + 3600)


@pytest.mark.parametrize("size", [0, PART, 3 * PART])
def test_other_files_are_sent_whole(connect_with_faults: Any, size: int) -> None:
    client, proxy = connect_with_faults()
    assert client.create_file(CONTENT[:size], "user_data").bytes == size
    assert routes(proxy) == ["/files"]


def test_what_cannot_be_read_twice_is_sent_whole(connect_with_faults: Any) -> None:
    client, proxy = connect_with_faults()
    client.create_file(iter([CONTENT]), "user_data")
    client.create_file(CONTENT, "user_data", parts=False)
    assert routes(proxy) == ["/files", "/files"]


@pytest.mark.parametrize("fault", NO_ROUTE)
def test_a_server_without_parts(connect_with_faults: Any, server: Server, fault: Fault) -> None:
    client, proxy = connect_with_faults(fault)
    made = client.create_file(CONTENT, "user_data")
    assert routes(proxy) == [CREATE, "/files"]
    assert content_of(server, made.id) == CONTENT


# --- broken connections ---------------------------------------------------------------------------------------------


def test_only_the_interrupted_part_goes_again(connect_with_faults: Any, server: Server) -> None:
    client, proxy = connect_with_faults(Fault(), Fault(), Fault(cut_upload=50_000), Fault(), Fault(drop_response=True))
    progress: list[tuple[int, int | None]] = []
    made = client.create_file(
        CONTENT, "user_data", on_progress=lambda done, size: progress.append((done, size)), parallel_parts=1
    )
    assert routes(proxy) == [CREATE, *[SEND] * 6, COMPLETE]
    assert content_of(server, made.id) == CONTENT
    assert progress[-1] == (len(CONTENT), len(CONTENT))
    assert {size for _, size in progress} == {len(CONTENT)}
    repeated = [later for (earlier, _), (later, _) in itertools.pairwise(progress) if later <= earlier]
    assert all(done > PART for done in repeated), "progress goes back to the start of a part at most"


def test_the_last_part_whose_response_is_lost(connect_with_faults: Any, server: Server) -> None:
    client, proxy = connect_with_faults(*[Fault()] * 4, Fault(drop_response=True), Fault(), Fault(drop_response=True))
    made = client.create_file(CONTENT, "user_data", filename=f"last-{client.kind}.bin")
    assert routes(proxy) == [CREATE, *[SEND] * 5, COMPLETE, COMPLETE]
    assert content_of(server, made.id) == CONTENT
    files = server.client.get("/files", params={"limit": 1000}).json()["data"]
    assert [file["id"] for file in files if file["filename"] == made.filename] == [made.id]


@pytest.fixture
def smaller(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The content of a file that is sent whole at first, and does not fit into the buffers of a connection."""
    for module in (async_creation, creation, async_upload, upload):
        monkeypatch.setattr(module, "PART_BYTES", 16 * MIB)
    for module in (async_creation, creation):
        monkeypatch.setattr(module, "PARTS_ABOVE_BYTES", 64 * MIB)
    return CONTENT * 120


def test_a_smaller_file_goes_on_in_parts(connect_with_faults: Any, server: Server, smaller: bytes) -> None:
    client, proxy = connect_with_faults(Fault(cut_upload=MIB))
    made = client.create_file(smaller, "user_data")
    assert routes(proxy) == ["/files", CREATE, *[SEND] * 3, COMPLETE]
    assert content_of(server, made.id) == smaller


def test_a_smaller_file_on_a_server_without_parts(connect_with_faults: Any, server: Server, smaller: bytes) -> None:
    client, proxy = connect_with_faults(Fault(cut_upload=MIB), NO_ROUTE[0], Fault(cut_upload=MIB))
    made = client.create_file(smaller, "user_data")
    assert routes(proxy) == ["/files", CREATE, "/files", "/files"]
    assert content_of(server, made.id) == smaller


def test_a_lost_response_makes_no_second_file(connect_with_faults: Any, server: Server) -> None:
    client, proxy = connect_with_faults(Fault(drop_response=True))
    made = client.create_file(CONTENT[:250_000], "user_data", filename=f"lost-{client.kind}.bin")
    assert routes(proxy) == ["/files", "/files"]
    files = server.client.get("/files", params={"limit": 1000}).json()["data"]
    assert [file["id"] for file in files if file["filename"] == made.filename] == [made.id]


def test_no_retries_means_none(connect_with_faults: Any) -> None:
    client, proxy = connect_with_faults(Fault(cut_upload=120_000), max_retries=0)
    with pytest.raises(APIConnectionError):
        client.create_file(CONTENT[:250_000], "user_data")
    assert routes(proxy) == ["/files"]


# --- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault(cut_upload=10), Fault(drop_response=True)], ids=["cut", "lost"])
@pytest.mark.parametrize("before", [1, 2, 4])
def test_equal_parts_of_which_one_goes_again(
    connect_with_faults: Any, server: Server, before: int, fault: Fault
) -> None:
    client, proxy = connect_with_faults(*[Fault()] * before, replace(fault))
    made = client.create_file(bytes(4 * PART), "user_data", parallel_parts=1)
    assert routes(proxy) == [CREATE, *[SEND] * 5, COMPLETE]
    assert content_of(server, made.id) == bytes(4 * PART)


@pytest.mark.parametrize("before", [1, 2, 4])
def test_equal_parts_at_a_time_of_which_one_goes_again(connect_with_faults: Any, server: Server, before: int) -> None:
    client, proxy = connect_with_faults(*[Fault()] * before, Fault(drop_response=True))
    made = client.create_file(bytes(4 * PART), "user_data")
    assert content_of(server, made.id) == bytes(4 * PART)
    assert routes(proxy) == [CREATE, *[SEND] * 5, COMPLETE]
    keys = [seen.headers["idempotency-key"] for seen in proxy.seen if seen.target.endswith("/parts")]
    assert len(set(keys)) == 4, "a part keeps its key"


def test_a_server_that_takes_a_repeated_part_for_an_earlier_one(connect_with_faults: Any) -> None:
    def response(name: str, **more: Any) -> Fault:
        return Fault(response=raw_response("200 OK", body=json.dumps({"id": name, **more}).encode()))

    file = {"id": "file-1", "object": "file", "bytes": 400_000, "created_at": 1, "filename": "upload"}
    done = response("upload_1", file={**file, "purpose": "user_data", "status": "processed"})
    parts = [response(name) for name in ("part_1", "part_1", "part_2", "part_3", "part_4")]
    client, proxy = connect_with_faults(response("upload_1"), *parts, done)
    assert client.create_file(bytes(4 * PART), "user_data").id == "file-1"
    assert [seen.headers["x-stainless-retry-count"] for seen in proxy.seen] == ["0"] * 7
    assert routes(proxy)[-1] == "/uploads/ID/complete"


def test_a_refused_upload(connect_with_faults: Any) -> None:
    client, proxy = connect_with_faults()
    with pytest.raises(APIStatusError, match="purpose"):
        client.create_file(CONTENT, "nonsense")
    assert routes(proxy) == [CREATE]


@pytest.mark.parametrize("fault", [Fault(response=raw_response("400 X")), Fault(response=raw_response("200 OK"))])
@pytest.mark.parametrize("before", [1, 5])
def test_an_upload_that_fails_is_cancelled(connect_with_faults: Any, fault: Fault, before: int) -> None:
    client, proxy = connect_with_faults(*[Fault()] * before, fault)
    with pytest.raises(Exception, match=r"Error code: 400|Unexpected response"):
        client.create_file(CONTENT, "user_data", parallel_parts=1)
    sent = [CREATE, *[SEND] * 4, COMPLETE][: before + 1]
    assert routes(proxy) == ([*sent, CANCEL] if before == 1 or "400" in str(fault.response) else sent)


def test_a_part_without_a_connection_fails(connect_with_faults: Any) -> None:
    client, proxy = connect_with_faults(Fault(), *[Fault(cut_upload=10)] * 3)
    with pytest.raises(APIConnectionError):
        client.create_file(CONTENT, "user_data", parallel_parts=1)
    assert routes(proxy) == [CREATE, SEND, SEND, SEND]


# --- parts at a time ------------------------------------------------------------------------------------------------


def pauses(count: int, event: threading.Event) -> list[Fault]:
    """Responses of which the bodies wait for an event."""
    return [Fault(cut=0, pause=event) for _ in range(count)]


@pytest.mark.parametrize("parallel", [1, 2, 4, 8])
def test_so_many_parts_at_a_time(connect_with_faults: Any, server: Server, parallel: int) -> None:
    content = os.urandom(6 * PART)
    go_on = threading.Event()
    client, proxy = connect_with_faults(Fault(), *pauses(6, go_on))
    in_progress: list[int] = []

    def count_when_all_wait() -> None:
        wanted = 1 + min(parallel, 6)
        until = time.monotonic() + 20
        while len(proxy.seen) < wanted and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.2)
        in_progress.append(len(proxy.seen) - 1)
        go_on.set()

    threading.Thread(target=count_when_all_wait, daemon=True).start()
    made = client.create_file(content, "user_data", parallel_parts=parallel)
    assert in_progress == [min(parallel, 6)]
    assert content_of(server, made.id) == content


def test_progress_of_parts_at_a_time(connect_with_faults: Any) -> None:
    seen: list[int] = []
    client, _ = connect_with_faults()
    client.create_file(CONTENT, "user_data", on_progress=lambda done, _: seen.append(done))
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENT)


def test_the_first_error_ends_the_others(connect_with_faults: Any) -> None:
    cancelled = threading.Event()
    # The others in progress wait for their responses until the upload is cancelled, however long that takes.
    others = pauses(PARALLEL_PARTS - 1, cancelled)
    client, proxy = connect_with_faults(Fault(), Fault(response=raw_response("400 X")), *others)

    def release() -> None:
        until = time.monotonic() + 30
        while CANCEL not in routes(proxy) and time.monotonic() < until:
            time.sleep(0.01)
        cancelled.set()

    threading.Thread(target=release, daemon=True).start()
    with pytest.raises(APIStatusError, match="400"):
        client.create_file(os.urandom(40 * PART), "user_data")
    seen = routes(proxy)
    assert (seen[0], seen.count(CANCEL)) == (CREATE, 1)  # the head of a part may reach the proxy after it
    assert seen.count(SEND) <= PARALLEL_PARTS, "parts that had not begun are not sent"
    assert COMPLETE not in seen


def test_an_error_of_a_callback_is_raised(connect_with_faults: Any) -> None:
    def fail(done: int, _: int | None) -> None:
        if done > PART:
            raise ZeroDivisionError

    client, proxy = connect_with_faults()
    with pytest.raises(ZeroDivisionError):
        client.create_file(CONTENT, "user_data", on_progress=fail)
    assert routes(proxy).count(CANCEL) == 1


@pytest.mark.timing
def test_an_interrupt_is_raised_at_once(server: Server) -> None:
    never = threading.Event()

    def interrupt(done: int, _: int | None) -> None:
        if done > 2 * PART:
            raise KeyboardInterrupt

    with Proxy(server.port, [Fault(), *pauses(2, never)]) as proxy:
        begun = time.monotonic()
        with (
            FilesClient(base_url=proxy.base_url, api_key=server.key) as client,
            pytest.raises(KeyboardInterrupt),
        ):
            client.create_file(CONTENT, "user_data", on_progress=interrupt)
        assert time.monotonic() - begun < 4
        never.set()


@pytest.mark.timing
def test_an_error_waits_once_for_threads_that_do_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "STOP_SECONDS", 1.0)
    ends = threading.Event()

    def work(number: int) -> None:
        if number == 7:
            raise ZeroDivisionError
        ends.wait(30)

    begun = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        bounded.run_bounded(work, range(8), 8, lambda: None)
    assert 1 <= time.monotonic() - begun < 3
    ends.set()


def test_a_cancelled_task_leaves_none_behind(server: Server) -> None:
    never = threading.Event()

    async def use(proxy: Proxy) -> None:
        async with AsyncFilesClient(base_url=proxy.base_url, api_key=server.key) as client:
            upload = asyncio.create_task(client.create_file(CONTENT, "user_data"))
            while len(proxy.seen) < 5:
                await asyncio.sleep(0.01)
            upload.cancel()
            with pytest.raises(asyncio.CancelledError):
                await upload
            assert asyncio.all_tasks() == {asyncio.current_task()}

    with Proxy(server.port, [Fault(), *pauses(4, never)]) as proxy:
        asyncio.run(use(proxy))
        never.set()


def test_a_file_that_changes_is_not_mixed(connect_with_faults: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)

    def exchange(done: int, _: int | None) -> None:
        if done > PART and path.exists():
            (tmp_path / "b.bin").write_bytes(os.urandom(len(CONTENT)))
            (tmp_path / "b.bin").replace(path)

    client, proxy = connect_with_faults()
    with pytest.raises(SourceChanged, match="'a.bin' was changed during the upload"):
        client.create_file(path, "user_data", on_progress=exchange)
    assert CANCEL in routes(proxy)


def test_a_file_that_grows(connect_with_faults: Any, tmp_path: Path) -> None:
    with (tmp_path / "a.bin").open("wb+") as file:
        file.write(CONTENT)
        file.seek(0)

        def grow(done: int, _: int | None) -> None:
            if done > 3 * PART:
                at = file.tell()
                file.seek(0, os.SEEK_END)
                file.write(b"more")
                file.flush()
                file.seek(at)

        client, proxy = connect_with_faults()
        with pytest.raises(SourceChanged, match="grew"):
            client.create_file(file, "user_data", on_progress=grow)
        assert CANCEL in routes(proxy)


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 3 * PART])
def test_parts_are_the_file(tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_bytes(CONTENT[:size])
    file = (tmp_path / "a").open("rb")
    for source in map(open_source, (tmp_path / "a", CONTENT[:size], file)):
        parts = [part_of(source, start, min(PART, size - start)) for start in range(0, size, PART)]
        assert b"".join(bytes(block) for part in parts for block in part.blocks(0)) == CONTENT[:size]
        assert all(b"".join(map(bytes, part.blocks(7))) == b"".join(map(bytes, part.blocks(0)))[7:] for part in parts)


# --- a proxy that cuts connections ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "cut_every", "part"),
    [
        (120_000_000, 6_000_000, 4 * MIB),
        pytest.param(2_000_000_000, 100_000_000, 16 * MIB, marks=pytest.mark.torture),
    ],
    ids=["120 MB", "2 GB"],
)
def test_a_proxy_that_cuts(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, cut_every: int, part: int
) -> None:
    for module in (creation, upload):
        monkeypatch.setattr(module, "PART_BYTES", part)
    digest = write_random(tmp_path / "large.bin", size)
    with (
        contextlib.closing(Relay(server.port, cut_after=cut_every)) as proxy,
        FilesClient(base_url=proxy.base_url, api_key=server.key) as client,
    ):
        made = client.create_file(tmp_path / "large.bin", "user_data")
    assert made.bytes == size
    with FilesClient(base_url=server.base_url, api_key=server.key) as client:
        received = hashlib.sha256()
        for chunk in client.stream_file(made.id):
            received.update(chunk)
        assert received.hexdigest() == digest
        client.delete_file(made.id)
    assert proxy.cuts >= 10
    assert proxy.passed < size + (proxy.cuts + 4) * part, "a cut costs one part at most"
