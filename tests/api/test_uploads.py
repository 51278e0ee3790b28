"""Uploads in parts over HTTP, to the letter."""

import base64
import hashlib
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.parts import add_part, create_upload, send_complete, send_part, upload_in_parts
from tests.support.servers import Server, run_command

UPLOAD_ORDER = ["id", "object", "bytes", "created_at", "filename", "purpose", "status", "expires_at"]
MIB = 2**20
HOUR = 3600
BATCH_LINE = b'{"custom_id": "%d", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "hi"}}\n'


def error(response: httpx2.Response, status: int = 400) -> dict[str, Any]:
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()["error"]
    assert found["type"] == "invalid_request_error"
    return found


def indented(response: httpx2.Response) -> Any:
    """The body, which must be as the hosted service writes it."""
    assert response.headers["content-type"] == "application/json"
    assert response.text == json.dumps(response.json(), indent=2, ensure_ascii=False) + "\n"
    return response.json()


def until_checked(server: Server, file_id: str) -> httpx2.Headers:
    """The headers of a download, once the job has read the file."""
    deadline = time.monotonic() + 30
    while "repr-digest" not in (headers := server.client.head(f"/files/{file_id}/content").headers):
        assert time.monotonic() < deadline, "the file was not checked"
        time.sleep(0.05)
    return headers


def content(server: Server, file_id: str, start: int | None = None, end: int | None = None) -> bytes:
    headers = {} if start is None else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
    response = server.client.get(f"/files/{file_id}/content", headers=headers)
    assert response.status_code == (200 if start is None else 206)
    return response.content


# --- the objects ----------------------------------------------------------------------------------------------------


def test_the_objects_on_the_wire(server: Server) -> None:
    body = {"filename": "ä b.bin", "purpose": "vision", "bytes": 10, "mime_type": "pdf"}
    upload = indented(server.client.post("/uploads", json=body))
    assert list(upload) == UPLOAD_ORDER
    assert re.fullmatch(f"upload_{upload['created_at']:08x}[0-9a-f]{{24}}", upload["id"])
    assert upload == {
        "id": upload["id"],
        "object": "upload",
        "bytes": 10,
        "created_at": upload["created_at"],
        "filename": "ä b.bin",
        "purpose": "vision",
        "status": "pending",
        "expires_at": upload["created_at"] + HOUR,
    }
    parts = [indented(send_part(server.client, upload["id"], each)) for each in (b"first", b"other")]
    for part in parts:
        assert list(part) == ["id", "object", "created_at", "upload_id"]
        assert (part["object"], part["upload_id"]) == ("upload.part", upload["id"])
        assert re.fullmatch(f"part_{part['created_at']:08x}[0-9a-f]{{24}}", part["id"])
    done = indented(send_complete(server.client, upload["id"], [part["id"] for part in parts]))
    assert list(done) == [*UPLOAD_ORDER, "file"]
    file = done.pop("file")
    assert done == upload | {"status": "completed"}
    assert file == server.client.get(f"/files/{file['id']}").json()
    assert (file["created_at"], file["bytes"], file["status"]) == (upload["created_at"], 10, "processed")
    assert (file["filename"], file["purpose"], file["expires_at"]) == ("ä b.bin", "vision", None)
    cancelled = indented(server.client.post(f"/uploads/{create_upload(server.client, 3)['id']}/cancel"))
    assert list(cancelled) == UPLOAD_ORDER
    assert cancelled["status"] == "cancelled"


def test_the_expiry_of_the_file_starts_with_the_upload(server: Server) -> None:
    done = upload_in_parts(server.client, b"ab", b"c", expires_after={"anchor": "created_at", "seconds": 7200})
    assert done["file"]["expires_at"] == done["created_at"] + 7200
    batch = upload_in_parts(server.client, b"x", purpose="batch")
    assert batch["file"]["expires_at"] == batch["created_at"] + 2_592_000


