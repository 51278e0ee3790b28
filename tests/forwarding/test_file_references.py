"""Files that a request names by their ids: the model server receives their content, and nothing else is changed."""

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash.harness import expire
from tests.extraction.documents import pdf
from tests.forwarding.conftest import UPSTREAM_KEY
from tests.support.event_server import EventServer
from tests.support.servers import Server, run_command

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))
URL = "data:image/png;base64," + base64.b64encode(PNG).decode()

pytestmark = pytest.mark.embedded("rows and bytes are not concerned")


def chat(*parts: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "?"}, *parts]}]}


def response(*parts: Any) -> dict[str, Any]:
    return {"model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": "?"}, *parts]}]}


def output_of_function(part: Any) -> dict[str, Any]:
    return {"model": "m", "input": [{"type": "function_call_output", "call_id": "c", "output": [part]}]}


def sent(server: Server, upstream: EventServer, path: str, body: Any) -> Any:
    """The part that the model server received in place of the first one after the text."""
    answered = server.client.post(path, json=body)
    assert answered.status_code == 200, answered.text
    received = upstream.requests[-1].json
    return received.get("messages", received.get("input"))[0]["content"][1]


def test_images_of_any_purpose(server: Server, upstream: EventServer) -> None:
    for purpose in ("vision", "user_data", "assistants"):
        image = server.upload(PNG, purpose=purpose, name="a.png")["id"]
        part: Any = {"type": "image_url", "image_url": {"url": image, "detail": "low"}}
        wanted: Any = {"type": "image_url", "image_url": {"url": URL, "detail": "low"}}
        assert sent(server, upstream, "/chat/completions", chat(part)) == wanted
        part = {"type": "image_url", "image_url": {"file_id": image, "detail": "low"}}
        assert sent(server, upstream, "/chat/completions", chat(part)) == wanted
        part = {"type": "file", "file": {"file_id": image}}
        assert sent(server, upstream, "/chat/completions", chat(part)) == {
            "type": "image_url",
            "image_url": {"url": URL},
        }
        part = {"type": "input_image", "file_id": image, "detail": "high"}
        wanted = {"type": "input_image", "image_url": URL, "detail": "high"}
        assert sent(server, upstream, "/responses", response(part)) == wanted


def test_the_text_of_documents(server: Server, upstream: EventServer) -> None:
    text = server.upload("Füße\n".encode(), name="notes.txt")["id"]
    wanted = 'File "notes.txt":\nFüße\n\nEnd of file "notes.txt".'
    part: Any = {"type": "file", "file": {"file_id": text}}
    assert sent(server, upstream, "/chat/completions", chat(part)) == {"type": "text", "text": wanted}
    part = {"type": "input_file", "file_id": text}
    assert sent(server, upstream, "/responses", response(part)) == {"type": "input_text", "text": wanted}
    document = server.upload(pdf(["A page of text."]), name="a.pdf")["id"]
    got = sent(server, upstream, "/chat/completions", chat({"type": "file", "file": {"file_id": document}}))
    assert "A page of text." in got["text"]


def test_nothing_else_changes(server: Server, upstream: EventServer) -> None:
    image = server.upload(PNG, name="a.png")["id"]
    part = b'{"type":"image_url","image_url":{"url":"%b"}}'
    before = b'{"seed":1e400,"model":"m","x":12345678901234567890123,"messages":[{"role":"user","content":"\\u00e4"},'
    before += b'{"role":"user","name":1.10,"content":[{"type":"text","text":"\\u0041"},'
    after = b'],"z":0.10}],"tools":[{"type":"x","f": 1E5}]}'
    body = before + part % image.encode() + after
    assert server.client.post("/chat/completions", content=body).status_code == 200
    assert upstream.requests[-1].body == before + part % URL.encode() + after


def test_a_body_that_names_no_file_is_not_touched(server: Server, upstream: EventServer) -> None:
    body = b'{ "model": "m", "messages": [ {"role":"user", "content":"what is a file_id, and \\"file-\\"?"} ] }'
    assert server.client.post("/chat/completions", content=body).status_code == 200
    assert upstream.requests[-1].body == body


