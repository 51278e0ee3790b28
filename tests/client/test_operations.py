"""Every operation, source and destination of both clients, against a real server."""

import io
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import filestead
from filestead import (
    APIConnectionError,
    AuthenticationError,
    BadRequestError,
    FileContent,
    FilesteadError,
    NotFoundError,
    SourceChanged,
)
from tests.client.any_client import AnyClient, partial_files_in
from tests.client.proxy import Fault, Proxy, raw_response
from tests.support.servers import Server

DAY = 86_400
CONTENT = os.urandom(700_001)


def chunks() -> Iterator[bytes]:
    for start in range(0, len(CONTENT), 100_000):
        yield CONTENT[start : start + 100_000]


async def achunks() -> AsyncIterator[bytes]:
    for chunk in chunks():
        yield chunk


class OnlyRead:
    """The least that is a file object."""

    def __init__(self) -> None:
        self._file = io.BytesIO(CONTENT)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


def pipe() -> Any:
    reader, writer = os.pipe()

    def fill() -> None:
        with open(writer, "wb") as file:
            file.write(CONTENT)

    threading.Thread(target=fill, daemon=True).start()
    return open(reader, "rb")


SOURCES: dict[str, Callable[[Path], Any]] = {
    "string path": str,
    "path": lambda path: path,
    "file object": lambda path: path.open("rb"),
    "raw file object": lambda path: path.open("rb", buffering=0),
    "bytes": lambda _: CONTENT,
    "bytearray": lambda _: bytearray(CONTENT),
    "memoryview": lambda _: memoryview(CONTENT),
    "wide memoryview": lambda _: memoryview(CONTENT[:-1]).cast("I"),
    "BytesIO": lambda _: io.BytesIO(CONTENT),
    "file object in the middle": lambda _: _at(io.BytesIO(b"before" + CONTENT), 6),
    "iterator": lambda _: chunks(),
    "list": lambda _: list(chunks()),
    "reader": lambda _: OnlyRead(),
    "pipe": lambda _: pipe(),
    "async iterator": lambda _: achunks(),
}


def _at(file: io.BytesIO, position: int) -> io.BytesIO:
    file.seek(position)
    return file


