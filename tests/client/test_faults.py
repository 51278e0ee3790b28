"""Failures of the network and of the server, for both clients."""

import contextlib
import io
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from filestead import (
    APIConnectionError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    IntegrityError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
    RedirectError,
)
from tests.client.any_client import AnyClient, partial_files_in
from tests.client.proxy import Fault, Proxy, raw_response
from tests.support.servers import Server

pytestmark = pytest.mark.embedded("about the client, behind a proxy that makes the faults")

CONTENT = os.urandom(900_001)
SIZE = len(CONTENT)
AT_ONCE = "Retry-After: 0"
DEEP = b'{"new": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.fixture(scope="module")
def stored(server: Server) -> str:
    return server.upload(CONTENT, purpose="vision", name="a.png")["id"]


def named(server: Server, name: str) -> list[str]:
    files = server.client.get("/files", params={"limit": 1000}).json()["data"]
    return [file["id"] for file in files if file["filename"] == name]


# --- retries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["408 X", "409 X", "429 X", "500 X", "503 X", "599 X"])
def test_retryable_statuses_are_retried(connect_with_faults: Any, status: str) -> None:
    client, proxy = connect_with_faults(
        Fault(response=raw_response(status, AT_ONCE)), Fault(response=raw_response(status, AT_ONCE))
    )
    assert client.list_files(limit=1).object == "list"
    assert [seen.headers["x-stainless-retry-count"] for seen in proxy.seen] == ["0", "1", "2"]


@pytest.mark.parametrize("status", ["400 X", "401 X", "404 X", "422 X"])
def test_client_errors_are_not_retried(connect_with_faults: Any, status: str) -> None:
    client, proxy = connect_with_faults(Fault(response=raw_response(status)))
    with pytest.raises(APIStatusError) as caught:
        client.list_files()
    assert str(caught.value.status_code) == status[:3]
    assert len(proxy.seen) == 1


def test_retries_end_after_max_retries(connect_with_faults: Any) -> None:
    client, proxy = connect_with_faults(
        *[Fault(response=raw_response("503 Busy", AT_ONCE, "x-request-id: req_1"))] * 9, max_retries=4
    )
    with pytest.raises(InternalServerError) as caught:
        client.list_files()
    assert str(caught.value) == "Error code: 503 - Busy (request id: req_1)"
    assert len(proxy.seen) == 5


def test_x_should_retry_overrides_the_status(connect_with_faults: Any) -> None:
    client, proxy = connect_with_faults(Fault(response=raw_response("400 X", "x-should-retry: true", AT_ONCE)))
    client.list_files(limit=1)
    assert len(proxy.seen) == 2
    client, proxy = connect_with_faults(Fault(response=raw_response("503 X", "x-should-retry: false")))
    with pytest.raises(InternalServerError):
        client.list_files()
    assert len(proxy.seen) == 1


@pytest.mark.parametrize("header", ["Retry-After: 0.3", "Retry-After-Ms: 300"])
@pytest.mark.timing
def test_retry_after_is_honoured(connect_with_faults: Any, header: str) -> None:
    client, _ = connect_with_faults(Fault(response=raw_response("429 X", header)))
    began = time.monotonic()
    client.list_files(limit=1)
    assert 0.3 <= time.monotonic() - began < 0.3 + 2


def test_a_retry_after_of_more_than_two_minutes_is_not_retried(connect_with_faults: Any) -> None:
    client, proxy = connect_with_faults(Fault(response=raw_response("429 X", "Retry-After: 121")))
    with pytest.raises(RateLimitError) as caught:
        client.list_files()
    assert caught.value.retry_after == "121"
    assert len(proxy.seen) == 1


def test_retries_without_retry_after_back_off(connect_with_faults: Any) -> None:
    client, _ = connect_with_faults(Fault(response=raw_response("503 X")))
    began = time.monotonic()
    client.list_files(limit=1)
    assert time.monotonic() - began >= 0.375


