"""Inputs of clients in the field that were once refused or misread, each with the right answer."""

import gzip
from dataclasses import dataclass, field

import pytest

from tests.support.servers import Server


@dataclass(frozen=True)
class Case:
    """A request below /v1 with the server's key, and what must come of it."""

    title: str
    method: str = "POST"
    path: str = "/files"
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    members: dict[str, object] = field(default_factory=dict)
    """Members of the file object or of `error`."""

    message: str = ""
    """A part of the error's message."""


def upload(
    title: str, disposition: str, *, part_type: str = "text/plain", filename: str, content: bytes = b"content"
) -> Case:
    """A form with a file part that is headed so, and the name that the file must get."""
    body = (
        f'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        f'--x\r\nContent-Disposition: form-data; name="file"; {disposition}\r\nContent-Type: {part_type}\r\n\r\n'
    ).encode() + content
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    members = {"filename": filename, "bytes": len(content), "status": "processed"}
    return Case(title, body=body + b"\r\n--x--\r\n", headers=headers, members=members)


def lines(
    title: str, purpose: str, content: bytes, *, status: int = 200, says: str | None = None, message: str = ""
) -> Case:
    """A JSONL file with its whole `status_details`, or a part of the message that refuses it."""
    body = (
        f'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
        f'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    ).encode() + content
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    members: dict[str, object] = {"status": "processed", "status_details": says} if status == 200 else {"code": None}
    return Case(title, body=body + b"\r\n--x--\r\n", headers=headers, status=status, members=members, message=message)


def batch_line(
    number: int, url: str = "/v1/chat/completions", body: bytes = b'{"model": "m", "messages": []}'
) -> bytes:
    return b'{"custom_id": "%d", "method": "POST", "url": "%b", "body": %b}\n' % (number, url.encode(), body)


NO_BATCH = "Invalid file format for Batch API. Must be .jsonl"

CASES = [
    # The type of a file part is a label.
    upload("an archived web page", 'filename="page.mhtml"', part_type="multipart/related; boundary=y", filename="page.mhtml"),
    upload("an archive", 'filename="a.zip"', part_type="multipart/x-zip", filename="a.zip"),
    upload("a compressed file", 'filename="a.gz"', part_type="multipart/x-gzip", filename="a.gz"),
    upload("an answer with ranges", 'filename="a.bin"', part_type="multipart/byteranges; boundary=x", filename="a.bin"),
    upload(
        "a form in a file",
        'filename="form.txt"',
        part_type="multipart/form-data; boundary=y",
        filename="form.txt",
        content=b'--y\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--y--\r\n',
    ),
    # Names are as long as their characters are many.
    upload("86 Chinese characters", f'filename="{"测" * 86}"', filename="测" * 86),
    upload("255 characters outside the basic plane", f'filename="{"🎉" * 255}"', filename="🎉" * 255),
    # `filename` is only the stand-in of `filename*`.
    upload("an underscore", "filename=\"_.txt\"; filename*=UTF-8''%E6%B5%8B.txt", filename="测.txt"),
    upload("question marks", "filename=\"??.txt\"; filename*=UTF-8''%E6%B5%8B%E8%AF%95.txt", filename="测试.txt"),
    upload("percent signs", "filename=\"%E6%B5%8B.txt\"; filename*=UTF-8''%E6%B5%8B.txt", filename="测.txt"),
    upload("nothing", "filename=\"\"; filename*=utf-8''%C3%A9.txt", filename="é.txt"),
    upload("broken text", "filename=\"Ã©.txt\"; filename*=utf-8''%C3%A9.txt", filename="é.txt"),
    upload(
        "two encoded words",
        "filename=\"=?UTF-8?Q?=E6=B5=8B?= =?UTF-8?Q?=E8=AF=95.txt?=\"; filename*=UTF-8''%E6%B5%8B%E8%AF%95.txt",
        filename="测试.txt",
    ),
    upload("an encoded word alone", 'filename="=?utf-8?B?w6kudHh0?="', filename="é.txt"),
    upload("two readable names", "filename=\"a.txt\"; filename*=UTF-8''b.txt", filename="a.txt"),
    # Nothing in a name turns the text around.
    upload("a right-to-left override", 'filename="invoice\u202etxt.exe"', filename="invoicetxt.exe"),
    upload("an override in encoded form", "filename*=UTF-8''invoice%E2%80%AEtxt.exe", filename="invoicetxt.exe"),
    upload("an isolate", 'filename="a\u2066b\u2069.txt"', filename="ab.txt"),
    # A faulty line makes no status that a client waits behind.
    lines("a faulty example", "fine-tune", b'{"messages": []}\n', says="Line 1: 'messages' is an empty list; expected a non-empty list."),
    # What some model server can run is no fault.
    lines("two models", "batch", batch_line(1) + batch_line(2, body=b'{"model": "n", "messages": []}')),
    lines("scores", "batch", batch_line(1, "/v1/score")),
    lines("ranks", "batch", batch_line(1, "/v1/rerank")),
    lines("transcriptions", "batch", batch_line(1, "/v1/audio/transcriptions")),
    lines("moderations without a model", "batch", batch_line(1, "/v1/moderations", b'{"input": "x"}')),
    lines("a prompt without a model", "batch", batch_line(1, "/v1/responses", b'{"prompt": {"id": "pmpt_1"}}')),
    lines("half of an emoji", "batch", batch_line(1, body=b'{"model": "m", "messages": [{"role": "user", "content": "\\ud83d"}]}')),
    # A refusal names the kind of file.
    lines("an empty file", "batch", b"", status=400, message=NO_BATCH),
    lines("a byte order mark", "batch", b"\xef\xbb\xbf" + batch_line(1), status=400, message="byte order mark"),
    lines("UTF-16", "batch", batch_line(1).decode().encode("utf-16"), status=400, message="UTF-16"),
    lines("gzip", "batch", gzip.compress(batch_line(1), mtime=0), status=400, message="gzip"),
    lines("one array", "batch", b"[" + batch_line(1).strip() + b"]", status=400, message="array"),
    lines("pretty-printed", "batch", b'{\n  "custom_id": "1"\n}\n', status=400, message=NO_BATCH),
    lines("Latin-1", "batch", b'{"custom_id": "\xe9"}\n', status=400, message="Must be utf-8 encoded"),
    # Numbers out of bounds are numbers.
    Case(
        "a huge limit",
        method="GET",
        path="/files?limit=99999999999",
        status=400,
        members={"param": None, "code": None},
        message="99999999999 is greater than the maximum of 10000 - 'limit'",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_cases_of_the_field(server: Server, case: Case) -> None:
    response = server.client.request(case.method, case.path, content=case.body, headers=case.headers)
    assert response.status_code == case.status, response.text
    body = response.json()
    found = body["error"] if case.status >= 400 else body
    assert {name: found[name] for name in case.members} == case.members
    assert case.message in found.get("message", "")


def test_six_files_are_deleted_while_paging(server: Server) -> None:
    """Two on a page, each deleted before the next page is asked for."""
    made = {server.upload(purpose="vision")["id"] for _ in range(6)}
    query: dict[str, str | int] = {"purpose": "vision", "limit": 2}
    while True:
        page = server.client.get("/files", params=query)
        assert page.status_code == 200, page.text
        for file in page.json()["data"]:
            assert server.client.delete(f"/files/{file['id']}").status_code == 200
            made.discard(file["id"])
        if not page.json()["has_more"]:
            break
        query["after"] = page.json()["last_id"]
    assert made == set()
