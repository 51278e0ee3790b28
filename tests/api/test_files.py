"""The five operations over HTTP, to the letter."""

import json
import re

import httpx2
import pytest

from tests.support.servers import KEY, Server

ORDER = ["object", "id", "purpose", "filename", "bytes", "created_at", "expires_at", "status", "status_details"]
BATCH_LINE = (
    b'{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}}\n'
)


def message(response: object) -> str:
    return str(response.json()["error"]["message"])  # type: ignore[attr-defined]


# --- create ---------------------------------------------------------------------------------------------------------


def test_the_file_object_and_its_bytes_on_the_wire(server: Server) -> None:
    response = server.client.post("/files", data={"purpose": "user_data"}, files={"file": ("ä b.txt", b"hello")})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ORDER
    assert re.fullmatch(r"file-[A-Za-z0-9]{22}", body["id"])
    assert body == {
        "object": "file",
        "id": body["id"],
        "purpose": "user_data",
        "filename": "ä b.txt",
        "bytes": 5,
        "created_at": body["created_at"],
        "expires_at": None,
        "status": "processed",
        "status_details": None,
    }
    assert response.text == json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def test_the_headers_of_every_answer(server: Server) -> None:
    for method, path in (("GET", "/files"), ("GET", "/files/file-x"), ("PUT", "/files"), ("GET", "/nope")):
        headers = server.client.request(method, path).headers
        assert re.fullmatch("req_[0-9a-f]{32}", headers["x-request-id"])
        assert headers["openai-version"] == "2020-10-01"
        assert headers["openai-processing-ms"].isdigit()
        assert headers["x-content-type-options"] == "nosniff"
    headers = server.client.get("/files").headers
    assert headers["openai-organization"] == "default"
    assert headers["openai-project"].startswith("proj_")


