"""Uploads in parts: when they are used, what goes again after a broken connection, and what ends them."""

import contextlib
import itertools
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from filestead import APIConnectionError, APIStatusError, FilesClient, SourceChanged
from filestead.client._parts import async_creation, async_upload, creation, upload
from filestead.client._upload.sources import open_source, part_of
from tests.client.any_client import AnyClient
from tests.client.proxy import Fault, Proxy, raw_response
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
    made = client.create_file(CONTENT, "user_data", on_progress=lambda done, size: progress.append((done, size)))
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
    made = client.create_file(bytes(4 * PART), "user_data")
    assert routes(proxy) == [CREATE, *[SEND] * 5, COMPLETE]
    assert content_of(server, made.id) == bytes(4 * PART)


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
        client.create_file(CONTENT, "user_data")
    sent = [CREATE, *[SEND] * 4, COMPLETE][: before + 1]
    assert routes(proxy) == ([*sent, CANCEL] if before == 1 or "400" in str(fault.response) else sent)


def test_a_part_without_a_connection_fails(connect_with_faults: Any) -> None:
    client, proxy = connect_with_faults(Fault(), *[Fault(cut_upload=10)] * 3)
    with pytest.raises(APIConnectionError):
        client.create_file(CONTENT, "user_data")
    assert routes(proxy) == [CREATE, SEND, SEND, SEND]


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


class CuttingProxy:
    """Passes connections on as they are, and closes each one after `limit` bytes from the client."""

    def __init__(self, port: int, limit: int) -> None:
        self._port, self._limit = port, limit
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self.passed = self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            threading.Thread(target=self._relay, args=(client, server, self._limit), daemon=True).start()
            threading.Thread(target=self._relay, args=(server, client, None), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        try:
            passed = 0
            while data := source.recv(65536):
                target.sendall(data)
                passed += len(data)
                if limit is not None:
                    self.passed += len(data)
                    if passed > limit:
                        self.cuts += 1
                        break
        except OSError:
            pass
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def cutting(server: Server) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(server.port, 20 * MIB)
    yield proxy
    proxy.close()


def test_a_proxy_that_cuts(
    cutting: CuttingProxy, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (creation, upload):
        monkeypatch.setattr(module, "PART_BYTES", 4 * MIB)
    path = tmp_path / "large.bin"
    content = os.urandom(100 * MIB)
    path.write_bytes(content)
    with FilesClient(base_url=cutting.base_url, api_key=server.key) as client:
        made = client.create_file(path, "user_data")
    assert made.bytes == 100 * MIB
    assert content_of(server, made.id) == content
    assert cutting.cuts >= 5
    assert cutting.passed < 130 * MIB, "a cut costs one part at most"