@pytest.mark.parametrize(
    ("changes", "param", "text"),
    [
        ({"bytes": None}, "bytes", "Missing required parameter: 'bytes'."),
        ({"filename": None}, "filename", "Missing required parameter: 'filename'."),
        ({"mime_type": None}, "mime_type", "Missing required parameter: 'mime_type'."),
        ({"purpose": None}, "purpose", "Missing required parameter: 'purpose'."),
        ({"purpose": "x"}, "purpose", "'x' is not one of ['fine-tune', "),
        ({"purpose": "batch_output"}, "purpose", "'batch_output' is not one of ['fine-tune', "),
        ({"bytes": "5"}, "bytes", "Invalid type for 'bytes': expected an integer, but got a string instead."),
        ({"bytes": -1}, "bytes", "Expected a value >= 0, but got -1 instead."),
        ({"bytes": 8 * 2**30 + 1}, "bytes", "Expected a value <= 8589934592, but got 8589934593 instead."),
        ({"other": 1}, "other", "Unknown parameter: 'other'."),
        ({"filename": "a/\0"}, "filename", "NUL"),
        ({"filename": ""}, "filename", "Invalid 'filename': the file name is empty."),
        ({"expires_after": {"anchor": "now", "seconds": 3600}}, "expires_after.anchor", "'now' is not one of"),
        (
            {"expires_after": {"anchor": "created_at", "seconds": 60}},
            "expires_after.seconds",
            "60 is less than the minimum of 3600 - 'expires_after.seconds'",
        ),
        (
            {"expires_after": {"anchor": "created_at", "seconds": 2_592_001}},
            "expires_after.seconds",
            "2592001 is greater than the maximum of 2592000 - 'expires_after.seconds'",
        ),
        ({"expires_after": {"anchor": "created_at"}}, "expires_after", "'seconds' is a required property"),
        ({"expires_after": {"anchor": "created_at", "seconds": 3600, "x": 1}}, "expires_after.x", "Unknown parameter"),
    ],
)
def test_uploads_that_are_refused(server: Server, changes: dict[str, Any], param: str, text: str) -> None:
    body = {"filename": "a", "purpose": "user_data", "bytes": 1, "mime_type": "x"} | changes
    found = error(
        server.client.post("/uploads", json={name: value for name, value in body.items() if value is not None})
    )
    assert found["param"] == param
    assert text in found["message"]


def test_the_largest_upload_and_the_setting(server: Server, tmp_path: Path) -> None:
    upload = create_upload(server.client, 8 * 2**30)
    assert upload["bytes"] == 8 * 2**30
    assert server.client.post(f"/uploads/{upload['id']}/cancel").status_code == 200
    with Server(tmp_path / "data", max_upload_bytes=100, max_file_bytes=10) as small:
        assert upload_in_parts(small.client, b"x" * 100)["file"]["bytes"] == 100
        body = {"filename": "a", "purpose": "user_data", "bytes": 101, "mime_type": "x"}
        assert "Expected a value <= 100" in error(small.client.post("/uploads", json=body))["message"]


# --- parts ----------------------------------------------------------------------------------------------------------


def test_case_47_parts_are_joined_in_the_listed_order_whatever_the_order_of_arrival(server: Server) -> None:
    contents = [bytes([number]) * (100_000 + number) for number in range(12)]
    upload = create_upload(server.client, sum(map(len, contents)))
    with ThreadPoolExecutor(6) as threads:
        parts = list(threads.map(lambda each: add_part(server.client, upload["id"], each), contents))
    file = send_complete(server.client, upload["id"], parts[::-1]).json()["file"]
    whole = b"".join(contents[::-1])
    assert content(server, file["id"]) == whole
    assert server.client.get(f"/files/{file['id']}").json()["bytes"] == len(whole)