def test_broken_connections_are_retried(connect_with_faults: Any) -> None:
    client, proxy = connect_with_faults(Fault(drop_response=True), Fault(cut=10))
    assert client.list_files(limit=1).object == "list"
    assert len(proxy.seen) == 3


class ForgetfulServer:
    """Keeps a connection open after its first response and closes it on the next request. Every connection does so."""

    PAGE = b'{"object":"list","data":[],"has_more":false}'
    RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(PAGE), PAGE)

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection:
                    for response in (self.RESPONSE, b""):
                        self.requests.append(connection.recv(65536).partition(b" ")[0].decode())
                        connection.sendall(response)


def test_a_get_is_sent_again_if_a_connection_that_was_kept_open_breaks(connect: Any) -> None:
    server = ForgetfulServer()
    with server.listener:
        client = connect(base_url=f"http://127.0.0.1:{server.listener.getsockname()[1]}/v1", max_retries=0)
        client.list_files()
        client.list_files()
        assert server.requests == ["GET"] * 3
        with pytest.raises(APIConnectionError):
            client.delete_file("file-1")


def test_a_silent_server_times_out(connect: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = connect(base_url=base_url, timeout=0.2, max_retries=1)
        with pytest.raises(APITimeoutError):
            client.list_files()


# --- unusable responses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Bad Gateway"),
        (b"<html><body>nginx</body></html>", "Bad Gateway"),
        (b"upstream is down", "upstream is down"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b'{"detail": "what"}', "Bad Gateway"),
        (b'{"error": "what"}', "Bad Gateway"),
        (b'{"error": {"message": "what", "code": 17}}', "what"),
        (b'{"message": "what"}', "what"),
        (b"[1]", "Bad Gateway"),
        (DEEP, f"{DEEP[:200].decode()}..."),
    ],
)
def test_error_messages_for_every_kind_of_body(connect_with_faults: Any, body: bytes, message: str) -> None:
    client, _ = connect_with_faults(Fault(response=raw_response("502 Bad Gateway", body=body)), max_retries=0)
    with pytest.raises(InternalServerError) as caught:
        client.list_files()
    assert caught.value.message == message
    assert str(caught.value) == f"Error code: 502 - {message}"


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"object": "list", "data": [{"id": 1}]}', b"\xff", DEEP])
def test_invalid_bodies_of_successful_responses_raise(connect_with_faults: Any, body: bytes) -> None:
    client, _ = connect_with_faults(Fault(response=raw_response("200 OK", "x-request-id: req_1", body=body)))
    with pytest.raises(APIResponseValidationError) as caught:
        client.list_files()
    assert (caught.value.status_code, caught.value.request_id) == (200, "req_1")


def test_optional_members_may_be_missing_and_others_added(connect_with_faults: Any) -> None:
    body = b'{"id": "file-1", "purpose": "x", "filename": "a", "bytes": 1, "created_at": 1, "new": {}}'
    client, _ = connect_with_faults(Fault(response=raw_response("200 OK", body=body)))
    file = client.retrieve_file("file-1")
    assert (file.expires_at, file.status, file.status_details, file.object) == (None, "processed", None, "file")


# --- redirects ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["301 X", "302 X", "303 X", "307 X", "308 X"])
def test_redirects_are_followed(connect_with_faults: Any, stored: str, status: str) -> None:
    client, proxy = connect_with_faults(Fault(response=raw_response(status, f"Location: /v1/files/{stored}")))
    assert client.retrieve_file("elsewhere").id == stored
    assert [seen.target for seen in proxy.seen] == ["/v1/files/elsewhere", f"/v1/files/{stored}"]
    assert "authorization" in proxy.seen[1].headers