PLACES = [
    ("messages[0].content[1].file.file_id", lambda id_: chat({"type": "file", "file": {"file_id": id_}})),
    ("messages[0].content[1].image_url.url", lambda id_: chat({"type": "image_url", "image_url": {"url": id_}})),
    (
        "messages[0].content[1].image_url.file_id",
        lambda id_: chat({"type": "image_url", "image_url": {"file_id": id_}}),
    ),
    ("messages[0].content[1].image_url", lambda id_: chat({"type": "image_url", "image_url": id_})),
    ("input[0].content[1].file_id", lambda id_: response({"type": "input_file", "file_id": id_})),
    ("input[0].content[1].file_id", lambda id_: response({"type": "input_image", "file_id": id_})),
    ("input[0].content[1].image_url", lambda id_: response({"type": "input_image", "image_url": id_})),
    ("input[0].output[0].file_id", lambda id_: output_of_function({"type": "input_file", "file_id": id_})),
    ("input[0].output[0].file_id", lambda id_: output_of_function({"type": "input_image", "file_id": id_})),
]
"""Each member that may name a file, with a body that does."""


def missing_files(server: Server, project: str) -> list[str]:
    """IDs of a file of another project, of a deleted one, of an expired one, and of none."""
    done = run_command(server.data_dir, "keys", "create", "--project", project, place=server.place)
    foreign = server.client.post(
        "/files",
        data={"purpose": "user_data"},
        files={"file": ("secret.txt", b"secret")},
        headers={"authorization": f"Bearer {done.stdout.strip()}"},
    ).json()["id"]
    deleted = server.upload(b"deleted")["id"]
    server.client.delete(f"/files/{deleted}")
    expired = server.upload(b"expired")["id"]
    expire(server.data_dir, expired)
    return [foreign, deleted, expired, "file-unknown"]


def paths_of(member: str) -> list[str]:
    """Of the requests whose body has this member."""
    if member.startswith("messages"):
        return ["/chat/completions"]
    return ["/responses", "/responses/compact", "/responses/input_tokens"]


@pytest.mark.parametrize(("member", "body"), PLACES)
def test_foreign_expired_and_unknown_ids_are_alike(
    server: Server, upstream: EventServer, member: str, body: Callable[[str], Any]
) -> None:
    for id_ in missing_files(server, "other"):
        for path in paths_of(member):
            answered = server.client.post(path, json=body(id_))
            error = answered.json()["error"]
            assert (answered.status_code, error["param"]) == (400, member)
            assert error["message"] == f"No such File object: {id_}"
    assert not upstream.requests


@pytest.mark.parametrize(("member", "body"), PLACES)
def test_an_image_in_each_place(server: Server, upstream: EventServer, member: str, body: Callable[[str], Any]) -> None:
    image = server.upload(PNG, name="a.png")["id"]
    for path in paths_of(member):
        assert server.client.post(path, json=body(image)).status_code == 200
        assert upstream.requests[-1].path == f"/v1{path}"
        assert URL in json.dumps(upstream.requests[-1].json)