def test_a_part_has_at_most_64_mib_and_at_least_one_byte(server: Server) -> None:
    upload = create_upload(server.client, 200 * MIB)
    largest = bytes(64 * MIB)
    part = add_part(server.client, upload["id"], largest)
    over = error(send_part(server.client, upload["id"], largest + b"1"))
    assert (over["param"], over["message"]) == (
        "data",
        "Invalid 'data': the part is larger than the maximum of 67108864 bytes.",
    )
    far_over = error(send_part(server.client, upload["id"], largest + bytes(MIB)))
    assert far_over == over
    assert error(send_part(server.client, upload["id"], b""))["message"] == "Invalid 'data': the part is empty."
    short = error(send_complete(server.client, upload["id"], [part]))
    assert "67108864" in short["message"]
    assert "209715200" in short["message"]
    assert server.client.post(f"/uploads/{upload['id']}/cancel").json()["status"] == "cancelled"


@pytest.mark.parametrize("chunked", [False, True])
def test_more_than_the_declared_bytes_are_refused_at_the_part(server: Server, chunked: bool) -> None:
    upload = create_upload(server.client, 600_000)
    first = add_part(server.client, upload["id"], b"x" * 300_000)
    for size in (300_001, 2_000_000):
        request = httpx2.Request("POST", "http://x", files={"data": ("upload", b"y" * size)})
        body = request.read()
        response = server.client.post(
            f"/uploads/{upload['id']}/parts",
            content=iter([body[:100], body[100:]]) if chunked else body,
            headers={"content-type": request.headers["content-type"]},
        )
        assert error(response)["param"] == "data"
        assert "more than the 600000 bytes" in error(response)["message"]
    last = add_part(server.client, upload["id"], b"z" * 300_000)
    assert send_complete(server.client, upload["id"], [first, last]).status_code == 200


def test_a_part_may_be_a_plain_field(server: Server) -> None:
    upload = create_upload(server.client, 100_005)
    plain = b"a" * 100_000  # larger than a field of an upload form may be
    body = b'--b\r\nContent-Disposition: form-data; name="data"\r\n\r\n' + plain + b"\r\n--b--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=b"}
    response = server.client.post(f"/uploads/{upload['id']}/parts", content=body, headers=headers)
    assert response.status_code == 200, response.text
    parts = [response.json()["id"], add_part(server.client, upload["id"], b"12345")]
    assert content(server, send_complete(server.client, upload["id"], parts).json()["file"]["id"]) == plain + b"12345"


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"files": {"file": ("a", b"x")}}, "Additional properties are not allowed ('file' was unexpected)"),
        ({"files": {"data": ("a", b"x")}, "data": {"n": "1"}}, "Additional properties are not allowed ('n' was unexpected)"),
        ({"files": [("data", ("a", b"x")), ("data", ("b", b"y"))]}, "'data' was given more than once"),
        ({"files": [("data", ("a", b"x")), ("other", ("b", b"y"))]}, "Additional properties are not allowed"),
        ({"json": {"data": "x"}}, "Could not parse multipart form"),
        ({"content": b"--b--\r\n", "headers": {"content-type": "multipart/form-data; boundary=b"}}, "'data' is a required property"),
        ({"content": b"--b\r\n", "headers": {"content-type": "multipart/form-data; boundary=b"}}, "Could not parse multipart form"),
    ],
)  # fmt: skip
def test_forms_of_parts_that_are_refused(server: Server, form: dict[str, Any], text: str) -> None:
    upload = create_upload(server.client, 5)
    assert text in error(server.client.post(f"/uploads/{upload['id']}/parts", **form))["message"]
    assert (
        send_complete(server.client, upload["id"], [add_part(server.client, upload["id"], b"12345")]).status_code == 200
    )


def test_case_49_the_last_part_sent_again_after_a_lost_response(server: Server) -> None:
    upload = create_upload(server.client, 8)
    first = add_part(server.client, upload["id"], b"head")
    last = add_part(server.client, upload["id"], b"tail")
    again = send_part(server.client, upload["id"], b"tail", retries=1)
    assert (again.status_code, again.json()["id"]) == (200, last)
    assert "more than the 8 bytes" in error(send_part(server.client, upload["id"], b"tail"))["message"]
    assert "more than the 8 bytes" in error(send_part(server.client, upload["id"], b"tai1", retries=1))["message"]
    assert send_part(server.client, upload["id"], b"head", retries=2).json()["id"] == first
    file = send_complete(server.client, upload["id"], [first, last]).json()["file"]
    assert content(server, file["id"]) == b"headtail"