@pytest.mark.parametrize("purpose", ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"])
def test_each_input_purpose(server: Server, purpose: str) -> None:
    content = {
        "batch": BATCH_LINE,
        "fine-tune": b'{"prompt": "a", "completion": "b"}\n',
        "evals": b'{"item": {}}\n',
    }.get(purpose, b"any")
    made = server.upload(content, purpose=purpose)
    assert (made["purpose"], made["status"], made["status_details"]) == (purpose, "processed", None)
    assert made["expires_at"] == (made["created_at"] + 2_592_000 if purpose == "batch" else None)
    assert server.client.get(f"/files/{made['id']}/content").content == content


def test_expires_after(server: Server) -> None:
    fields = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    made = server.upload(**fields)
    assert made["expires_at"] == made["created_at"] + 3600
    assert server.upload(BATCH_LINE, purpose="batch", **fields)["expires_at"] is not None


@pytest.mark.parametrize(
    ("fields", "param", "text"),
    [
        ({"purpose": "x"}, "purpose", "'x' is not one of ['fine-tune', 'assistants', 'batch', 'user_data', 'vision', 'evals'] - 'purpose'"),
        ({"purpose": "batch_output"}, "purpose", "'batch_output' is not one of"),
        ({}, None, "'purpose' is a required property"),
        ({"purpose": "vision", "expires_after": "{}"}, None, "Additional properties are not allowed ('expires_after' was unexpected)"),
        ({"purpose": "vision", "id": "file-1"}, None, "Additional properties are not allowed ('id' was unexpected)"),
        ({"purpose": "vision", "expires_after[anchor]": "created_at"}, "expires_after", "'seconds' is a required property"),
        ({"purpose": "vision", "expires_after[seconds]": "3600"}, "expires_after", "'anchor' is a required property"),
        ({"purpose": "vision", "expires_after[anchor]": "now", "expires_after[seconds]": "3600"}, "expires_after.anchor", "'now' is not one of ['created_at']"),
        ({"purpose": "vision", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"}, "expires_after.seconds", "3599 is less than the minimum of 3600"),
        ({"purpose": "vision", "expires_after[anchor]": "created_at", "expires_after[seconds]": "2592001"}, "expires_after.seconds", "2592001 is greater than the maximum of 2592000"),
        ({"purpose": "vision", "expires_after[anchor]": "created_at", "expires_after[seconds]": "9" * 30}, "expires_after.seconds", "9 is greater than the maximum of 2592000"),
        ({"purpose": "vision", "expires_after[anchor]": "created_at", "expires_after[seconds]": "-" + "9" * 9000}, "expires_after.seconds", "9 is less than the minimum of 3600"),
        ({"purpose": "vision", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600.5"}, "expires_after.seconds", "'3600.5' is not of type 'integer'"),
        ({"purpose": "vision", "expires_after[anchor]": "created_at", "expires_after[seconds]": "1e4"}, "expires_after.seconds", "'1e4' is not of type 'integer'"),
        ({"purpose": "vision", "expires_after[anchor]": "created_at", "expires_after[seconds]": "٣٦٠٠"}, "expires_after.seconds", "is not of type 'integer'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("file_first", [False, True])
def test_forms_that_are_refused(
    server: Server, fields: dict[str, str], param: str | None, text: str, file_first: bool
) -> None:
    before = len(server.client.get("/files").json()["data"])
    parts: list[tuple[str, tuple[str | None, bytes]]] = [
        (name, (None, value.encode())) for name, value in fields.items()
    ]
    parts.insert(0 if file_first else len(parts), ("file", ("a.txt", b"x" * 300_000)))
    response = server.client.post("/files", files=parts)
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["param"], error["code"]) == (
        400,
        "invalid_request_error",
        param,
        None,
    )
    assert text in error["message"]
    assert response.json()["detail"] == {"message": error["message"], "code": None}
    assert len(server.client.get("/files").json()["data"]) == before


def test_forms_with_the_wrong_parts(server: Server) -> None:
    post = server.client.post
    assert message(post("/files", files={"purpose": (None, b"vision")})) == "'file' is a required property"
    twice = [("purpose", (None, b"vision")), ("file", ("a", b"1")), ("file", ("b", b"2"))]
    assert message(post("/files", files=twice)) == "'file' was given more than once"
    twice = [("purpose", (None, b"vision")), ("purpose", (None, b"vision")), ("file", ("a", b"1"))]
    assert message(post("/files", files=twice)) == "'purpose' was given more than once"
    assert "file name" in message(post("/files", files=[("purpose", (None, b"vision")), ("file", (None, b"1"))]))
    assert "plain field" in message(post("/files", files=[("purpose", ("p.txt", b"vision")), ("file", ("a", b"1"))]))
    assert "file name is empty" in message(
        post("/files", files=[("purpose", (None, b"vision")), ("file", ("..", b"1"))])
    )


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"purpose": "vision"}'),
        ("application/x-www-form-urlencoded", b"purpose=vision"),
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=", b"--x--"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"garbage"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc',
        ),
        ("multipart/form-data; boundary=x", b'--x\nContent-Disposition: form-data; name="purpose"\n\nvision\n--x--\n'),
        ("", b"x"),
    ],
)
def test_bodies_that_are_no_form(server: Server, content_type: str, body: bytes) -> None:
    response = server.client.post("/files", content=body, headers={"content-type": content_type})
    assert response.status_code == 400
    assert message(response).startswith("Could not parse multipart form")


def test_compressed_bodies_are_refused(server: Server) -> None:
    response = server.client.post("/files", content=b"x", headers={"content-encoding": "gzip"})
    assert response.status_code == 415


def test_an_empty_file_is_kept_where_anything_is(server: Server) -> None:
    made = server.upload(b"")
    assert made["bytes"] == 0
    assert server.client.get(f"/files/{made['id']}/content").content == b""
    for purpose in ("batch", "fine-tune"):
        response = server.client.post("/files", data={"purpose": purpose}, files={"file": ("a.jsonl", b"")})
        assert response.status_code == 400
    made = server.upload(b"", purpose="evals")
    assert (made["status"], made["status_details"]) == ("processed", "The file has no lines.")


# --- retrieve and delete --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file_id", ["file-nope", "fake_id", "x" * 500, "%00", "a'b\"c;--", "%F0%9F%8E%89", "..", "a%2Fb", "a%2fcontent"]
)
@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("DELETE", ""), ("GET", "/content")])
def test_unknown_ids(server: Server, method: str, tail: str, file_id: str) -> None:
    if file_id == "..":
        file_id = "%2e%2e"
    response = server.client.request(method, f"/files/{file_id}{tail}")
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["param"], error["code"]) == (
        404,
        "invalid_request_error",
        "id",
        None,
    )
    assert error["message"].startswith("No such File object: ")