def test_another_origin_gets_no_credentials(connect_with_faults: Any, server: Server) -> None:
    with Proxy(server.port) as other:
        there = Fault(response=raw_response("307 X", f"Location: {other.base_url}/files/x"))
        client, _ = connect_with_faults(
            there, default_headers={"api-key": "secret"}, organization="org", project="proj"
        )
        with pytest.raises(APIStatusError):
            client.retrieve_file("x")
        assert set(other.seen[0].headers) == {"host", "accept", "accept-encoding", "user-agent"}


def test_a_redirected_upload_is_an_error(connect_with_faults: Any, server: Server) -> None:
    with Proxy(server.port) as other:
        for status in ("307 X", "308 X"):
            client, proxy = connect_with_faults(
                Fault(response=raw_response(status, f"Location: {other.base_url}/files"))
            )
            with pytest.raises(RedirectError, match="base URL"):
                client.create_file(b"x", "vision")
            assert len(proxy.seen) == 1
        assert other.seen == []


def test_redirect_loops_and_invalid_locations_raise(connect_with_faults: Any) -> None:
    client, proxy = connect_with_faults(*[Fault(response=raw_response("302 X", "Location: /v1/files"))] * 20)
    with pytest.raises(RedirectError, match="10 redirects"):
        client.list_files()
    assert len(proxy.seen) == 10
    for location in ("ftp://host/x", "http://[", "http://host:99999999/"):
        client, proxy = connect_with_faults(Fault(response=raw_response("302 X", f"Location: {location}")))
        with pytest.raises(RedirectError, match="not an http address"):
            client.list_files()


# --- uploads --------------------------------------------------------------------------------------------------------