def test_a_part_of_an_image_of_zeros_sent_again_after_it_was_not_stored(server: Server) -> None:
    upload = create_upload(server.client, 12)
    parts = [add_part(server.client, upload["id"], bytes(4))]
    parts += [send_part(server.client, upload["id"], bytes(4), retries=1).json()["id"] for _ in range(2)]
    assert len(set(parts)) == 3
    file = send_complete(server.client, upload["id"], parts).json()["file"]
    assert content(server, file["id"]) == bytes(12)
    assert server.client.delete(f"/files/{file['id']}").status_code == 200


def sent(server: Server, upload_id: str, content: bytes, **how: Any) -> str:
    response = send_part(server.client, upload_id, content, **how)
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


def test_each_of_several_equal_parts_sent_again_gets_an_id_of_its_own(server: Server) -> None:
    """Three parts of zeros at a time; the response to any of them was lost. The client lists what it has received."""
    upload = create_upload(server.client, 12)
    with ThreadPoolExecutor(3) as threads:
        first = list(threads.map(lambda _: sent(server, upload["id"], bytes(4)), range(3)))
        again = list(threads.map(lambda _: sent(server, upload["id"], bytes(4), retries=1), range(3)))
    assert len({*first, *again}) == 6
    assert "more than the 12 bytes" in error(send_part(server.client, upload["id"], bytes(4)))["message"]
    file = send_complete(server.client, upload["id"], [again[0], first[1], again[2]]).json()["file"]
    assert content(server, file["id"]) == bytes(12)


def test_a_part_that_arrives_after_its_repetition_counts_once(server: Server) -> None:
    """A proxy gave up waiting for the response, and the client sent the part again; then the first one is stored."""
    upload = create_upload(server.client, 8)
    again = sent(server, upload["id"], b"slow", retries=2)
    late = [sent(server, upload["id"], b"slow", retries=retries) for retries in (0, 1)]
    assert len({again, *late}) == 3
    other = sent(server, upload["id"], b"next")
    for refused in (b"slow", b"more"):
        assert "more than the 8 bytes" in error(send_part(server.client, upload["id"], refused))["message"]
    file = send_complete(server.client, upload["id"], [again, other]).json()["file"]
    assert content(server, file["id"]) == b"slownext"


def test_a_part_with_an_idempotency_key_is_stored_once_however_often_it_is_sent(server: Server) -> None:
    upload = create_upload(server.client, 12)
    with ThreadPoolExecutor(6) as threads:
        ids = list(threads.map(lambda number: sent(server, upload["id"], bytes(4), key=f"k{number % 3}"), range(9)))
    assert ids == ids[:3] * 3
    assert len(set(ids)) == 3
    assert [sent(server, upload["id"], bytes(4), key="k1", retries=retries) for retries in (0, 3)] == [ids[1]] * 2
    for key, text in (("k3", "more than the 12 bytes"), ("a b", "Invalid 'Idempotency-Key'")):
        assert text in error(send_part(server.client, upload["id"], bytes(4), key=key))["message"]
    other = error(send_part(server.client, upload["id"], b"else", key="k1"))
    assert (other["code"], other["param"]) == ("idempotency_key_reused", "Idempotency-Key")
    assert ids[1] in other["message"]
    elsewhere = create_upload(server.client, 4)
    assert sent(server, elsewhere["id"], b"else", key="k1") not in ids
    file = send_complete(server.client, upload["id"], ids[:3]).json()["file"]
    assert content(server, file["id"]) == bytes(12)
    deadline = time.monotonic() + 30
    while server.place.sql("SELECT key FROM blobs WHERE state = 'pending'"):
        assert time.monotonic() < deadline, "repetitions are still stored"
        time.sleep(0.02)


# --- complete -------------------------------------------------------------------------------------------------------