def test_delete(server: Server) -> None:
    made = server.upload()
    response = server.client.request("DELETE", f"/files/{made['id']}", headers={"content-type": "application/json"})
    assert response.status_code == 200
    assert response.text == json.dumps({"object": "file", "deleted": True, "id": made["id"]}, indent=2) + "\n"
    for method, tail in (("DELETE", ""), ("GET", ""), ("GET", "/content")):
        response = server.client.request(method, f"/files/{made['id']}{tail}")
        assert (response.status_code, message(response)) == (404, f"No such File object: {made['id']}")
    assert made["id"] not in server.client.get("/files").text


# --- list -----------------------------------------------------------------------------------------------------------


def test_a_page_on_the_wire(server: Server) -> None:
    made = [server.upload(purpose="vision") for _ in range(3)]
    body = server.client.get("/files", params={"purpose": "vision", "limit": 2}).json()
    assert list(body) == ["object", "data", "has_more", "first_id", "last_id"]
    assert [row["id"] for row in body["data"]] == [made[2]["id"], made[1]["id"]]
    assert (body["object"], body["has_more"]) == ("list", True)
    assert (body["first_id"], body["last_id"]) == (made[2]["id"], made[1]["id"])
    rest = server.client.get("/files", params={"purpose": "vision", "limit": 1, "after": made[1]["id"]}).json()
    assert [row["id"] for row in rest["data"]] == [made[0]["id"]]
    upward = server.client.get("/files", params={"purpose": "vision", "order": "asc", "after": made[0]["id"]}).json()
    assert [row["id"] for row in upward["data"][:2]] == [made[1]["id"], made[2]["id"]]