@pytest.mark.promise("R-16")
def test_a_lost_response_creates_no_second_file(connect_with_faults: Any, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    for kind, source in (("path", path), ("bytes", CONTENT), ("file", io.BytesIO(CONTENT))):
        client, proxy = connect_with_faults(Fault(drop_response=True), Fault(drop_response=True))
        name = f"lost-{client.kind}-{kind}.png"
        created = client.create_file(source, "vision", filename=name)
        assert len({seen.headers["idempotency-key"] for seen in proxy.seen}) == 1
        assert len(proxy.seen) == 3
        assert named(server, name) == [created.id]
        assert client.download_file(created.id) == CONTENT


def test_an_interrupted_upload_is_retried(connect_with_faults: Any, server: Server) -> None:
    progress: list[int] = []
    client, proxy = connect_with_faults(Fault(cut_upload=500_000))
    name = f"cut-{client.kind}.png"
    file = io.BytesIO(b"skip" + CONTENT)
    file.seek(4)
    created = client.create_file(file, "vision", filename=name, on_progress=lambda sent, _: progress.append(sent))
    assert created.bytes == SIZE
    assert len(proxy.seen) == 2
    assert named(server, name) == [created.id]
    assert progress[-1] == SIZE


@pytest.mark.parametrize("fault", [Fault(drop_response=True), Fault(cut_upload=300_000)])
def test_an_iterator_is_sent_once(connect_with_faults: Any, fault: Fault) -> None:
    client, proxy = connect_with_faults(Fault(**vars(fault)))
    with pytest.raises(APIConnectionError):
        client.create_file(iter([CONTENT]), "vision")
    assert len(proxy.seen) == 1
    assert "idempotency-key" not in proxy.seen[0].headers


def test_an_upload_is_retried_after_429(connect_with_faults: Any) -> None:
    client, proxy = connect_with_faults(Fault(response=raw_response("429 X", AT_ONCE)))
    assert client.create_file(CONTENT, "vision").bytes == SIZE
    assert len(proxy.seen) == 2


class EarlyServer:
    """Responds after the head of a request, and then resets, holds or drains the connection."""

    def __init__(self, then: str, interim: bool = False) -> None:
        self._then, self._interim = then, interim
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.released = threading.Event()
        self.taken = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        client, _ = self._listener.accept()
        with client, contextlib.suppress(OSError):
            client.recv(65536)
            if self._interim:
                client.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")
                while self.taken < 3_000_000:
                    self.taken += len(client.recv(65536))
            client.sendall(raw_response("413 Too Large", body=b'{"error": {"message": "too large"}}'))
            if self._then == "hold":
                self.released.wait(60)
            while self._then == "drain" and (data := client.recv(65536)):
                self.taken += len(data)

    def close(self) -> None:
        self.released.set()
        self._thread.join(10)
        self._listener.close()


@pytest.fixture
def early() -> Iterator[Callable[..., EarlyServer]]:
    servers = []

    def make(*args: Any) -> EarlyServer:
        servers.append(EarlyServer(*args))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.mark.parametrize("then", ["reset", "hold", "drain"])
def test_an_early_response_stops_the_upload(connect: Any, early: Any, then: str) -> None:
    server = early(then)
    sent: list[int] = []
    client = connect(base_url=server.base_url, max_retries=0)
    with pytest.raises(APIStatusError, match="too large") as caught:
        client.create_file((b"x" * 262_144 for _ in range(4000)), "v", on_progress=lambda now, _: sent.append(now))
    assert caught.value.status_code == 413
    assert sum(sent[-1:]) < 200_000_000


def test_interim_responses_do_not_stop_the_upload(connect: Any, early: Any) -> None:
    server = early("drain", True)
    with pytest.raises(APIStatusError, match="too large"):
        connect(base_url=server.base_url, max_retries=0).create_file(b"x" * 8_000_000, "v")
    assert server.taken >= 3_000_000


def test_invalid_fields_are_rejected_before_the_file_is_sent(client: AnyClient) -> None:
    sent: list[int] = []
    with pytest.raises(APIStatusError, match="is not one of"):
        client.create_file(b"x" * 300_000_000, "nonsense", on_progress=lambda now, _: sent.append(now))
    assert sum(sent[-1:]) < 150_000_000  # Nothing if the response arrived before the first block was sent.


# --- downloads ------------------------------------------------------------------------------------------------------


def fetch(client: AnyClient, file_id: str, way: str, folder: Path) -> bytes:
    if way == "memory":
        return bytes(client.download_file(file_id))
    if way == "path":
        return client.download_file(file_id, folder / "out").read_bytes()
    if way == "file":
        memory = io.BytesIO()
        assert client.download_file(file_id, memory) == SIZE
        return memory.getvalue()
    return b"".join(client.stream_file(file_id))


WAYS = ("memory", "path", "file", "stream")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("reset", [False, True])
def test_an_interrupted_download_is_resumed(
    connect_with_faults: Any, stored: str, tmp_path: Path, way: str, reset: bool
) -> None:
    client, proxy = connect_with_faults(Fault(cut=300_000, reset=reset), Fault(cut=1), Fault(cut=300_000, reset=reset))
    assert fetch(client, stored, way, tmp_path) == CONTENT
    assert len(proxy.seen) == 4
    assert all(seen.headers["accept-encoding"] == "identity" for seen in proxy.seen)
    assert "range" not in proxy.seen[0].headers
    starts = [int(seen.headers["range"].removeprefix("bytes=").rstrip("-")) for seen in proxy.seen[1:]]
    assert starts == sorted(starts)
    assert all(seen.headers["if-range"].startswith('"') for seen in proxy.seen[1:])
    assert partial_files_in(tmp_path) == []


@pytest.mark.parametrize("way", ["memory", "path"])
@pytest.mark.parametrize("strip", [("etag", "accept-ranges", "repr-digest"), ("if-range", "range")])
def test_a_download_without_range_support_restarts(
    connect_with_faults: Any, stored: str, tmp_path: Path, way: str, strip: tuple[str, ...]
) -> None:
    client, proxy = connect_with_faults(
        Fault(cut=300_000, strip=strip), Fault(cut=500_000, strip=strip), Fault(strip=strip)
    )
    assert fetch(client, stored, way, tmp_path) == CONTENT
    assert len(proxy.seen) == 3
    assert partial_files_in(tmp_path) == []


@pytest.mark.parametrize("way", ["file", "stream"])
def test_bytes_passed_to_the_caller_are_never_replaced(
    connect_with_faults: Any, stored: str, tmp_path: Path, way: str
) -> None:
    client, _ = connect_with_faults(*[Fault(cut=300_000, strip=("etag",))] * 5)
    with pytest.raises(IntegrityError, match="was interrupted after"):
        fetch(client, stored, way, tmp_path)
    # The same strong ETag on a complete response proves that it begins with the bytes already passed on.
    client, _ = connect_with_faults(Fault(cut=300_000), Fault(strip=("range", "if-range")))
    assert fetch(client, stored, way, tmp_path) == CONTENT


@pytest.mark.parametrize("way", WAYS)
def test_a_download_fails_after_max_retries(connect_with_faults: Any, stored: str, tmp_path: Path, way: str) -> None:
    client, proxy = connect_with_faults(*[Fault(cut=0)] * 9, max_retries=1)
    with pytest.raises(IntegrityError, match=f"was interrupted after 0 of {SIZE} bytes"):
        fetch(client, stored, way, tmp_path)
    assert len(proxy.seen) == 2
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_byte_raises_integrity_error(connect_with_faults: Any, stored: str, tmp_path: Path, way: str) -> None:
    (tmp_path / "out").write_bytes(b"old")
    client, _ = connect_with_faults(Fault(corrupt=600_000))
    with pytest.raises(IntegrityError, match="damaged"):
        fetch(client, stored, way, tmp_path)
    assert (tmp_path / "out").read_bytes() == b"old"
    assert partial_files_in(tmp_path) == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault(edit=lambda head: head.replace(b"bytes 3", b"bytes 4")),
        Fault(edit=lambda head: head.replace(f"/{SIZE}".encode(), f"/{SIZE + 1}".encode())),
        Fault(strip=("etag",), add=('ETag: "another"',)),
        Fault(strip=("content-range",)),
        Fault(response=raw_response("416 X")),
    ],
    ids=["start", "total", "etag", "none", "416"],
)
def test_mismatched_ranges_are_not_joined(connect_with_faults: Any, stored: str, tmp_path: Path, fault: Fault) -> None:
    client, proxy = connect_with_faults(Fault(cut=300_000), Fault(**vars(fault)))
    assert fetch(client, stored, "path", tmp_path) == CONTENT
    assert "range" in proxy.seen[1].headers
    assert "range" not in proxy.seen[2].headers
    client, proxy = connect_with_faults(Fault(cut=300_000), Fault(**vars(fault)))
    with pytest.raises((IntegrityError, APIStatusError)):
        fetch(client, stored, "stream", tmp_path)