def test_case_48_complete_twice_gives_one_file(server: Server) -> None:
    upload = create_upload(server.client, 2)
    parts = [add_part(server.client, upload["id"], each) for each in (b"a", b"b")]
    first, again = (send_complete(server.client, upload["id"], parts) for _ in range(2))
    assert first.status_code == 200
    assert first.content == again.content
    other = error(send_complete(server.client, upload["id"], parts[::-1]))
    assert other["message"] == f"Upload {upload['id']} is not pending (status: completed)."
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda _: send_complete(server.client, upload["id"], parts).content, range(8)))
    assert set(done) == {first.content}
    names = [file["id"] for file in server.client.get("/files").json()["data"]]
    assert names.count(first.json()["file"]["id"]) == 1
    server.client.delete(f"/files/{first.json()['file']['id']}")
    error(send_complete(server.client, upload["id"], parts))


def test_lists_of_parts_that_are_refused_leave_the_upload_pending(server: Server) -> None:
    upload, other = create_upload(server.client, 2), create_upload(server.client, 1)
    a, b = (add_part(server.client, upload["id"], each) for each in (b"a", b"b"))
    foreign = add_part(server.client, other["id"], b"c")
    for parts, text in (
        ([a, a], f"the part '{a}' is listed more than once"),
        ([a, foreign], f"no part '{foreign}' in {upload['id']}"),
        ([a, "part_x"], "no part 'part_x'"),
        ([a], "the listed parts have 1 bytes in total, but the upload was created with 'bytes' 2"),
        ([], "the listed parts have 0 bytes in total, but the upload was created with 'bytes' 2"),
    ):
        found = error(send_complete(server.client, upload["id"], parts))
        assert found["param"] == "part_ids"
        assert text in found["message"]
    for body, param in (
        ({}, "part_ids"),
        ({"part_ids": a}, "part_ids"),
        ({"part_ids": [1]}, "part_ids[0]"),
        ({"part_ids": [a, b], "x": 1}, "x"),
    ):
        assert error(server.client.post(f"/uploads/{upload['id']}/complete", json=body))["param"] == param
    assert send_complete(server.client, upload["id"], [b, a]).status_code == 200


def test_case_50_what_is_refused_leaves_the_upload_pending(server: Server) -> None:
    upload = create_upload(server.client, 8)
    a = add_part(server.client, upload["id"], b"head")
    b = add_part(server.client, upload["id"], b"tai")
    refusals = [
        (send_part(server.client, upload["id"], b"l, and more"), "data"),
        (send_complete(server.client, upload["id"], [a, b]), "part_ids"),
        (send_complete(server.client, upload["id"], [a, b, "part_x"]), "part_ids"),
    ]
    c = add_part(server.client, upload["id"], b"l")
    wrong = hashlib.md5(b"headlait").hexdigest()
    refusals.append((send_complete(server.client, upload["id"], [a, b, c], md5=wrong), "md5"))
    assert [error(response)["param"] for response, _ in refusals] == [param for _, param in refusals]
    assert server.place.sql("SELECT status FROM uploads WHERE id = ?", upload["id"]) == [("pending",)]
    right = hashlib.md5(b"headtail").hexdigest()
    file = send_complete(server.client, upload["id"], [a, b, c], md5=right).json()["file"]
    assert content(server, file["id"]) == b"headtail"


@pytest.mark.parametrize("form", ["hex", "HEX", "base64"])
def test_the_md5_is_compared_with_all_bytes(server: Server, form: str) -> None:
    contents = [b"x" * 1_500_000, b"y" * 10, b"z" * 300_000]
    upload = create_upload(server.client, sum(map(len, contents)))
    parts = [add_part(server.client, upload["id"], each) for each in contents]
    digest = hashlib.md5(b"".join(contents)).digest()
    text = {"hex": digest.hex(), "HEX": digest.hex().upper(), "base64": base64.b64encode(digest).decode()}[form]
    for wrong, says in (
        (hashlib.md5(b"x").hexdigest(), digest.hex()),
        ("x", "expected a checksum of 16 bytes"),
        ("ü", "16 bytes"),
    ):
        found = error(send_complete(server.client, upload["id"], parts, md5=wrong))
        assert found["param"] == "md5"
        assert says in found["message"]
    file = send_complete(server.client, upload["id"], parts, md5=text).json()["file"]
    headers = server.client.head(f"/files/{file['id']}/content").headers
    sha256 = base64.b64encode(hashlib.sha256(b"".join(contents)).digest()).decode()
    assert headers["repr-digest"] == f"sha-256=:{sha256}:", "it was read, so it is known"