def test_an_empty_page_has_null_ids(server: Server) -> None:
    body = server.client.get("/files", params={"purpose": "assistants_output"}).json()
    assert body == {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize(
    "query", ["", "?purpose=", "?after=", "?unknown=1", "?before=x", "?purpose=&purpose=", "?limit=10000"]
)
def test_queries_that_mean_everything(server: Server, query: str) -> None:
    assert server.client.get(f"/files{query}").json() == server.client.get("/files").json()


@pytest.mark.parametrize(
    ("query", "status", "param", "text"),
    [
        ("limit=0", 400, None, "0 is less than the minimum of 1 - 'limit'"),
        ("limit=-1", 400, None, "-1 is less than the minimum of 1 - 'limit'"),
        ("limit=10001", 400, None, "10001 is greater than the maximum of 10000 - 'limit'"),
        ("limit=2147483648", 400, None, "is greater than the maximum"),
        ("limit=99999999999", 400, None, "99999999999 is greater than the maximum of 10000 - 'limit'"),
        ("limit=-99999999999", 400, None, "-99999999999 is less than the minimum of 1 - 'limit'"),
        ("limit=%2B99999999999.0", 400, None, "99999999999 is greater than the maximum of 10000 - 'limit'"),
        ("limit=" + "9" * 5000, 400, None, "9" * 64 + " is greater than the maximum of 10000 - 'limit'"),
        ("limit=-" + "9" * 5000, 400, None, "-" + "9" * 64 + " is less than the minimum of 1 - 'limit'"),
        ("limit=5.5", 400, None, "'5.5' is not of type 'integer' - 'limit'"),
        ("limit=--5", 400, None, "'--5' is not of type 'integer' - 'limit'"),
        ("limit=abc", 400, None, "'abc' is not of type 'integer' - 'limit'"),
        ("limit=", 400, None, "'' is not of type 'integer' - 'limit'"),
        ("limit=1_0", 400, None, "is not of type 'integer'"),
        ("limit=1e3", 400, None, "is not of type 'integer'"),
        ("limit=%D9%A3", 400, None, "is not of type 'integer'"),
        ("limit=1&limit=2", 400, "limit", "'limit' was given more than once"),
        ("order=", 400, None, "'' is not one of ['asc', 'desc'] - 'order'"),
        ("order=DESC", 400, None, "'DESC' is not one of ['asc', 'desc'] - 'order'"),
        ("purpose=x", 400, "purpose", "'x' is not one of"),
        ("purpose=Batch", 400, "purpose", "'Batch' is not one of"),
        ("purpose=x&after=file-nope", 400, "purpose", "'x' is not one of"),
        ("after=file-nope", 404, "after", "No such File object: file-nope"),
        ("after=%00", 404, "after", "No such File object"),
    ],
)
@pytest.mark.promise("S-22")
def test_queries_that_are_refused(server: Server, query: str, status: int, param: str | None, text: str) -> None:
    response = server.client.get(f"/files?{query}")
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert (error["param"], error["code"]) == (param, None)
    assert text in error["message"]


@pytest.mark.parametrize("limit", ["2", "%2B2", "%202", "2%20", "+2", "2.0", "002", "0" * 5000 + "2"])
def test_a_whole_number_may_be_written_in_several_ways(server: Server, limit: str) -> None:
    for _ in range(3):
        server.upload()
    assert len(server.client.get(f"/files?limit={limit}").json()["data"]) == 2


def test_seconds_may_be_a_whole_number_with_a_fraction_of_zero(server: Server) -> None:
    """As from Python's `timedelta.total_seconds()`."""
    made = server.upload(**{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600.0"})
    assert made["expires_at"] == made["created_at"] + 3600


# --- content --------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S-12")
def test_content_headers(server: Server) -> None:
    made = server.upload(b"<script>alert(1)</script>", name='x"é.html')
    response = server.client.get(f"/files/{made['id']}/content")
    headers = response.headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-length"] == "25"
    assert headers["content-disposition"] == "attachment; filename=\"x__.html\"; filename*=UTF-8''x%22%C3%A9.html"
    assert headers["accept-ranges"] == "bytes"
    assert re.fullmatch('"[0-9a-f]{64}"', headers["etag"])
    assert headers["repr-digest"].startswith("sha-256=:")
    path = f"/files/{made['id']}/content"
    part = server.client.get(path, headers={"range": "bytes=0-3"})
    unchanged = server.client.get(path, headers={"if-none-match": headers["etag"]})
    assert [each.status_code for each in (part, unchanged)] == [206, 304]
    for each in (response, part, unchanged, server.client.head(path)):
        assert_inert(each)


def assert_inert(response: httpx2.Response) -> None:
    """A browser neither runs what it gets nor shows it to another site."""
    assert {name: response.headers.get(name) for name in INERT} == INERT


INERT = {
    "content-type": "application/octet-stream",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "cache-control": "private, no-store",
}


@pytest.mark.parametrize("size", [0, 1, 1_048_576, 1_048_577, 5_000_000])
def test_head_has_the_headers_of_get(server: Server, size: int) -> None:
    made = server.upload(b"x" * size)
    get, head = (server.client.request(method, f"/files/{made['id']}/content") for method in ("GET", "HEAD"))
    assert len(get.content) == size
    assert head.content == b""
    skipped = {"date", "x-request-id", "openai-processing-ms"}
    assert {k: v for k, v in get.headers.items() if k not in skipped} == {
        k: v for k, v in head.headers.items() if k not in skipped
    }


@pytest.mark.parametrize(("header", "start", "end"), [("bytes=0-0", 0, 1), ("bytes=1000000-", 1_000_000, None), ("bytes=-7", -7, None), ("bytes=10-2999999", 10, 3_000_000)])  # fmt: skip
def test_ranges(server: Server, header: str, start: int, end: int | None) -> None:
    data = bytes(range(256)) * 20_000
    made = server.upload(data)
    response = server.client.get(f"/files/{made['id']}/content", headers={"range": header})
    assert response.status_code == 206
    assert response.content == data[start:end]
    assert response.headers["content-range"].endswith(f"/{len(data)}")


def test_head_ignores_ranges(server: Server) -> None:
    made = server.upload(b"0123456789")
    for header in ("bytes=2-3", "bytes=10-"):
        response = server.client.head(f"/files/{made['id']}/content", headers={"range": header})
        assert (response.status_code, response.headers["content-length"]) == (200, "10")
        assert "content-range" not in response.headers


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_if_match(server: Server, method: str) -> None:
    url = f"/files/{server.upload(b'0123456789')['id']}/content"
    etag = server.client.get(url).headers["etag"]
    for value, status in ((etag, 200), ("*", 200), (f'"other", {etag}', 200), ('"other"', 412), (f"W/{etag}", 412)):
        response = server.client.request(method, url, headers={"if-match": value})
        assert response.status_code == status, value
        assert response.headers["etag"] == etag
    refused = server.client.get(url, headers={"if-match": '"other"', "range": "bytes=0-1"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (412, "If-Match")


def test_json_is_not_to_be_stored(server: Server) -> None:
    made = server.upload(b"x")
    for path in ("/files", f"/files/{made['id']}", "/files/file-none", "/nothing"):
        assert server.client.get(path).headers["cache-control"] == "no-store"
    assert server.client.get(f"/files/{made['id']}/content").headers["cache-control"] == "private, no-store"


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("authorization", f"Bearer {KEY}", "Bearer sk-other"),
        ("content-type", "multipart/form-data; boundary=x", "multipart/form-data; boundary=y"),
        ("content-encoding", "identity", "gzip"),
        ("openai-organization", "default", "other"),
        ("openai-project", "default", "other"),
    ],
)
def test_headers_that_contradict_one_another_are_refused(server: Server, name: str, one: str, other: str) -> None:
    headers = [("authorization", f"Bearer {KEY}")] if name != "authorization" else []
    for values in ([one, other], [other, one]):
        sent = [*headers, *((name, value) for value in values)]
        response = httpx2.get(server.base_url + "/files", headers=sent)
        assert (response.status_code, response.json()["error"]["param"]) == (400, name)
    same = httpx2.get(server.base_url + "/files", headers=[*headers, (name, one), (name, one)])
    assert same.status_code == 200


def test_range_conditions(server: Server) -> None:
    made = server.upload(b"0123456789")
    url = f"/files/{made['id']}/content"
    etag = server.client.get(url).headers["etag"]
    assert server.client.get(url, headers={"range": "bytes=2-3", "if-range": etag}).content == b"23"
    assert server.client.get(url, headers={"range": "bytes=2-3", "if-range": '"other"'}).status_code == 200
    unchanged = server.client.get(url, headers={"if-none-match": etag})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", etag)
    beyond = server.client.get(url, headers={"range": "bytes=10-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */10")
    assert beyond.json()["error"]["type"] == "invalid_request_error"


# --- the rest -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/files", {"GET", "HEAD", "POST"}),
        ("DELETE", "/files", {"GET", "HEAD", "POST"}),
        ("POST", "/files/file-x", {"GET", "HEAD", "DELETE"}),
        ("POST", "/files/file-x/content", {"GET", "HEAD"}),
        ("OPTIONS", "/files", {"GET", "HEAD", "POST"}),
    ],
)
def test_wrong_methods(server: Server, method: str, path: str, allow: set[str]) -> None:
    response = server.client.request(method, path)
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == allow
    assert message(response).startswith(f"Not allowed to {method} on /v1{path}.")


def test_an_override_header_changes_nothing(server: Server) -> None:
    made = server.upload()
    url = f"/files/{made['id']}"
    assert server.client.get(url, headers={"x-http-method-override": "DELETE"}).status_code == 200
    assert server.client.get(url).status_code == 200


def test_health_needs_no_key(server: Server) -> None:
    for path in ("/health", "/health/ready"):
        response = server.client.get(server.origin + path, headers={"authorization": ""})
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_an_encoded_slash_separates_nothing(server: Server) -> None:
    made = server.upload()
    for method, tail in (("GET", "%2Fcontent"), ("GET", "%2fcontent"), ("DELETE", "%2F")):
        response = server.client.request(method, f"/files/{made['id']}{tail}")
        assert (response.status_code, response.json()["error"]["param"]) == (404, "id")
    assert server.client.get(f"/files/{made['id']}").status_code == 200


@pytest.mark.embedded("changes a row against its foreign key")
@pytest.mark.parametrize("key", ["../../secret", "ab/../../secret", "{folder}/secret"])
def test_a_tampered_row_becomes_no_path(server: Server, key: str) -> None:
    """S-09: the name of a blob comes from the database, and is checked all the same."""
    (server.data_dir / "secret").write_bytes(b"0123456789")
    made = server.upload(b"x" * 100_000)
    path, change = f"/files/{made['id']}/content", "UPDATE files SET blob_key = ?, bytes = ? WHERE id = ?"
    blob_key = server.place.sql("SELECT blob_key FROM files WHERE id = ?", made["id"])[0][0]
    server.place.sql(change, key.format(folder=server.data_dir), 10, made["id"])
    try:
        response = server.client.get(path)
    finally:
        server.place.sql(change, blob_key, 100_000, made["id"])
        (server.data_dir / "secret").unlink()
    assert (response.status_code, response.json()["error"]["code"]) == (500, "storage_failed")
    assert server.client.get(path).content == b"x" * 100_000