@pytest.mark.parametrize("way", WAYS)
def test_content_compressed_by_a_proxy_is_decoded(
    connect_with_faults: Any, stored: str, tmp_path: Path, way: str
) -> None:
    client, _ = connect_with_faults(Fault(compress=True))
    assert fetch(client, stored, way, tmp_path) == CONTENT
    client, _ = connect_with_faults(Fault(compress=True, strip=("etag",)), Fault(cut=300_000), Fault(compress=True))
    assert fetch(client, stored, "memory", tmp_path) == CONTENT


def test_a_later_call_resumes_the_download(connect_with_faults: Any, stored: str, tmp_path: Path) -> None:
    client, _ = connect_with_faults(Fault(cut=400_000), max_retries=0)
    target = tmp_path / "out"
    target.write_bytes(b"old")
    with pytest.raises(IntegrityError):
        client.download_file(stored, target)
    assert target.read_bytes() == b"old"
    part = tmp_path / f".out.{stored}.part"
    assert partial_files_in(tmp_path) == [part.name, part.name + ".etag"]
    assert part.stat().st_mode & 0o777 == 0o600
    had = part.stat().st_size
    assert CONTENT.startswith(part.read_bytes())
    assert had > 0
    client, proxy = connect_with_faults()
    client.download_file(stored, target)
    assert proxy.seen[0].headers["range"] == f"bytes={had}-"
    assert target.read_bytes() == CONTENT
    assert partial_files_in(tmp_path) == []