@pytest.mark.parametrize("source", SOURCES)
def test_every_kind_of_source(client: AnyClient, tmp_path: Path, source: str) -> None:
    if source == "async iterator" and client.kind == "sync":
        with pytest.raises(TypeError):
            client.create_file(achunks(), "vision")
        return
    path = tmp_path / "näme.png"
    path.write_bytes(CONTENT)
    created = client.create_file(SOURCES[source](path), "vision")
    expected = CONTENT[:-1] if source == "wide memoryview" else CONTENT
    named = source in {"string path", "path", "file object", "raw file object"}
    assert (created.bytes, created.filename) == (len(expected), "näme.png" if named else "upload")
    assert client.download_file(created.id) == expected


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 262_144, b"x" * 262_145])
def test_sizes_around_a_block(client: AnyClient, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for source in (path, content, iter([content, b""])):
        created = client.create_file(source, "vision", filename="b.png")
        assert client.download_file(created.id) == content


@pytest.mark.parametrize("name", ["ünï cödé 文件.txt", "a b;c.txt", '"q".txt', "😀.txt", "'.txt"])
def test_filenames_round_trip(client: AnyClient, name: str) -> None:
    created = client.create_file(b"x", "vision", filename=name)
    assert created.filename == name
    assert client.download_file(created.id).filename == name


def test_expires_after_as_seconds_or_anchor(client: AnyClient) -> None:
    for expires_after in (DAY, {"anchor": "created_at", "seconds": DAY}):
        created = client.create_file(b"x", "user_data", expires_after=expires_after)
        assert created.expires_at == created.created_at + DAY
    with pytest.raises(BadRequestError) as caught:
        client.create_file(b"x", "user_data", expires_after=60)
    assert caught.value.param == "expires_after.seconds"


def test_progress_ends_at_the_size(client: AnyClient, tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    created = client.create_file(io.BytesIO(CONTENT), "vision", on_progress=lambda *call: calls.append(call))
    assert calls == sorted(calls)
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert len(calls) == 3
    calls.clear()
    client.create_file(chunks(), "vision", on_progress=lambda *call: calls.append(call))
    assert calls[-1] == (len(CONTENT), None)
    calls.clear()
    client.download_file(created.id, tmp_path / "x", on_progress=lambda *call: calls.append(call))
    assert calls == sorted(calls)
    assert calls[-1] == (len(CONTENT), len(CONTENT))


def test_a_source_that_cannot_be_read_makes_no_request(connect_with_faults: Any, tmp_path: Path) -> None:
    client, proxy = connect_with_faults()
    (tmp_path / "text").write_text("x")
    for source, error in (
        (tmp_path / "missing", FileNotFoundError),
        (str(tmp_path / "missing"), FileNotFoundError),
        (tmp_path, IsADirectoryError),
        ((tmp_path / "text").open(), TypeError),
        (io.StringIO("x"), TypeError),
        (17, TypeError),
    ):
        with pytest.raises(error):
            client.create_file(source, "vision")
    with pytest.raises(TypeError, match='"rb"'):
        client.create_file((tmp_path / "text").open(), "vision")
    assert proxy.seen == []


def test_an_iterator_of_text_is_refused(client: AnyClient) -> None:
    with pytest.raises(TypeError, match="str where bytes"):
        client.create_file(iter(["text"]), "vision")


class Growing(io.RawIOBase):
    """A file that has another length when it is read than it had at first."""

    def __init__(self, announced: int, real: int) -> None:
        self._announced, self._left = announced, real

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._announced if whence == 2 else 0

    def read(self, size: int = -1) -> bytes:
        size = min(size, self._left) if size >= 0 else self._left
        self._left -= size
        return b"x" * size


@pytest.mark.parametrize(("announced", "real", "how"), [(500_000, 400_000, "shrank"), (400_000, 400_001, "grew")])
def test_a_file_that_changes_while_it_is_sent(client: AnyClient, announced: int, real: int, how: str) -> None:
    name = f"changing-{client.kind}-{how}"
    with pytest.raises(SourceChanged, match=how):
        client.create_file(Growing(announced, real), "vision", filename=name)
    assert name not in [file.filename for file in client.iter_files()]
    assert client.create_file(b"the client still works", "vision").bytes == 22


def test_iter_files_reads_all_pages(connect: Any, tmp_path: Path) -> None:
    with Server(tmp_path / "data", uploads_per_minute=0) as server:
        client = connect(base_url=server.base_url)
        ids = [client.create_file(b"x", "vision").id for _ in range(5)]
        client.create_file(b"x", "user_data")
        assert [file.id for file in client.iter_files(purpose="vision", order="asc", limit=2)] == ids
        assert [file.id for file in client.iter_files(purpose="vision", limit=1)] == ids[::-1]
        assert [file.id for file in client.iter_files(purpose="vision", order="asc", after=ids[2])] == ids[3:]
        assert list(client.iter_files(purpose="evals")) == []
        page = client.list_files(limit=2, order="asc")
        assert (page.has_more, page.first_id, page.last_id) == (True, ids[0], ids[1])
        assert [file.id for file in page.data] == ids[:2]
        first = client.iter_files(limit=2)
        assert next(first).purpose == "user_data"


@pytest.mark.parametrize(("limit", "order"), [(3, None), (2, "asc"), (1, None)])
def test_all_can_be_deleted_while_paging(connect: Any, server: Server, limit: int, order: str | None) -> None:
    client = connect()
    made = {client.create_file(b"x", "evals").id for _ in range(7)}
    for file in client.iter_files(purpose="evals", limit=limit, order=order):
        client.delete_file(file.id)
        made.discard(file.id)
    assert made == set()
    assert list(client.iter_files(purpose="evals")) == []


def test_a_list_whose_pages_repeat_raises(connect_with_faults: Any) -> None:
    row = b'{"id": "file-1", "purpose": "x", "filename": "a", "bytes": 1, "created_at": 1}'
    page = b'{"data": [' + row + b'], "has_more": true}'
    client, proxy = connect_with_faults(*[Fault(response=raw_response("200 OK", body=page))] * 5)
    seen = []
    with pytest.raises(FilesteadError, match="does not end"):
        seen.extend(client.iter_files())
    assert len(proxy.seen) == 2


def test_retrieve_and_delete(client: AnyClient) -> None:
    created = client.create_file(b"x", "user_data", filename="a.txt")
    assert client.retrieve_file(created.id) == created
    deleted = client.delete_file(created.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (created.id, True, "file")
    with pytest.raises(NotFoundError) as caught:
        client.delete_file(created.id)
    error = caught.value
    assert error.message == f"No such File object: {created.id}"
    assert (error.status_code, error.param, error.code, error.type) == (404, "id", None, "invalid_request_error")
    assert error.request_id and error.request_id in str(error)
    assert str(error).startswith(f"Error code: 404 - No such File object: {created.id}")


@pytest.mark.parametrize("name", ["retrieve_file", "delete_file", "download_file"])
def test_an_empty_id_makes_no_request(connect_with_faults: Any, name: str) -> None:
    client, proxy = connect_with_faults()
    with pytest.raises(ValueError, match="non-empty"):
        getattr(client, name)("")
    with pytest.raises(ValueError, match="non-empty"):
        client.stream_file("")
    assert proxy.seen == []


@pytest.mark.parametrize(
    ("file_id", "target"),
    [
        ("a b", "a%20b"),
        ("a/b", "a%2Fb"),
        ("a?b#c", "a%3Fb%23c"),
        ("100%", "100%25"),
        ("%41", "%2541"),
        ("a:@=&+$~-_.", "a:@=&+$~-_."),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("...", "..."),
        ("é\n", "%C3%A9%0A"),
    ],
)
def test_ids_are_escaped_as_one_path_segment(connect_with_faults: Any, file_id: str, target: str) -> None:
    client, proxy = connect_with_faults()
    with pytest.raises(NotFoundError):
        client.retrieve_file(file_id)
    with pytest.raises(NotFoundError):
        client.download_file(file_id)
    assert [seen.target for seen in proxy.seen] == [f"/v1/files/{target}", f"/v1/files/{target}/content"]


def test_requests_carry_the_key_and_default_headers(connect_with_faults: Any, server: Server) -> None:
    client, proxy = connect_with_faults(default_headers={"X-Team": "blue", "user-agent": "mine"})
    client.list_files(limit=1)
    client.create_file(b"x", "vision")
    listing, upload = (seen.headers for seen in proxy.seen)
    assert listing["authorization"] == f"Bearer {server.key}"
    assert (listing["x-team"], listing["user-agent"], listing["x-stainless-retry-count"]) == ("blue", "mine", "0")
    assert len(upload["idempotency-key"]) == 32
    assert "idempotency-key" not in listing
    assert int(upload["content-length"]) > 0


def test_without_a_key_no_authorization_is_sent(connect_with_faults: Any, connect: Any) -> None:
    client, proxy = connect_with_faults(api_key="")
    with pytest.raises(AuthenticationError) as caught:
        client.list_files()
    assert caught.value.body["message"].startswith("You didn't provide an API key")
    assert "authorization" not in proxy.seen[0].headers
    with pytest.raises(AuthenticationError) as caught:
        connect(api_key="sk-wrong").list_files()
    assert caught.value.code == "invalid_api_key"


def test_a_refused_connection_raises(connect: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with pytest.raises(APIConnectionError, match=f"GET http://127.0.0.1:{port}/files") as caught:
        connect(base_url=f"http://127.0.0.1:{port}", max_retries=0).list_files()
    assert caught.value.__cause__ is not None


# --- downloads ----------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(client: AnyClient) -> str:
    return client.create_file(CONTENT, "vision", filename="ä b.png").id


def test_download_into_memory(client: AnyClient, stored: str) -> None:
    content = client.download_file(stored)
    assert isinstance(content, FileContent)
    assert content == CONTENT
    assert (content.filename, content.content_type) == ("ä b.png", "application/octet-stream")
    assert len(content.sha256) == 64


def test_download_to_a_path(client: AnyClient, stored: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert client.download_file(stored, target) == target
    assert target.read_bytes() == CONTENT
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask
    assert os.listdir(tmp_path) == ["out"]


def test_an_existing_target_keeps_its_mode(client: AnyClient, stored: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(target)
    assert client.download_file(stored, str(link)) == link
    assert link.is_symlink()
    assert target.read_bytes() == CONTENT
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_download_to_a_directory(client: AnyClient, stored: str, tmp_path: Path) -> None:
    assert client.download_file(stored, tmp_path) == tmp_path / "ä b.png"
    assert (tmp_path / "ä b.png").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("测" * 251 + ".txt", "测" * 83 + ".txt"),
        ("🎉" * 255, "🎉" * 63),
        ("x" * 255, "x" * 255),
        ("a." + "é" * 253, "a." + "é" * 126),
    ],
)
def test_download_to_a_directory_truncates_long_names(client: AnyClient, tmp_path: Path, name: str, saved: str) -> None:
    file = client.create_file(b"long", "user_data", filename=name)
    assert file.filename == name
    assert client.download_file(file.id, tmp_path) == tmp_path / saved
    assert [path.name for path in tmp_path.iterdir()] == [saved]


def test_download_into_file_objects(client: AnyClient, stored: str, tmp_path: Path) -> None:
    memory = io.BytesIO()
    assert client.download_file(stored, memory) == len(CONTENT)
    assert memory.getvalue() == CONTENT
    with (tmp_path / "raw").open("wb", buffering=0) as raw:
        assert client.download_file(stored, raw) == len(CONTENT)
    assert (tmp_path / "raw").read_bytes() == CONTENT
    with pytest.raises(TypeError, match='"wb"'):
        client.download_file(stored, io.StringIO())
    with pytest.raises(TypeError):
        client.download_file(stored, 17)


def test_a_device_is_written_and_not_replaced(client: AnyClient, stored: str, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()), daemon=True)
    reader.start()
    assert client.download_file(stored, fifo) == fifo
    reader.join(30)
    assert got == [CONTENT]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_destinations_that_cannot_be_written_raise(client: AnyClient, stored: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.download_file(stored, tmp_path / "missing" / "out")
    with pytest.raises(NotFoundError):
        client.download_file("file-missing", tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_download_to_a_path_with_the_longest_name(client: AnyClient, stored: str, tmp_path: Path) -> None:
    target = tmp_path / ("n" * 255)
    client.download_file(stored, target)
    assert target.read_bytes() == CONTENT
    assert partial_files_in(tmp_path) == []


def test_stream_file(client: AnyClient, stored: str) -> None:
    assert b"".join(client.stream_file(stored)) == CONTENT
    assert b"".join(client.stream_file(stored, start=100_000)) == CONTENT[100_000:]
    started = client.stream_file(stored)
    assert CONTENT.startswith(next(started))
    started.close()
    with pytest.raises(ValueError, match="negative"):
        client.stream_file(stored, start=-1)
    with pytest.raises(filestead.APIStatusError) as caught:
        list(client.stream_file(stored, start=len(CONTENT) + 1))
    assert caught.value.status_code == 416


def test_a_purpose_without_downloads_is_rejected(connect: Any, tmp_path: Path) -> None:
    with Server(tmp_path / "data", downloads="openai") as server:
        client = connect(base_url=server.base_url)
        created = client.create_file(b"x", "user_data")
        with pytest.raises(BadRequestError, match="Not allowed to download files of purpose: user_data"):
            client.download_file(created.id, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_both_work_as_context_managers(server: Server) -> None:
    import asyncio

    with filestead.FilesClient(base_url=server.base_url + "/", api_key=server.key) as client:
        client.list_files()
        assert client.base_url == server.base_url

    async def use() -> None:
        async with filestead.AsyncFilesClient(base_url=server.base_url, api_key=server.key) as client:
            await asyncio.gather(*(client.list_files() for _ in range(8)))

    asyncio.run(use())


def test_a_proxy_is_used(connect: Any, server: Server) -> None:
    with Proxy(server.port) as proxy:
        client = connect(proxy=proxy.base_url.removesuffix("/v1"))
        client.list_files(limit=1)
        assert proxy.seen[0].target == f"{server.base_url}/files?limit=1"