def test_an_empty_upload(server: Server) -> None:
    upload = create_upload(server.client, 0)
    file = send_complete(server.client, upload["id"], [], md5=hashlib.md5(b"").hexdigest()).json()["file"]
    assert file["bytes"] == 0
    response = server.client.get(f"/files/{file['id']}/content")
    assert (response.status_code, response.content, response.headers["content-length"]) == (200, b"", "0")
    assert server.client.get(f"/files/{file['id']}/content", headers={"Range": "bytes=0-"}).status_code == 416
    assert server.client.delete(f"/files/{file['id']}").status_code == 200
    assert server.client.get(f"/files/{file['id']}").status_code == 404


# --- states ---------------------------------------------------------------------------------------------------------


def test_what_a_cancelled_upload_refuses(server: Server) -> None:
    upload = create_upload(server.client, 2)
    part = add_part(server.client, upload["id"], b"ab")
    stored = server.place.stored()
    first = server.client.post(f"/uploads/{upload['id']}/cancel")
    assert first.json() == upload | {"status": "cancelled"}
    assert server.client.post(f"/uploads/{upload['id']}/cancel").json() == first.json()
    says = f"Upload {upload['id']} is not pending (status: cancelled)."
    assert error(send_part(server.client, upload["id"], b"x"))["message"] == says
    assert error(send_complete(server.client, upload["id"], [part]))["message"] == says
    deadline = time.monotonic() + 30
    while len(server.place.stored()) >= len(stored):
        assert time.monotonic() < deadline, "the part is still stored"
        time.sleep(0.02)


def test_a_completed_upload_refuses_parts_and_cancel(server: Server) -> None:
    done = upload_in_parts(server.client, b"ab")
    says = f"Upload {done['id']} is not pending (status: completed)."
    assert error(send_part(server.client, done["id"], b"x"))["message"] == says
    assert error(server.client.post(f"/uploads/{done['id']}/cancel"))["message"] == says


def test_an_upload_of_another_project_does_not_exist(server: Server) -> None:
    upload = create_upload(server.client, 1)
    part = add_part(server.client, upload["id"], b"a")
    other = run_command(server.data_dir, "keys", "create", "--project", "uploads-of-others").stdout.strip()
    stranger = httpx2.Client(base_url=server.base_url, headers={"authorization": f"Bearer {other}"})
    with stranger:
        for client, upload_id in ((stranger, upload["id"]), (server.client, "upload_x"), (server.client, "x y")):
            for response in (
                send_part(client, upload_id, b"x"),
                send_complete(client, upload_id, [part]),
                client.post(f"/uploads/{upload_id}/cancel"),
            ):
                found = error(response, 404)
                assert (found["message"], found["param"]) == (f"No such Upload object: {upload_id}", "id")
        own = create_upload(stranger, 1)
        assert f"no part '{part}'" in error(send_complete(stranger, own["id"], [part]))["message"]
    reader = run_command(
        server.data_dir, "keys", "create", "--project", "default", "--scope", "files:read"
    ).stdout.strip()
    body = {"filename": "a", "purpose": "user_data", "bytes": 1, "mime_type": "x"}
    refused = server.client.post("/uploads", json=body, headers={"authorization": f"Bearer {reader}"})
    assert error(refused, 401)["message"].endswith("Missing scopes: files:write.")
    assert send_complete(server.client, upload["id"], [part]).status_code == 200