@pytest.mark.parametrize(
    ("name", "content", "is_image", "reason"),
    [
        ("a.png", b"<svg>", True, "is no image"),
        ("a.png", PNG + bytes(20 * 1024 * 1024), True, "the limit is 20971520"),
        ("a.png", PNG + bytes(20 * 1024 * 1024), False, "at most 20971520 bytes"),
        ("a.bin", b"\0\1", False, "extension .bin"),
        ("a.txt", b"", False, "is empty"),
        ("a.pdf", b"%PDF-1.4 damaged", False, "could not be parsed"),
        ("a.txt", b"one two three " * 100_000, False, "more than the limit of 200000 tokens"),
        ("a.txt", bytes(33 * 1024 * 1024), False, "the limit is 33554432"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_sent(
    server: Server, upstream: EventServer, name: str, content: bytes, is_image: bool, reason: str
) -> None:
    id_ = server.upload(content, name=name)["id"]
    part = {"type": "image_url", "image_url": {"url": id_}} if is_image else {"type": "file", "file": {"file_id": id_}}
    answered = server.client.post("/chat/completions", json=chat(part))
    error = answered.json()["error"]
    assert (answered.status_code, error["code"]) == (400, "invalid_file")
    assert reason in error["message"], error["message"]
    assert not upstream.requests


def test_the_files_of_one_request_are_limited_together(server: Server, upstream: EventServer) -> None:
    large = server.upload(PNG + bytes(19 * 1024 * 1024), name="a.png")["id"]
    body = chat(*[{"type": "image_url", "image_url": {"url": large}}] * 3)
    answered = server.client.post("/chat/completions", json=body)
    assert answered.status_code == 400
    assert answered.json()["error"]["param"] == "messages[0].content[3].image_url.url"
    many = chat(*[{"type": "image_url", "image_url": {"url": large}}] * 101)
    assert (
        server.client.post("/chat/completions", json=many)
        .json()["error"]["param"]
        .startswith("messages[0].content[101]")
    )
    text = server.upload(b"word " * 120_000, name="a.txt")["id"]
    answered = server.client.post("/chat/completions", json=chat(*[{"type": "file", "file": {"file_id": text}}] * 2))
    assert answered.json()["error"]["param"] == "messages[0].content[2].file.file_id"


def test_documents_as_data_or_not_at_all(tmp_path: Path, upstream: EventServer) -> None:
    for mode in ("data", "off"):
        with Server(
            tmp_path / mode, upstream_url=upstream.url, upstream_api_key=UPSTREAM_KEY, upstream_files=mode
        ) as server:
            id_ = server.upload(b"%PDF-1.4", name="a.pdf")["id"]
            part: Any = {"type": "file", "file": {"file_id": id_}}
            data = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.4").decode()
            wanted = part if mode == "off" else {"type": "file", "file": {"filename": "a.pdf", "file_data": data}}
            assert sent(server, upstream, "/chat/completions", chat(part)) == wanted
            part = {"type": "input_file", "file_id": id_}
            wanted = part if mode == "off" else {"type": "input_file", "filename": "a.pdf", "file_data": data}
            assert sent(server, upstream, "/responses", response(part)) == wanted


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_lines_of_batches(server: Server, upstream: EventServer, path: str) -> None:
    places = [(member, body) for member, body in PLACES if f"/{path}" in paths_of(member)]
    missing = missing_files(server, f"lines-{path.partition('/')[0]}")
    image = server.upload(PNG, name="a.png")["id"]
    named = [(*places[0], image), *((*place, id_) for place in places for id_ in missing)]
    lines = [
        {"custom_id": str(number), "method": "POST", "url": f"/v1/{path}", "body": body(id_)}
        for number, (_, body, id_) in enumerate(named)
    ]
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    input_id = server.upload(content, purpose="batch", name="a.jsonl")["id"]
    made = server.client.post(
        "/batches",
        json={"input_file_id": input_id, "endpoint": f"/v1/{path}", "completion_window": "24h"},
    ).json()
    deadline = time.monotonic() + 30
    while made["status"] != "completed":
        assert time.monotonic() < deadline, made
        time.sleep(0.1)
        made = server.client.get(f"/batches/{made['id']}").json()
    assert made["request_counts"] == {"total": len(named), "completed": 1, "failed": len(named) - 1}
    [heard] = [request for request in upstream.requests if request.path == f"/v1/{path}"]
    assert URL in json.dumps(heard.json)
    content = server.client.get(f"/files/{made['error_file_id']}/content").content
    failed = {int(line["custom_id"]): line["response"] for line in map(json.loads, content.splitlines())}
    assert sorted(failed) == list(range(1, len(named)))
    for number, response in failed.items():
        member, _, id_ = named[number]
        error = response["body"]["error"]
        assert (response["status_code"], error["param"]) == (400, member)
        assert error["message"] == f"No such File object: {id_}"
