"""Vector stores over HTTP, to the letter: stores, attached files, file batches, search and errors."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import Server

STORE = [
    *("id", "object", "created_at", "name", "description", "usage_bytes", "file_counts", "status", "expires_after"),
    *("expires_at", "last_active_at", "metadata"),
]
FILE = [
    *("id", "object", "usage_bytes", "created_at", "vector_store_id", "status", "last_error", "chunking_strategy"),
    "attributes",
]
BATCH = ["id", "object", "created_at", "status", "vector_store_id", "file_counts"]
NONE = {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 0}
FOX = b"The quick brown fox jumps over the lazy dog."

Call = Callable[..., dict[str, Any]]


class Api:
    """Calls that must succeed; `fails` is one that must not."""

    def __init__(self, server: Server) -> None:
        self.client = server.client

    def __call__(self, method: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        response = self.client.request(method, path, json=body, params=query)
        assert response.status_code == 200, response.text
        decoded: dict[str, Any] = response.json()
        return decoded

    def fails(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, str, str | None, str | None]:
        response = self.client.request(method, path, json=body, params=query)
        error = response.json()["error"]
        assert error["type"] == "invalid_request_error"
        return response.status_code, error["message"], error["param"], error["code"]

    def upload(self, content: bytes = FOX, name: str = "fox.txt", **form: str) -> str:
        files = {"file": (name, content)}
        response = self.client.post("/files", data={"purpose": "assistants", **form}, files=files)
        assert response.status_code == 200, response.text
        return str(response.json()["id"])

    def store(self, **members: Any) -> str:
        return str(self("POST", "/vector_stores", members)["id"])

    def indexed(self, store: str, *file_ids: str, **members: Any) -> list[dict[str, Any]]:
        """Attach files and wait until they are indexed."""
        for file_id in file_ids:
            self("POST", f"/vector_stores/{store}/files", {"file_id": file_id, **members})
        return [self.done(f"/vector_stores/{store}/files/{file_id}") for file_id in file_ids]

    def done(self, path: str) -> dict[str, Any]:
        """What is at a path, once no file of it is in progress."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found = self("GET", path)
            if not found.get("file_counts", {}).get("in_progress", found["status"] == "in_progress"):
                return found
            time.sleep(0.05)
        raise AssertionError(f"{path} is still in progress")

    def search(self, store: str, query: Any, **members: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self("POST", f"/vector_stores/{store}/search", {"query": query, **members})[
            "data"
        ]
        return found


@pytest.fixture(scope="module")
def api(server: Server) -> Api:
    return Api(server)


# --- stores ---------------------------------------------------------------------------------------------------------


def test_a_store_on_the_wire(api: Api) -> None:
    response = api.client.post("/vector_stores", json={"name": "n", "description": "d", "metadata": {"k": "v"}})
    store = response.json()
    assert list(store) == STORE
    assert re.fullmatch(r"vs_[A-Za-z0-9]{22}", store["id"])
    assert store["file_counts"] == NONE
    assert (store["object"], store["status"], store["usage_bytes"]) == ("vector_store", "completed", 0)
    assert (store["expires_after"], store["expires_at"]) == (None, None)
    assert store["metadata"] == {"k": "v"}
    assert response.text == json.dumps(store, indent=2), "indented, without a newline"
    assert api("GET", f"/vector_stores/{store['id']}") == store
    assert api("DELETE", f"/vector_stores/{store['id']}") == {
        "id": store["id"],
        "object": "vector_store.deleted",
        "deleted": True,
    }
    assert api.fails("GET", f"/vector_stores/{store['id']}")[:2] == (
        404,
        f"No vector store found with id '{store['id']}'.",
    )


def test_a_store_without_a_body(api: Api) -> None:
    store = api.client.post("/vector_stores").json()
    assert (store["name"], store["description"], store["metadata"]) == (None, None, {})


def test_a_store_is_updated_member_by_member(api: Api) -> None:
    store = api.store(name="a", metadata={"k": "v"}, expires_after={"anchor": "last_active_at", "days": 3})
    path = f"/vector_stores/{store}"
    found = api("POST", path, {"name": "b"})
    assert (found["name"], found["metadata"]) == ("b", {"k": "v"})
    assert found["expires_at"] == found["last_active_at"] + 3 * 86_400
    found = api("POST", path, {"name": None, "expires_after": None, "metadata": {"x": "y"}})
    assert (found["name"], found["expires_after"], found["expires_at"]) == (None, None, None)
    assert found["metadata"] == {"x": "y"}
    assert api("POST", path, {"metadata": None})["metadata"] == {}


def test_pages_of_stores(api: Api) -> None:
    ids = [api.store(name=str(number)) for number in range(5)]

    def page(**query: Any) -> tuple[list[str], bool]:
        found = api("GET", "/vector_stores", **query)
        assert list(found) == ["object", "data", "first_id", "last_id", "has_more"]
        listed = [store["id"] for store in found["data"]]
        assert (found["first_id"], found["last_id"]) == ((listed[0], listed[-1]) if listed else (None, None))
        return listed, found["has_more"]

    assert page(limit=2)[0] == [ids[4], ids[3]]
    assert page(limit=2, after=ids[3]) == ([ids[2], ids[1]], True)
    assert page(limit=2, order="asc", after=ids[2]) == ([ids[3], ids[4]], False)
    assert page(limit=2, before=ids[1]) == ([ids[3], ids[2]], True), "the page next to it"
    assert page(order="asc", after=ids[0], before=ids[3]) == ([ids[1], ids[2]], False)
    assert page(order="asc", before=ids[2], limit=1) == ([ids[1]], True)
    assert page(after="", before="", limit=1) == ([ids[4]], True), "from the start"


@pytest.mark.parametrize(
    ("path", "name", "supported"),
    [
        ("", "order", "'asc' and 'desc'"),
        ("/{}/files", "order", "'asc' and 'desc'"),
        ("/{}/files", "filter", "'in_progress', 'completed', 'failed', and 'cancelled'"),
    ],
)
def test_a_choice_must_not_be_empty(api: Api, path: str, name: str, supported: str) -> None:
    assert api.fails("GET", "/vector_stores" + path.format(api.store()), **{name: ""}) == (
        400,
        f"Invalid value: ''. Supported values are: {supported}.",
        name,
        "invalid_value",
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"nope": 1}, (400, "Unknown parameter: 'nope'.", "nope", "unknown_parameter")),
        ({"name": 1}, (400, "Invalid type for 'name': expected a string, but got an integer instead.", "name", "invalid_type")),
        ({"name": "x" * 257}, (400, "Invalid 'name': string too long. Expected a string with maximum length 256, but got a string with length 257 instead.", "name", "string_above_max_length")),
        ({"metadata": {"k": ["x"]}}, (400, "Invalid type for 'metadata.k': expected a string, but got an array instead.", "metadata.k", "invalid_type")),
        ({"metadata": {str(n): "" for n in range(17)}}, (400, "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, but got an object with 17 properties instead.", "metadata", "object_above_max_properties")),
        ({"metadata": {"a\0": "x"}}, (400, "Invalid 'metadata': a property name has a NUL character.", "metadata", "invalid_value")),
        ({"metadata": {"a": "\0"}}, (400, "Invalid 'metadata.a': the text has a NUL character.", "metadata.a", "invalid_value")),
        ({"name": "\0"}, (400, "Invalid 'name': the text has a NUL character.", "name", "invalid_value")),
        ({"expires_after": {"anchor": "last_active_at"}}, (400, "Missing required parameter: 'expires_after.days'.", "expires_after.days", "missing_required_parameter")),
        ({"expires_after": {"anchor": "last_active_at", "days": 366}}, (400, "Invalid 'expires_after.days': integer above maximum value. Expected a value <= 365, but got 366 instead.", "expires_after.days", "integer_above_max_value")),
        ({"expires_after": {"anchor": "x", "days": 1}}, (400, "Invalid value: 'x'. Supported values are: 'last_active_at'.", "expires_after.anchor", "invalid_value")),
        ({"file_ids": ["x"]}, (400, "Invalid 'file_ids': 'x'. Expected an ID that begins with 'file'.", "file_ids", "invalid_value")),
        ({"file_ids": ["file-x"] * 501}, (400, "Invalid 'file_ids': array too long. Expected an array with maximum length 500, but got an array with length 501 instead.", "file_ids", "array_above_max_length")),
        ({"file_ids": ["file-nope"]}, (404, "No file found with id 'file-nope'. Nothing was attached.", "file_ids", None)),
        ({"chunking_strategy": {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 101}}}, (400, "Invalid 'chunking_strategy.static.chunk_overlap_tokens': 101 is more than half of 'max_chunk_size_tokens' (200).", "chunking_strategy.static.chunk_overlap_tokens", "invalid_value")),
        ({"chunking_strategy": {"type": "static", "static": {"max_chunk_size_tokens": 99, "chunk_overlap_tokens": 0}}}, (400, "Invalid 'chunking_strategy.static.max_chunk_size_tokens': integer below minimum value. Expected a value >= 100, but got 99 instead.", "chunking_strategy.static.max_chunk_size_tokens", "integer_below_min_value")),
    ],
)  # fmt: skip
def test_what_a_new_store_must_not_be(api: Api, body: dict[str, Any], expected: tuple[object, ...]) -> None:
    before = api("GET", "/vector_stores", limit=1)["first_id"]
    assert api.fails("POST", "/vector_stores", body) == expected
    assert api("GET", "/vector_stores", limit=1)["first_id"] == before, "nothing was created"


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'"x"', b'{"name": "\\ud800"}', b'{"metadata": {"\\udfff": ""}}', b"\xff", b"[" * 5000]
)
def test_a_body_that_is_no_json_object(api: Api, body: bytes) -> None:
    response = api.client.post("/vector_stores", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


# --- files ----------------------------------------------------------------------------------------------------------


def test_an_attached_file_on_the_wire(api: Api) -> None:
    store, file_id = api.store(), api.upload()
    attached = api("POST", f"/vector_stores/{store}/files", {"file_id": file_id, "attributes": {"a": 1, "b": True}})
    assert list(attached) == FILE
    assert (attached["id"], attached["object"], attached["status"]) == (file_id, "vector_store.file", "in_progress")
    assert (attached["usage_bytes"], attached["last_error"]) == (0, None)
    static = {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}
    assert attached["chunking_strategy"] == {"type": "static", "static": static}
    assert attached["attributes"] == {"a": 1, "b": True}
    counts = api("GET", f"/vector_stores/{store}")["file_counts"]
    assert counts["total"] == 1
    done = api.done(f"/vector_stores/{store}/files/{file_id}")
    assert done == attached | {"status": "completed", "usage_bytes": len(FOX) + 1024}
    found = api("GET", f"/vector_stores/{store}")
    assert (found["status"], found["usage_bytes"]) == ("completed", len(FOX) + 1024)
    assert found["file_counts"] == NONE | {"completed": 1, "total": 1}
    assert api("GET", f"/vector_stores/{store}/files/{file_id}/content") == {
        "object": "vector_store.file_content.page",
        "data": [{"type": "text", "text": FOX.decode()}],
        "has_more": False,
        "next_page": None,
    }


def test_attributes_are_replaced_and_cleared(api: Api) -> None:
    store, file_id = api.store(), api.upload()
    path = f"/vector_stores/{store}/files/{file_id}"
    api.indexed(store, file_id, attributes={"a": 1})
    assert api("POST", path, {"attributes": {"b": "x"}})["attributes"] == {"b": "x"}
    assert api("POST", path, {"attributes": None})["attributes"] == {}
    assert api.fails("POST", path, {})[3] == "missing_required_parameter"


def test_large_numbers_in_attributes(api: Api) -> None:
    """Integers to 64 bits are exact; larger ones are the nearest float, in the attribute as in a filter."""
    store, file_id = api.store(), api.upload()
    exact, large = 2**63 - 1, 10**20 + 1
    (attached,) = api.indexed(store, file_id, attributes={"exact": exact, "large": large, "least": -large})
    assert attached["attributes"] == {"exact": exact, "large": 1e20, "least": -1e20}
    for filters in (
        {"type": "eq", "key": "exact", "value": exact},
        {"type": "eq", "key": "large", "value": large},
        {"type": "in", "key": "large", "value": [0, large]},
        {"type": "nin", "key": "exact", "value": [exact - 1]},
    ):
        assert [found["file_id"] for found in api.search(store, "fox", filters=filters)] == [file_id], filters
    path = f"/vector_stores/{store}/files/{file_id}"
    assert api.fails("POST", path, {"attributes": {"n": 10**400}})[2:] == ("attributes.n", "invalid_value")
    filters = {"type": "eq", "key": "n", "value": -(10**400)}
    body = {"query": "x", "filters": filters}
    assert api.fails("POST", f"/vector_stores/{store}/search", body)[2] == "filters.value"


def test_attributes_without_nul(api: Api) -> None:
    store, file_id = api.store(), api.upload()
    api.indexed(store, file_id)
    path = f"/vector_stores/{store}/files/{file_id}"
    for attributes, param in (({"a\0": 1}, "attributes"), ({"a": "\0"}, "attributes.a")):
        assert api.fails("POST", path, {"attributes": attributes})[2:] == (param, "invalid_value")


def test_a_null_member_counts_as_absent(api: Api) -> None:
    file_id = api.upload()
    store = api.store(name=None, file_ids=None, chunking_strategy=None, metadata=None, expires_after=None)
    members = {"chunking_strategy": None, "attributes": None}
    path = f"/vector_stores/{store}/file_batches"
    api("POST", path, {"file_ids": [file_id], "files": None, **members})
    api("POST", path, {"files": [{"file_id": file_id, **members}], "file_ids": None, **members})
    options = {"ranker": None, "score_threshold": None}
    assert api.search(store, "x", filters=None, max_num_results=None, rewrite_query=None, ranking_options=options) == []


def test_a_detached_file_stays_a_file(api: Api) -> None:
    store, file_id = api.store(), api.upload()
    api.indexed(store, file_id)
    assert api("DELETE", f"/vector_stores/{store}/files/{file_id}") == {
        "id": file_id,
        "object": "vector_store.file.deleted",
        "deleted": True,
    }
    assert api.search(store, "fox") == []
    assert api("GET", f"/files/{file_id}")["id"] == file_id
    assert api.fails("GET", f"/vector_stores/{store}/files/{file_id}") == (
        404,
        f"No file found with id '{file_id}' in vector store '{store}'.",
        "file_id",
        None,
    )


def test_deleting_a_file_removes_it_from_every_store(api: Api) -> None:
    file_id, kept = api.upload(), api.upload(b"another fox")
    stores = [api.store() for _ in range(3)]
    for store in stores:
        api.indexed(store, file_id, kept)
    pending = api.store(file_ids=[file_id])  # perhaps still being indexed
    api("DELETE", f"/files/{file_id}")
    for store in stores:
        assert [found["file_id"] for found in api.search(store, "fox")] == [kept]
        assert api("GET", f"/vector_stores/{store}")["file_counts"] == NONE | {"completed": 1, "total": 1}
        assert [each["id"] for each in api("GET", f"/vector_stores/{store}/files")["data"]] == [kept]
    assert api("GET", f"/vector_stores/{pending}")["file_counts"] == NONE


def test_files_by_status(api: Api) -> None:
    store, good, bad = api.store(), api.upload(), api.upload(b"\xff\xfe\xfd", "bad.txt")
    api.indexed(store, good, bad)

    def listed(status: str) -> list[str]:
        return [each["id"] for each in api("GET", f"/vector_stores/{store}/files", filter=status)["data"]]

    assert (listed("completed"), listed("failed"), listed("in_progress"), listed("cancelled")) == (
        [good],
        [bad],
        [],
        [],
    )
    assert api.fails("GET", f"/vector_stores/{store}/files", filter="x") == (
        400,
        "Invalid value: 'x'. Supported values are: 'in_progress', 'completed', 'failed', and 'cancelled'.",
        "filter",
        "invalid_value",
    )


@pytest.mark.parametrize(
    ("content", "name", "error"),
    [
        (b"", "empty.txt", {"code": "invalid_file", "message": "The file could not be parsed because it is empty."}),
        (b" \n ", "blank.md", {"code": "invalid_file", "message": "The file could not be parsed because it is empty."}),
        (b"\xff\xfe\xfd", "a.txt", {"code": "invalid_file", "message": "The file could not be parsed."}),
        (b"not a PDF", "a.pdf", {"code": "invalid_file", "message": "The file could not be parsed."}),
        (b"PK\x03\x04 not a ZIP", "a.docx", {"code": "invalid_file", "message": "The file could not be parsed."}),
    ],
)
def test_a_file_that_fails(api: Api, content: bytes, name: str, error: dict[str, str]) -> None:
    store, file_id = api.store(), api.upload(content, name)
    (attached,) = api.indexed(store, file_id)
    assert (attached["status"], attached["last_error"], attached["usage_bytes"]) == ("failed", error, 0)
    assert api("GET", f"/vector_stores/{store}")["file_counts"] == NONE | {"failed": 1, "total": 1}


def test_a_type_without_text(api: Api) -> None:
    """Told by the extension: alone it is refused, in a batch it fails and the others go on."""
    store, image, good = api.store(), api.upload(b"GIF89a", "a.gif"), api.upload()
    assert api.fails("POST", f"/vector_stores/{store}/files", {"file_id": image}) == (
        400,
        "Files with extensions [.gif] are not supported for retrieval. "
        "See https://platform.openai.com/docs/assistants/tools/file-search/supported-files",
        "file_ids",
        "unsupported_file",
    )
    batch = api("POST", f"/vector_stores/{store}/file_batches", {"file_ids": [image, good]})
    done = api.done(f"/vector_stores/{store}/file_batches/{batch['id']}")
    assert done["file_counts"] == NONE | {"completed": 1, "failed": 1, "total": 2}
    assert api("GET", f"/vector_stores/{store}/files/{image}")["last_error"]["code"] == "unsupported_file"


def test_an_index_beyond_the_quota(tmp_path: Path) -> None:
    """The file fits into the quota, its index does not: 1 KiB a chunk."""
    with Server(tmp_path / "data", project_quota_bytes=len(FOX) + 1_000) as server:
        api = Api(server)
        (found,) = api.indexed(api.store(), api.upload())
        assert (found["status"], found["last_error"]["code"]) == ("failed", "server_error")
        assert "does not fit into the storage quota" in found["last_error"]["message"]
        assert api.client.get("/files").json()["data"][0]["status"] == "processed"


def test_attaching_again(api: Api) -> None:
    """It changes the attributes; other chunks are made only if other sizes are asked for."""
    store, file_id = api.store(), api.upload(b" ".join(b"word%d" % number for number in range(300)))
    (first,) = api.indexed(store, file_id, attributes={"a": 1})
    assert (
        api("POST", f"/vector_stores/{store}/files", {"file_id": file_id, "attributes": {"a": 2}})["status"]
        == "completed"
    )
    static = {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}
    (second,) = api.indexed(store, file_id, chunking_strategy={"type": "static", "static": static})
    assert second["chunking_strategy"]["static"] == static
    assert second["usage_bytes"] > first["usage_bytes"]
    assert api("GET", f"/vector_stores/{store}")["file_counts"]["total"] == 1
    assert len(api.search(store, "word7 word299", max_num_results=50)) == 2


# --- file batches ---------------------------------------------------------------------------------------------------


def test_a_batch_on_the_wire(api: Api) -> None:
    store, ids = api.store(), [api.upload(b"text %d" % number) for number in range(3)]
    batch = api("POST", f"/vector_stores/{store}/file_batches", {"file_ids": ids, "attributes": {"k": "v"}})
    assert list(batch) == BATCH
    assert batch["id"].startswith("vsfb_")
    assert (batch["object"], batch["vector_store_id"]) == ("vector_store.file_batch", store)
    assert batch["file_counts"]["total"] == 3
    path = f"/vector_stores/{store}/file_batches/{batch['id']}"
    done = api.done(path)
    assert (done["status"], done["file_counts"]) == ("completed", NONE | {"completed": 3, "total": 3})
    listed = api("GET", f"{path}/files", order="asc")["data"]
    assert [each["id"] for each in listed] == ids
    assert all(each["attributes"] == {"k": "v"} for each in listed)
    assert [each["id"] for each in api("GET", f"{path}/files", filter="completed", limit=1)["data"]] == [ids[2]]
    assert api("POST", f"{path}/cancel") == done, "cancelling a finished batch changes nothing"


def test_a_batch_with_attributes_of_each_file(api: Api) -> None:
    store, ids = api.store(), [api.upload(b"text %d" % number) for number in range(2)]
    files = [{"file_id": ids[0], "attributes": {"n": 0}}, {"file_id": ids[1]}]
    batch = api("POST", f"/vector_stores/{store}/file_batches", {"files": files})
    api.done(f"/vector_stores/{store}/file_batches/{batch['id']}")
    assert [api("GET", f"/vector_stores/{store}/files/{each}")["attributes"] for each in ids] == [{"n": 0}, {}]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "file_ids", "missing_required_parameter"),
        ({"file_ids": []}, "file_ids", "empty_array"),
        ({"file_ids": ["file-a"], "files": [{"file_id": "file-a"}]}, "files", "invalid_value"),
        ({"files": [{"file_id": "file-a", "x": 1}]}, "files[0].x", "unknown_parameter"),
        ({"files": [{}]}, "files[0].file_id", "missing_required_parameter"),
        ({"files": ["file-a"]}, "files[0]", "invalid_type"),
        ({"file_ids": ["file-a"], "attributes": {"k": None}}, "attributes.k", "invalid_type"),
        ({"file_ids": ["file-a"], "attributes": {"k" * 65: 1}}, "attributes", "property_name_above_max_length"),
    ],
)
def test_what_a_batch_must_not_be(api: Api, body: dict[str, Any], param: str, code: str) -> None:
    assert api.fails("POST", f"/vector_stores/{api.store()}/file_batches", body)[2:] == (param, code)


