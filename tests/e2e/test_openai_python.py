"""The official Python package, sync and async, against a real server: nothing is patched but its environment."""

import asyncio
import hashlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.client.proxy import Fault, Proxy
from tests.e2e.openai_clients import MIB, connect, new_project
from tests.support.servers import Server

CHAT_LINE = b'{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}\n'
BATCH_LINE = b'{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "hi"}}\n'
EVALS_LINE = b'{"item": {"question": "1+1", "answer": "2"}}\n'


# --- create ---------------------------------------------------------------------------------------------------------


def test_create_from_a_path(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"from a path")
    file = client.files.create(file=path, purpose="user_data")
    assert (file.object, file.filename, file.bytes, file.purpose) == ("file", "notes.txt", 11, "user_data")
    assert (file.status, file.status_details, file.expires_at) == ("processed", None, None)
    assert re.fullmatch("file-[0-9A-Za-z]{22}", file.id)
    assert client.files.content(file.id).read() == b"from a path"


def test_create_from_bytes(client: OpenAI) -> None:
    file = client.files.create(file=b"\x00\xff raw", purpose="user_data")
    assert (file.filename, file.bytes) == ("upload", 6)
    assert client.files.content(file.id).read() == b"\x00\xff raw"


def test_create_from_open_files(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "open.bin"
    path.write_bytes(b"opened")
    with path.open("rb") as opened:
        file = client.files.create(file=opened, purpose="user_data")
    assert (file.filename, file.bytes) == ("open.bin", 6)
    unnamed = client.files.create(file=io.BytesIO(b"stream"), purpose="user_data")
    assert (unnamed.filename, unnamed.bytes) == ("upload", 6)


def test_create_from_a_tuple(client: OpenAI) -> None:
    file = client.files.create(file=("data.csv", b"a,b\n", "text/csv"), purpose="user_data")
    assert (file.filename, file.bytes) == ("data.csv", 4)


@pytest.mark.parametrize(
    "name",
    [
        "naïve – データ 📎.txt",
        'a "quoted" name.txt',
        "it's; filename=no.txt",
        "100% sure.txt",
        "a+b&c=d.txt",
        " spaced .txt",
    ],
)
def test_file_names_come_back_as_they_were(client: OpenAI, name: str) -> None:
    file = client.files.create(file=(name, b"named"), purpose="user_data")
    assert file.filename == name
    assert client.files.retrieve(file.id).filename == name


def test_empty_file(client: OpenAI) -> None:
    file = client.files.create(file=("empty.txt", b""), purpose="user_data")
    assert file.bytes == 0
    assert client.files.content(file.id).read() == b""


@pytest.mark.parametrize(
    ("purpose", "name", "content", "lifetime"),
    [
        ("assistants", "a.md", b"# a", None),
        ("batch", "a.jsonl", BATCH_LINE, 2_592_000),
        ("fine-tune", "a.jsonl", CHAT_LINE * 10, None),
        ("vision", "a.png", b"\x89PNG\r\n\x1a\n", None),
        ("user_data", "a.pdf", b"%PDF-", None),
        ("evals", "a.jsonl", EVALS_LINE, None),
    ],
)
def test_purposes(client: OpenAI, purpose: Any, name: str, content: bytes, lifetime: int | None) -> None:
    file = client.files.create(file=(name, content), purpose=purpose)
    assert (file.purpose, file.status, file.status_details) == (purpose, "processed", None)
    assert file.expires_at == (file.created_at + lifetime if lifetime else None)
    assert client.files.retrieve(file.id) == file


def test_expires_after(client: OpenAI) -> None:
    file = client.files.create(
        file=("a.txt", b"a"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert file.expires_at == file.created_at + 3600


# --- retrieve, wait, delete -----------------------------------------------------------------------------------------


def test_retrieve_gives_what_create_gave(client: OpenAI) -> None:
    file = client.files.create(file=("a.txt", b"abc"), purpose="user_data")
    found = client.files.retrieve(file.id)
    assert found == file
    assert found._request_id != file._request_id


def test_wait_for_processing_returns_after_one_look(client: OpenAI, sent: list[httpx2.Request]) -> None:
    file = client.files.create(file=("a.txt", b"abc"), purpose="user_data")
    sent.clear()
    assert client.files.wait_for_processing(file.id, poll_interval=0.01, max_wait_seconds=0) == file
    assert len(sent) == 1


def test_delete(client: OpenAI, sent: list[httpx2.Request]) -> None:
    file = client.files.create(file=("a.txt", b"abc"), purpose="user_data")
    sent.clear()
    gone = client.files.delete(file.id)
    assert (gone.id, gone.object, gone.deleted) == (file.id, "file", True)
    # The package announces JSON and sends none.
    assert (sent[0].headers["content-type"], sent[0].read()) == ("application/json", b"")
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            call(file.id)


# --- list -----------------------------------------------------------------------------------------------------------


@dataclass
class Shelf:
    """A project that holds eleven files: a client for it, what it has sent, and the ids, oldest first."""

    client: OpenAI
    sent: list[httpx2.Request]
    ids: list[str]


@pytest.fixture(scope="module")
def eleven_files(server: Server) -> Iterator[Shelf]:
    sent: list[httpx2.Request] = []
    with connect(server, sent, api_key=new_project(server, "shelf")) as client:
        ids = []
        for number in range(11):
            purpose: Any = "vision" if number % 4 == 0 else "user_data"
            ids.append(client.files.create(file=(f"{number}.txt", b"%d" % number), purpose=purpose).id)
        yield Shelf(client, sent, ids)


@pytest.fixture
def shelf(eleven_files: Shelf) -> Shelf:
    eleven_files.sent.clear()
    return eleven_files


def test_list_is_newest_first(shelf: Shelf) -> None:
    assert [file.id for file in shelf.client.files.list()] == shelf.ids[::-1]
    assert len(shelf.sent) == 1


@pytest.mark.parametrize(("limit", "pages"), [(1, 11), (4, 3), (10, 2), (11, 1), (10_000, 1)])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_list_follows_its_pages(shelf: Shelf, order: Any, limit: int, pages: int) -> None:
    ids = shelf.ids if order == "asc" else shelf.ids[::-1]
    assert [file.id for file in shelf.client.files.list(limit=limit, order=order)] == ids
    assert len(shelf.sent) == pages  # the last page says so itself; it takes no empty one to find out


def test_list_page_by_page(shelf: Shelf) -> None:
    ids = shelf.ids
    page: Any = shelf.client.files.list(limit=8, order="asc", after=ids[1])
    assert [file.id for file in page.data] == ids[2:10]
    assert (page.has_more, page.object, page.first_id, page.last_id) == (True, "list", ids[2], ids[9])
    assert page.has_next_page()
    page = page.get_next_page()
    assert [file.id for file in page.data] == ids[10:]
    assert (page.has_more, page.has_next_page()) == (False, False)


def test_list_by_purpose(shelf: Shelf) -> None:
    found = [file.id for file in shelf.client.files.list(purpose="vision", limit=2, order="asc")]
    assert found == shelf.ids[::4]
    empty: Any = shelf.client.files.list(purpose="batch_output")
    assert (empty.data, empty.has_more, empty.first_id, empty.last_id) == ([], False, None, None)


@pytest.mark.parametrize(("limit", "order"), [(2, "desc"), (3, "asc"), (1, "desc")])
def test_all_can_be_deleted_while_paging(client: OpenAI, limit: int, order: Any) -> None:
    made = {client.files.create(file=b"x", purpose="vision").id for _ in range(6)}
    for file in client.files.list(purpose="vision", limit=limit, order=order):
        client.files.delete(file.id)
        made.discard(file.id)
    assert made == set()
    assert list(client.files.list(purpose="vision")) == []


def test_projects_do_not_see_each_other(client: OpenAI, shelf: Shelf) -> None:
    theirs = shelf.ids[0]
    assert not {file.id for file in client.files.list()} & set(shelf.ids)
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            call(theirs)
    with pytest.raises(openai.NotFoundError) as raised:
        client.files.list(after=theirs)
    assert raised.value.param == "after"
    assert shelf.client.files.retrieve(theirs).id == theirs


# --- content --------------------------------------------------------------------------------------------------------


def test_content_in_every_way(client: OpenAI, tmp_path: Path) -> None:
    text = "Zeile eins\nZeile zwei – 日本\n"
    file = client.files.create(file=("a.txt", text.encode()), purpose="user_data")
    content = client.files.content(file.id)
    assert content.read() == content.content == text.encode()
    assert b"".join(content.iter_bytes(5)) == text.encode()
    assert list(content.iter_lines()) == text.splitlines()
    content.write_to_file(tmp_path / "copy.txt")
    assert (tmp_path / "copy.txt").read_bytes() == text.encode()
    assert content.response.headers["content-type"] == "application/octet-stream"


def test_content_as_text(client: OpenAI) -> None:
    text = "naïve – 日本 📎\n"
    file = client.files.create(file=("a.txt", text.encode()), purpose="user_data")
    assert client.files.content(file.id).text == text


def test_large_content_streams(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(hashlib.shake_128(b"large").digest(20 * MIB))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    file = client.files.create(file=path, purpose="user_data")
    assert file.bytes == 20 * MIB
    with client.files.with_streaming_response.content(file.id) as response:
        assert response.headers["content-length"] == str(20 * MIB)
        arriving = hashlib.sha256()
        for piece in response.iter_bytes():
            arriving.update(piece)
    assert arriving.hexdigest() == digest
    with client.files.with_streaming_response.content(file.id) as response:
        response.stream_to_file(tmp_path / "copy.bin")
    assert hashlib.sha256((tmp_path / "copy.bin").read_bytes()).hexdigest() == digest


def test_a_broken_download_goes_on_where_it_stopped(client: OpenAI) -> None:
    content = hashlib.shake_128(b"resumed").digest(3 * MIB)
    file = client.files.create(file=("a.bin", content), purpose="user_data")
    with client.files.with_streaming_response.content(file.id) as response:
        etag = response.headers["etag"]
        start = next(response.iter_bytes(MIB))
    rest = client.files.content(file.id, extra_headers={"Range": f"bytes={len(start)}-", "If-Range": etag})
    assert rest.response.status_code == 206
    assert start + rest.read() == content


# --- headers --------------------------------------------------------------------------------------------------------


def test_headers_of_an_answer(client: OpenAI) -> None:
    raw = client.files.with_raw_response.create(file=("a.txt", b"a"), purpose="user_data")
    assert re.fullmatch("req_[0-9a-f]{32}", raw.headers["x-request-id"])
    assert raw.headers["x-request-id"] == raw.parse()._request_id
    assert raw.headers["openai-version"] == "2020-10-01"
    assert raw.headers["openai-organization"] == "default"
    assert raw.headers["openai-project"].startswith("proj_")
    assert raw.headers["openai-processing-ms"].isdigit()
    assert raw.headers["content-type"] == "application/json"
    assert raw.status_code == 200


# --- async ----------------------------------------------------------------------------------------------------------


def test_async_life_of_a_file(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"async")

    async def scenario() -> None:
        async with AsyncOpenAI(base_url=server.base_url, api_key=server.key, max_retries=0) as client:
            file = await client.files.create(file=path, purpose="user_data")
            assert (file.filename, file.bytes) == ("a.txt", 5)
            assert await client.files.retrieve(file.id) == file
            assert await client.files.wait_for_processing(file.id, poll_interval=0.01, max_wait_seconds=0) == file
            assert (await client.files.content(file.id)).read() == b"async"
            async with client.files.with_streaming_response.content(file.id) as response:
                assert b"".join([piece async for piece in response.iter_bytes(2)]) == b"async"
            assert (await client.files.delete(file.id)).deleted
            with pytest.raises(openai.NotFoundError) as raised:
                await client.files.retrieve(file.id)
            assert (raised.value.param, raised.value.request_id is not None) == ("id", True)

    asyncio.run(scenario())


def test_async_uploads_at_once_and_paging(server: Server) -> None:
    key = new_project(server, "async")

    async def scenario() -> None:
        async with AsyncOpenAI(base_url=server.base_url, api_key=key, max_retries=0) as client:
            uploads = [
                client.files.create(file=(f"{number}.txt", b"%d" % number), purpose="user_data") for number in range(30)
            ]
            files = await asyncio.gather(*uploads)
            assert [file.filename for file in files] == [f"{number}.txt" for number in range(30)]
            oldest_first = [file.id async for file in client.files.list(limit=7, order="asc")]
            assert sorted(oldest_first) == sorted(file.id for file in files)
            assert [file.id async for file in client.files.list(limit=7)] == oldest_first[::-1]
            contents = await asyncio.gather(*(client.files.content(file.id) for file in files))
            assert [content.read() for content in contents] == [b"%d" % number for number in range(30)]

    asyncio.run(scenario())


# --- uploads in parts -----------------------------------------------------------------------------------------------


def test_case_46_upload_file_chunked_of_300_mb(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    block = os.urandom(MIB)
    with path.open("wb") as written:
        for number in range(300):
            written.write(number.to_bytes(4, "big") + block[4:])
    with path.open("rb") as opened:
        digests = [hashlib.file_digest(opened, "sha256").digest()]
    upload = client.uploads.upload_file_chunked(file=path, mime_type="application/octet-stream", purpose="user_data")
    assert (upload.object, upload.status, upload.bytes) == ("upload", "completed", 300 * MIB)
    assert upload.file is not None
    assert (upload.file.filename, upload.file.bytes, upload.file.status) == ("large.bin", 300 * MIB, "processed")
    digest = hashlib.sha256()
    with client.files.with_streaming_response.content(upload.file.id) as response:
        for block in response.iter_bytes(MIB):
            digest.update(block)
    assert digest.digest() == digests[0]
    client.files.delete(upload.file.id)


@pytest.mark.parametrize("fault", [Fault(drop_response=True), Fault(cut_upload=10)], ids=["response", "request"])
@pytest.mark.parametrize("lost", [1, 2, 3])
def test_case_49_a_part_is_sent_again(server: Server, lost: int, fault: Fault) -> None:
    """Two parts are equal: the client lists an id twice if it gets one that it has."""
    content = bytes(600) + b"the last"
    options: dict[str, Any] = {"filename": "a.txt", "bytes": 608, "mime_type": "pdf", "purpose": "user_data"}
    with (
        Proxy(server.port, [Fault()] * lost + [fault]) as proxy,
        OpenAI(base_url=proxy.base_url, api_key=server.key) as client,
    ):
        upload = client.uploads.upload_file_chunked(file=content, part_size=300, **options)
    counts = [seen.headers["x-stainless-retry-count"] for seen in proxy.seen if seen.target.endswith("/parts")]
    assert counts == ["0"] * lost + ["1"] + ["0"] * (3 - lost)
    assert upload.file is not None
    assert server.client.get(f"/files/{upload.file.id}/content").content == content


def test_upload_file_chunked_with_a_checksum(client: OpenAI) -> None:
    content = b"0123456789" * 100
    options: dict[str, Any] = {"filename": "a.txt", "bytes": 1000, "mime_type": "pdf", "purpose": "assistants"}
    upload = client.uploads.upload_file_chunked(
        file=content, part_size=300, md5=hashlib.md5(content).hexdigest(), **options
    )
    assert upload.file is not None
    assert client.files.content(upload.file.id).read() == content
    with pytest.raises(openai.BadRequestError, match="instead of 0000"):
        client.uploads.upload_file_chunked(file=content, part_size=300, md5="0" * 32, **options)


def test_upload_file_chunked_of_an_empty_file(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "empty.bin"
    path.touch()
    upload = client.uploads.upload_file_chunked(file=path, mime_type="x", purpose="user_data")
    assert upload.file is not None
    assert (upload.file.bytes, client.files.content(upload.file.id).read()) == (0, b"")


def test_case_47_parts_in_parallel_and_completed_in_reverse_order(server: Server) -> None:
    async def scenario() -> None:
        async with AsyncOpenAI(base_url=server.base_url, api_key=server.key, max_retries=0) as client:
            contents = [bytes([number]) * (1_000_000 + number) for number in range(8)]
            size = sum(map(len, contents))
            upload = await client.uploads.create(
                bytes=size,
                filename="reverse.bin",
                mime_type="application/octet-stream",
                purpose="user_data",
                expires_after={"anchor": "created_at", "seconds": 7200},
            )
            parts = await asyncio.gather(
                *(client.uploads.parts.create(upload.id, data=content) for content in contents)
            )
            order = [part.id for part in parts[::-1]]
            done = await client.uploads.complete(upload.id, part_ids=order)
            assert done.file is not None
            assert (done.file.created_at, done.file.expires_at) == (upload.created_at, upload.created_at + 7200)
            again = await client.uploads.complete(upload.id, part_ids=order)
            assert again.file == done.file
            assert (await client.files.content(done.file.id)).read() == b"".join(contents[::-1])
            with pytest.raises(openai.BadRequestError, match="is not pending"):
                await client.uploads.cancel(upload.id)
            other = await client.uploads.create(bytes=1, filename="a", mime_type="x", purpose="vision")
            assert (await client.uploads.cancel(other.id)).status == "cancelled"
            with pytest.raises(openai.NotFoundError):
                await client.uploads.cancel("upload_x")

    asyncio.run(scenario())


# --- keys of one's own ----------------------------------------------------------------------------------------------


def test_a_key_with_blanks(tmp_path: Path) -> None:
    with Server(tmp_path / "data", key=None, bootstrap_key="My API Key") as server:
        own = OpenAI(base_url=server.base_url, api_key="My API Key")
        file = own.files.create(file=("a.txt", b"hello"), purpose="user_data")
        assert own.files.content(file.id).read() == b"hello"
        for wrong in ("My API", "My", "MyAPIKey", "My  API Key"):
            with pytest.raises(openai.AuthenticationError):
                OpenAI(base_url=server.base_url, api_key=wrong).files.list()


# --- requests that are sent again -----------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"small", b"large" * 200_000], ids=["small", "large"])
@pytest.mark.promise("R-16")
def test_an_upload_whose_response_is_lost_makes_one_file(server: Server, content: bytes) -> None:
    key = new_project(server, f"retries-{len(content)}")
    lost = [Fault(drop_response=True), Fault(drop_response=True)]
    with Proxy(server.port, lost) as proxy, OpenAI(base_url=proxy.base_url, api_key=key) as client:
        file = client.files.create(file=("a.bin", content), purpose="user_data")
        assert [seen.headers["x-stainless-retry-count"] for seen in proxy.seen] == ["0", "1", "2"]
        assert [found.id for found in client.files.list()] == [file.id]
        assert client.files.content(file.id).read() == content
        again = client.files.create(file=("a.bin", content), purpose="user_data")
        assert again.id != file.id


@pytest.mark.promise("R-16")
def test_a_deletion_whose_response_is_lost_succeeds(server: Server) -> None:
    key = new_project(server, "retried deletions")
    with Proxy(server.port) as proxy, OpenAI(base_url=proxy.base_url, api_key=key) as client:
        file = client.files.create(file=b"gone", purpose="user_data")
        proxy.faults += [Fault(drop_response=True), Fault(drop_response=True)]
        assert client.files.delete(file.id).deleted
        assert len(proxy.seen) == 4
        with pytest.raises(openai.NotFoundError):
            client.files.delete(file.id)