def test_case_51_an_hour_old_upload_is_expired_and_its_quota_is_free(tmp_path: Path) -> None:
    with Server(tmp_path / "data", project_quota_bytes=100, sweep_seconds=0.1) as server:
        upload = create_upload(server.client, 100)
        part = add_part(server.client, upload["id"], b"x" * 100)
        body = {"filename": "a", "purpose": "user_data", "bytes": 1, "mime_type": "x"}
        assert "exceeded your file storage quota" in error(server.client.post("/uploads", json=body))["message"]
        assert (
            "exceeded your file storage quota"
            in error(server.client.post("/files", data={"purpose": "user_data"}, files={"file": ("a", b"x")}))[
                "message"
            ]
        )
        server.place.sql("UPDATE uploads SET expires_at = created_at")
        says = f"Upload {upload['id']} is not pending (status: expired)."
        assert error(send_part(server.client, upload["id"], b"x"))["message"] == says
        assert error(send_complete(server.client, upload["id"], [part]))["message"] == says
        assert server.client.post(f"/uploads/{upload['id']}/cancel").json()["status"] == "expired"
        deadline = time.monotonic() + 30
        while server.place.stored():
            assert time.monotonic() < deadline, "the part was not swept"
            time.sleep(0.02)
        assert upload_in_parts(server.client, b"y" * 100)["file"]["bytes"] == 100


def test_creating_counts_against_the_rate_and_parts_do_not(tmp_path: Path) -> None:
    with Server(tmp_path / "data", uploads_per_minute=2) as server:
        upload = create_upload(server.client, 6)
        parts = [add_part(server.client, upload["id"], b"%d" % number) for number in range(6)]
        response = send_complete(server.client, upload["id"], parts)
        assert response.status_code == 200
        assert "x-ratelimit-limit-requests" not in response.headers
        create_upload(server.client, 6)
        body = {"filename": "a", "purpose": "user_data", "bytes": 1, "mime_type": "x"}
        limited = server.client.post("/uploads", json=body)
        assert limited.status_code == 429
        assert limited.json()["error"]["code"] == "rate_limit_exceeded"
        assert int(limited.headers["retry-after"]) >= 1


# --- files of parts -------------------------------------------------------------------------------------------------


def test_ranges_and_validators_of_a_file_in_parts(server: Server) -> None:
    contents = [bytes(range(256)) * 400, b"middle", b"last" * 50_000]
    whole = b"".join(contents)
    file = upload_in_parts(server.client, *contents)["file"]
    edge = len(contents[0])
    bounds = [(0, 1), (edge - 1, edge), (edge, edge + 1), (edge - 5, edge + 10), (0, None), (edge, None)]
    bounds += [(edge + 2, edge + 4), (edge + 6, edge + 7), (len(whole) - 1, None), (3, len(whole) - 3)]
    for start, end in bounds:
        assert content(server, file["id"], start, end) == whole[start:end], (start, end)
    before = server.client.head(f"/files/{file['id']}/content").headers["etag"]
    headers = until_checked(server, file["id"])
    assert headers["etag"] == before, "a download that was cut off before can be continued"
    assert headers["content-length"] == str(len(whole))
    digest = base64.b64encode(hashlib.sha256(whole).digest()).decode()
    assert headers["repr-digest"] == f"sha-256=:{digest}:"
    unchanged = server.client.get(f"/files/{file['id']}/content", headers={"If-None-Match": before})
    assert unchanged.status_code == 304
    other = upload_in_parts(server.client, *contents)["file"]
    assert server.client.head(f"/files/{other['id']}/content").headers["etag"] != before


def test_a_file_in_parts_can_be_indexed(server: Server) -> None:
    done = upload_in_parts(server.client, b"the unmistakable ", b"platypus\n", name="a.txt", purpose="assistants")
    store = server.client.post("/vector_stores", json={"file_ids": [done["file"]["id"]]}).json()["id"]
    deadline = time.monotonic() + 60
    while server.client.get(f"/vector_stores/{store}").json()["status"] == "in_progress":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    found = server.client.post(f"/vector_stores/{store}/search", json={"query": "platypus"}).json()["data"]
    assert found[0]["content"][0]["text"] == "the unmistakable platypus\n"