# --- search ---------------------------------------------------------------------------------------------------------


def test_results_on_the_wire(api: Api) -> None:
    store = api.store()
    api.indexed(store, api.upload(), attributes={"kind": "animal"})
    page = api("POST", f"/vector_stores/{store}/search", {"query": "foxes"})
    assert list(page) == ["object", "search_query", "data", "has_more", "next_page"]
    assert (page["object"], page["search_query"]) == ("vector_store.search_results.page", ["foxes"])
    assert (page["has_more"], page["next_page"]) == (False, None)
    (found,) = page["data"]
    assert list(found) == ["file_id", "filename", "score", "attributes", "content"]
    assert (found["filename"], found["attributes"]) == ("fox.txt", {"kind": "animal"})
    assert found["content"] == [{"type": "text", "text": FOX.decode()}]
    assert 0 < found["score"] <= 1


def test_filters_thresholds_and_several_queries(api: Api) -> None:
    store = api.store()
    for year, text in ((2020, b"cats and dogs"), (2021, b"cats and cats"), (2022, b"birds")):
        api.indexed(store, api.upload(text, f"{year}.txt"), attributes={"year": year})

    def found(query: Any, **members: Any) -> list[str]:
        return [each["filename"] for each in api.search(store, query, **members)]

    assert sorted(found("cats")) == ["2020.txt", "2021.txt"]
    assert found("cats", filters={"type": "gt", "key": "year", "value": 2020}) == ["2021.txt"]
    either = [{"type": "eq", "key": "year", "value": 2020}, {"type": "in", "key": "year", "value": [2022]}]
    assert sorted(found(["cats", "birds"], filters={"type": "or", "filters": either})) == ["2020.txt", "2022.txt"]
    assert found("cats", max_num_results=1) == ["2021.txt"]
    assert found("cats", ranking_options={"score_threshold": 1}) == []
    best = api.search(store, "cats")[0]["score"]
    assert found("cats", ranking_options={"ranker": "none", "score_threshold": best}) == ["2021.txt"]
    assert found("the of", rewrite_query=True) == [], "nothing but stop words"
    assert found([" ", "\x1c\0"]) == [], "no words"


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "query", "missing_required_parameter"),
        ({"query": ""}, "query", "invalid_value"),
        ({"query": []}, "query", "empty_array"),
        ({"query": [1]}, "query[0]", "invalid_type"),
        ({"query": 1}, "query", "invalid_type"),
        ({"query": "x" * 4097}, "query", "string_above_max_length"),
        ({"query": "x", "max_num_results": 51}, "max_num_results", "integer_above_max_value"),
        ({"query": "x", "max_num_results": 0}, "max_num_results", "integer_below_min_value"),
        ({"query": "x", "hybrid_search": {}}, "hybrid_search", "unknown_parameter"),
        ({"query": "x", "ranking_options": {"ranker": "x"}}, "ranking_options.ranker", "invalid_value"),
        ({"query": "x", "ranking_options": {"score_threshold": 1.5}}, "ranking_options.score_threshold", "decimal_above_max_value"),
        ({"query": "x", "filters": {"type": "eq", "key": "k"}}, "filters.value", "invalid_value"),
        ({"query": "x", "filters": {"type": "near", "key": "k", "value": 1}}, "filters.type", "invalid_value"),
    ],
)  # fmt: skip
def test_what_a_search_must_not_be(api: Api, body: dict[str, Any], param: str, code: str) -> None:
    status, _, *found = api.fails("POST", f"/vector_stores/{api.store()}/search", body)
    assert (status, *found) == (400, param, code)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""), ("POST", ""), ("DELETE", ""), ("GET", "/files"), ("GET", "/files/file-x"), ("POST", "/files/file-x"),
        ("DELETE", "/files/file-x"), ("GET", "/files/file-x/content"), ("POST", "/files"), ("POST", "/file_batches"),
        ("GET", "/file_batches/vsfb_x"), ("POST", "/file_batches/vsfb_x/cancel"), ("GET", "/file_batches/vsfb_x/files"),
        ("POST", "/search"),
    ],
)  # fmt: skip
def test_an_unknown_store(api: Api, method: str, path: str) -> None:
    bodies = {"/files/file-x": {"attributes": {}}, "/files": {"file_id": "file-x"}, "/search": {"query": "x"}}
    bodies["/file_batches"] = {"file_ids": ["file-x"]}
    body = bodies.get(path, {}) if method == "POST" else None
    assert api.fails(method, f"/vector_stores/vs_nope{path}", body)[:2] == (
        404,
        "No vector store found with id 'vs_nope'.",
    )
    assert api.fails(method, f"/vector_stores/nope{path}", body) == (
        400,
        "Invalid 'vector_store_id': 'nope'. Expected an ID that begins with 'vs'.",
        "vector_store_id",
        "invalid_value",
    )