@pytest.mark.parametrize("damage", ["bytes", "note", "no note", "too long", "whole"])
def test_a_part_that_does_not_match_is_not_resumed(
    connect_with_faults: Any, stored: str, tmp_path: Path, damage: str
) -> None:
    client, _ = connect_with_faults(Fault(cut=400_000), max_retries=0)
    with pytest.raises(IntegrityError):
        client.download_file(stored, tmp_path / "out")
    part = tmp_path / f".out.{stored}.part"
    note = tmp_path / f".out.{stored}.part.etag"
    if damage == "bytes":
        part.write_bytes(b"x" * part.stat().st_size)
    elif damage == "note":
        note.write_text('"another"')
    elif damage == "no note":
        note.unlink()
    elif damage == "too long":
        part.write_bytes(b"x" * (SIZE + 1))
    else:
        part.write_bytes(CONTENT)
    if damage == "bytes":
        with pytest.raises(IntegrityError, match="damaged"):
            client.download_file(stored, tmp_path / "out")
        assert os.listdir(tmp_path) == []
    client.download_file(stored, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["out"]


def test_resume_false_restarts_and_keeps_no_part(connect_with_faults: Any, stored: str, tmp_path: Path) -> None:
    client, proxy = connect_with_faults(Fault(cut=400_000))
    client.download_file(stored, tmp_path / "out", resume=False)
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert not any("range" in seen.headers for seen in proxy.seen)
    client, _ = connect_with_faults(Fault(cut=400_000), max_retries=0)
    with pytest.raises(IntegrityError):
        client.download_file(stored, tmp_path / "other", resume=False)
    assert os.listdir(tmp_path) == ["out"]


def test_a_part_without_a_validator_is_removed(connect_with_faults: Any, stored: str, tmp_path: Path) -> None:
    client, _ = connect_with_faults(Fault(cut=400_000, strip=("etag",)), max_retries=0)
    with pytest.raises(IntegrityError):
        client.download_file(stored, tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_a_rejected_download_leaves_the_target_unchanged(connect_with_faults: Any, stored: str, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"old")
    client, _ = connect_with_faults(Fault(response=raw_response("404 X")), Fault(response=raw_response("204 X")))
    with pytest.raises(NotFoundError):
        client.download_file(stored, tmp_path / "out")
    with pytest.raises(APIResponseValidationError):
        client.download_file(stored, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"old"
    assert partial_files_in(tmp_path) == []


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "..\\evil", "evil\x00", ".", "", "e\nvil"])
def test_the_servers_name_is_never_a_path(connect_with_faults: Any, stored: str, tmp_path: Path, name: str) -> None:
    import json

    body = {"id": stored, "purpose": "x", "filename": name, "bytes": 1, "created_at": 1}
    client, _ = connect_with_faults(Fault(response=raw_response("200 OK", body=json.dumps(body).encode())))
    folder = tmp_path / "folder"
    folder.mkdir()
    written = client.download_file(stored, folder)
    assert written.parent == folder
    assert written.name == (stored if name in {".", ""} else "evil")
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("start", [1, 500_000])
def test_stream_file_from_the_middle(connect_with_faults: Any, stored: str, start: int) -> None:
    client, _ = connect_with_faults(Fault(cut=100_000))
    assert b"".join(client.stream_file(stored, start=start)) == CONTENT[start:]
    client, _ = connect_with_faults(Fault(strip=("range",)))
    assert b"".join(client.stream_file(stored, start=start)) == CONTENT[start:]
    client, _ = connect_with_faults(
        Fault(edit=lambda head: head.replace(b"Content-Range", b"X").replace(b"content-range", b"x"))
    )
    with pytest.raises(APIResponseValidationError):
        list(client.stream_file(stored, start=start))