def checked(server: Server, file_id: str) -> tuple[str, str | None]:
    until_checked(server, file_id)
    deadline = time.monotonic() + 30
    while server.place.sql("SELECT id FROM jobs WHERE kind = 'check' AND subject = ?", file_id):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    file = server.client.get(f"/files/{file_id}").json()
    return file["status"], file["status_details"]


GOOD, BAD = BATCH_LINE % 1, b"not JSON\n"


@pytest.mark.parametrize(
    ("validation", "contents", "status", "details"),
    [
        ("advise", [GOOD, BATCH_LINE % 2], "processed", None),
        ("advise", [GOOD, BAD], "processed", "Line 2"),
        ("advise", [GOOD + b"not ", b"JSON\n"], "processed", "Line 2"),
        ("advise", [BAD], "processed", "Line 1"),
        ("advise", [], "processed", "The file is empty."),
        ("advise", [b"\n", b"\n"], "processed", "The file has only blank lines."),
        ("openai", [BAD, BAD], "processed", None),
        ("strict", [GOOD, BAD], "error", "Line 2"),
        ("strict", [GOOD], "processed", None),
    ],
)
def test_lines_are_checked_afterwards(
    tmp_path: Path, validation: str, contents: list[bytes], status: str, details: str | None
) -> None:
    """The hosted service does not check them at all here, so complete refuses nothing."""
    with Server(tmp_path / "data", validation=validation, sweep_seconds=0.2) as server:
        done = upload_in_parts(server.client, *contents, purpose="batch", name="notes.txt")
        assert (done["file"]["status"], done["file"]["status_details"]) == ("processed", None)
        found = checked(server, done["file"]["id"])
        assert found[0] == status
        assert found[1] == details if details is None else str(found[1]).startswith(details)


def test_no_extension_is_refused(server: Server) -> None:
    assert upload_in_parts(server.client, b"x", name="a.bin", purpose="assistants")["file"]["filename"] == "a.bin"


def test_lost_and_damaged_parts_are_found(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        contents = [b"x" * 3_000_000, b"y" * 3_000_000, b"z" * 10]
        lost, whole = (upload_in_parts(server.client, *contents)["file"]["id"] for _ in range(2))
        for each in (lost, whole):
            until_checked(server, each)
        pending = create_upload(server.client, 10)
        part = add_part(server.client, pending["id"], b"part")
        ((key,),) = server.place.sql(
            "SELECT part_key FROM blob_parts JOIN files USING (blob_key) WHERE files.id = ? AND number = 1", lost
        )
        ((other,),) = server.place.sql("SELECT blob_key FROM upload_parts WHERE id = ?", part)
        for each in (key, other):
            server.place.lose(each)
        assert content(server, lost, 6_000_000, 6_000_010) == b"z" * 10
        damaged = server.client.get(f"/files/{lost}/content", headers={"Range": "bytes=3000000-3000009"})
        assert (damaged.status_code, damaged.json()["error"]["code"]) == (500, "file_corrupt")
        with pytest.raises(httpx2.TransportError):
            server.client.get(f"/files/{lost}/content")
        server.place.sql("UPDATE files SET sha256 = ? WHERE id = ?", "0" * 64, whole)
        found = run_command(server.data_dir, "verify", "--deep", "--json")
        findings = [json.loads(line) for line in found.stdout.splitlines()][:-1]
        assert {(each["invariant"], each["subject"]) for each in findings} == {
            ("I-02", lost),
            ("I-02", part),
            ("I-03", whole),
        }


def test_a_key_of_the_system_may_set_an_output_purpose(server: Server) -> None:
    made = run_command(
        server.data_dir, "keys", "create", "--project", "default", "--scope", "files:write", "--scope", "files:system"
    )
    body = {"filename": "a", "purpose": "batch_output", "bytes": 0, "mime_type": "x"}
    response = server.client.post("/uploads", json=body, headers={"authorization": f"Bearer {made.stdout.strip()}"})
    assert response.json()["purpose"] == "batch_output", response.text
