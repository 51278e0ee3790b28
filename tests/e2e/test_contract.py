"""Every kind of answer against two descriptions: the one that the server publishes, and the official one.

The official description is corrected, in one table, where the recorded answers of the hosted service differ from it.
"""

import copy
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.e2e.answers import (
    COMPLETE,
    CONTENT,
    FILES,
    KINDS,
    OF_BATCHES,
    OF_ORGANIZATION,
    OF_STORES,
    OF_UPLOADS,
    ONE,
    OPERATIONS,
    PARTS,
    RUN,
    TOO_MANY,
    Answer,
    Scene,
    ask,
)

NOT_MADE = {
    (method, path, 500): "only a failing database makes it"
    for method, path in (
        *(("GET", FILES), ("GET", ONE), ("DELETE", ONE), ("GET", "/metrics")),
        *(*OF_STORES, *OF_BATCHES, *OF_UPLOADS, *OF_ORGANIZATION),
    )
} | {("POST", f"{RUN}/retry", 507): "only a full disk makes it"}
"""Declared, and still made by no kind of answer."""
LATE_AT_ONCE = 16


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene.set_up(tmp_path_factory.mktemp("scene")) as scene:
        yield scene


@pytest.fixture(scope="module")
def answers(scene: Scene) -> dict[str, Answer]:
    """Kind -> its answer, made in the order of the table; the server takes its time for those to too many wrong keys."""
    with ThreadPoolExecutor(LATE_AT_ONCE) as pool:
        late = {name: pool.submit(kind.make, scene) for name, kind in KINDS.items() if name.endswith(TOO_MANY)}
        made = {name: kind.make(scene) for name, kind in KINDS.items() if name not in late}
        return {name: late[name].result() if name in late else made[name] for name in KINDS}


def find(document: dict[str, Any], *keys: str) -> Any:
    """A part of a description, references followed."""
    found: Any = document
    for key in keys:
        found = found[key]
        if isinstance(found, dict) and set(found) == {"$ref"}:
            found = find(document, *found["$ref"].removeprefix("#/").split("/"))
    return found


def check_schema(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    # The components come along, so that "#/components/..." leads to them.
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def check_response(document: dict[str, Any], declared: dict[str, Any], answer: Answer) -> None:
    """The answer is what a response object of the description says."""
    for name, header in declared.get("headers", {}).items():
        if header.get("required"):
            assert name in answer.headers
        if name in answer.headers:
            check_schema(document, header["schema"], answer.headers[name])
    content = declared.get("content")
    if content is None:
        assert answer.body == b""
        return
    media_type = answer.headers["content-type"].partition(";")[0]
    assert media_type in content
    if "schema" in content[media_type]:
        check_schema(document, content[media_type]["schema"], answer.json)


# --- our own description --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours(answers: dict[str, Answer]) -> Any:
    return answers["description"].json


@pytest.mark.embedded("the description is the same for every installation")
def test_the_description_is_valid(ours: dict[str, Any]) -> None:
    assert ours["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(ours).validate()


@pytest.mark.parametrize("name", KINDS)
def test_answer_is_as_we_describe_it(ours: dict[str, Any], answers: dict[str, Answer], name: str) -> None:
    kind, answer = KINDS[name], answers[name]
    assert answer.status == kind.status, answer.body
    declared = find(ours, "paths", kind.path, kind.method.lower(), "responses")
    assert str(kind.status) in declared
    check_response(ours, find(ours, "paths", kind.path, kind.method.lower(), "responses", str(kind.status)), answer)
    assert re.fullmatch("req_[0-9a-f]{32}", answer.headers["x-request-id"])


def test_every_declared_answer_is_made(ours: dict[str, Any]) -> None:
    declared = {
        (method.upper(), path, int(status))
        for path, item in ours["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
        for status in operation["responses"]
    }
    made = {(kind.method, kind.path, kind.status) for kind in KINDS.values()}
    assert declared == made | set(NOT_MADE)
    assert not made & set(NOT_MADE)
    assert {(method, path) for method, path, _ in declared} == set(OPERATIONS)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/v2", 404),
        ("GET", "/v1/models", 404),
        ("GET", "/v1/files/", 404),
        ("PUT", "/v1/files", 405),
        ("POST", "/v1/files/file-x", 405),
        ("DELETE", "/v1/files/file-x/content", 405),
        ("OPTIONS", "/v1/files", 405),
        ("POST", "/health", 405),
    ],
)
def test_what_is_not_described_is_refused_in_form(
    scene: Scene, ours: dict[str, Any], method: str, target: str, status: int
) -> None:
    answer = ask(scene.well, method, target)
    assert answer.status == status
    check_response(ours, ours["components"]["responses"]["Error"], answer)


@pytest.mark.parametrize("name", ["list", "retrieve", "content", "content, unknown", "health", "ready", "description"])
def test_head_is_get_without_the_body(scene: Scene, answers: dict[str, Answer], name: str) -> None:
    kind = KINDS[name]
    target = kind.path.replace("{file_id}", "file-x" if kind.status == 404 else scene.ids["picture"])
    got, headed = (ask(scene.well, method, target) for method in ("GET", "HEAD"))
    assert (headed.status, headed.body) == (got.status, b"") == (kind.status, b"")
    changing = {"date", "x-request-id", "openai-processing-ms"}
    # Of a listing HEAD makes no page, and so does not know its length.
    assert set(headed.headers) | ({"content-length"} if name == "list" else set()) == set(got.headers)
    assert {
        name: value for name, value in headed.headers.items() if name not in changing
    }.items() <= got.headers.items()


# --- the official description ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Correction:
    """Put `value` at `place`, because of `reason`."""

    reason: str
    place: str
    value: Any


def _nullable(schema: str, member: str, kind: str, reason: str) -> Correction:
    return Correction(reason, f"components schemas {schema} properties {member}", {"type": [kind, "null"]})


PURPOSES = ["assistants", "assistants_output", "batch", "batch_output", "fine-tune", "fine-tune-results", "vision"]
FILE_MEMBERS = ["object", "id", "purpose", "filename", "bytes", "created_at", "expires_at", "status", "status_details"]
_DELETED = ["id", "object", "deleted"]
UPLOAD_MEMBERS = ["id", "object", "bytes", "created_at", "filename", "purpose", "status", "expires_at"]
PART_MEMBERS = ["id", "object", "created_at", "upload_id"]
STORE_MEMBERS = {
    "vector_store": [
        *("id", "object", "created_at", "name", "description", "usage_bytes", "file_counts", "status"),
        *("expires_after", "expires_at", "last_active_at", "metadata"),
    ],
    "vector_store.file": [
        *("id", "object", "usage_bytes", "created_at", "vector_store_id", "status", "last_error"),
        *("chunking_strategy", "attributes"),
    ],
    "vector_store.file_batch": ["id", "object", "created_at", "status", "vector_store_id", "file_counts"],
    "batch": [
        *("id", "object", "endpoint", "model", "errors", "input_file_id", "completion_window", "status"),
        *("output_file_id", "error_file_id", "created_at", "in_progress_at", "expires_at", "finalizing_at"),
        *("completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at", "request_counts", "usage"),
        "metadata",
    ],
    "vector_store.deleted": _DELETED,
    "vector_store.file.deleted": _DELETED,
    "vector_store.file_content.page": ["object", "data", "has_more", "next_page"],
    "vector_store.search_results.page": ["object", "search_query", "data", "has_more", "next_page"],
    "list": ["object", "data", "first_id", "last_id", "has_more"],
}
CORRECTIONS = [
    _nullable("OpenAIFile", "expires_at", "integer", "recorded answers always have it, null when nothing expires"),
    _nullable("OpenAIFile", "status_details", "string", "recorded answers always have it, normally null"),
    Correction(
        "`evals` can be set and listed, so it is returned; the object's list lacks it",
        "components schemas OpenAIFile properties purpose",
        {"enum": [*PURPOSES, "user_data", "evals"]},
    ),
    _nullable("ListFilesResponse", "first_id", "string", "an empty page has no first file: observed as null"),
    _nullable("ListFilesResponse", "last_id", "string", "an empty page has no last file: observed as null"),
    Correction(
        "the files service repeats message and code in a second member",
        "components schemas ErrorResponse properties detail",
        {
            "type": "object",
            "required": ["message", "code"],
            "properties": {"message": {"type": "string"}, "code": {"type": ["string", "null"]}},
        },
    ),
    _nullable("VectorStoreObject", "name", "string", "a store without a name: recorded as null"),
    Correction(
        "a store without an expiration policy: recorded as null",
        "components schemas VectorStoreObject properties expires_after",
        {"anyOf": [{"$ref": "#/components/schemas/VectorStoreExpirationAfter"}, {"type": "null"}]},
    ),
    Correction(
        "recorded responses say `vector_store.file_batch`",
        "components schemas VectorStoreFileBatchObject properties object",
        {"enum": ["vector_store.file_batch"]},
    ),
    *(
        _nullable(page, member, "string", "an empty page has no items")
        for page in ("ListVectorStoresResponse", "ListVectorStoreFilesResponse")
        for member in ("first_id", "last_id")
    ),
    Correction(
        "a download is raw bytes, not a JSON string",
        "paths /files/{file_id}/content get responses 200 content",
        {"application/octet-stream": {}},
    ),
]


def corrected(official: dict[str, Any], corrections: list[Correction]) -> dict[str, Any]:
    """The official description with the corrections, and with no room for members that it does not name."""
    document = copy.deepcopy(official)
    for correction in corrections:
        *way, last = correction.place.split(" ")
        find(document, *way)[last] = correction.value
    for name in ("OpenAIFile", "ListFilesResponse", "DeleteFileResponse", "ErrorResponse", "Error"):
        document["components"]["schemas"][name]["additionalProperties"] = False
    return document


def check_officially(document: dict[str, Any], kind: str, answer: Answer) -> None:
    path = KINDS[kind].path.removeprefix("/v1")
    responses = find(document, "paths", path, KINDS[kind].method.lower(), "responses")
    if answer.status >= 400:  # the description documents no failure; the envelope is one for all
        check_schema(document, {"$ref": "#/components/schemas/ErrorResponse"}, answer.json)
    else:
        check_response(document, responses["200"], answer)


OFFICIAL_KINDS = [
    name
    for name, kind in KINDS.items()
    if kind.path.startswith("/v1/")
    and kind.status not in (206, 304)  # ranges and conditions are additions
    and (kind.method, kind.path) not in OF_BATCHES  # of which there is another description, see `test_batches`
    and (kind.method, kind.path) not in OF_ORGANIZATION  # which the description does not cover
]


def check_all_officially(document: dict[str, Any], answers: dict[str, Answer]) -> None:
    for name in OFFICIAL_KINDS:
        check_officially(document, name, answers[name])


@pytest.fixture(scope="module")
def official(conformance_data: Path) -> Any:
    return json.loads((conformance_data / "contract" / "openai-files.json").read_text())


@pytest.mark.data
@pytest.mark.parametrize("name", OFFICIAL_KINDS)
def test_answer_is_as_the_official_description_has_it(
    official: dict[str, Any], answers: dict[str, Answer], name: str
) -> None:
    check_officially(corrected(official, CORRECTIONS), name, answers[name])


@pytest.mark.data
@pytest.mark.parametrize("correction", CORRECTIONS, ids=lambda correction: correction.place.replace(" ", "."))
def test_correction_is_needed(official: dict[str, Any], answers: dict[str, Answer], correction: Correction) -> None:
    document = corrected(official, [other for other in CORRECTIONS if other != correction])
    with pytest.raises((ValidationError, AssertionError)):
        check_all_officially(document, answers)


@pytest.mark.data
def test_requests_are_as_the_official_description_has_them(official: dict[str, Any], ours: dict[str, Any]) -> None:
    theirs = find(official, "components", "schemas", "CreateFileRequest")
    form = find(ours, "paths", FILES, "post", "requestBody", "content", "multipart/form-data", "schema")
    assert set(form["required"]) == set(theirs["required"])
    assert form["additionalProperties"] is theirs["additionalProperties"] is False
    assert set(form["properties"]["purpose"]["enum"]) == set(theirs["properties"]["purpose"]["enum"])
    expiry = find(official, "components", "schemas", "FileExpirationAfter", "properties")
    assert form["properties"]["expires_after[anchor]"]["enum"] == expiry["anchor"]["enum"]
    for bound in ("type", "minimum", "maximum"):
        assert form["properties"]["expires_after[seconds]"][bound] == expiry["seconds"][bound]
    query = {parameter["name"]: parameter["schema"] for parameter in find(ours, "paths", FILES, "get", "parameters")}
    theirs = {item["name"]: item["schema"] for item in find(official, "paths", "/files", "get", "parameters")}
    assert set(query) == set(theirs)
    for name, schema in theirs.items():
        assert query[name].get("default") == schema.get("default")
        assert set(query[name].get("enum", [])) >= set(schema.get("enum", []))


@pytest.mark.data
def test_requests_of_uploads_are_as_the_official_description_has_them(
    official: dict[str, Any], ours: dict[str, Any]
) -> None:
    for name, path in (("CreateUploadRequest", "/v1/uploads"), ("CompleteUploadRequest", COMPLETE)):
        theirs = find(official, "components", "schemas", name)
        body = find(ours, "paths", path, "post", "requestBody", "content", "application/json", "schema")
        assert set(body["properties"]) == set(theirs["properties"])
        assert set(body["required"]) == set(theirs["required"])
        assert body["additionalProperties"] is theirs["additionalProperties"] is False
    form = find(ours, "paths", PARTS, "post", "requestBody", "content", "multipart/form-data", "schema")
    theirs = find(official, "components", "schemas", "AddUploadPartRequest")
    assert set(form["properties"]) == set(form["required"]) == set(theirs["required"])


# --- what no schema says: the form on the wire ----------------------------------------------------------------------


CONTENTS = (CONTENT, f"{RUN}/output", f"{RUN}/errors")
JSON_KINDS = [
    name
    for name, kind in KINDS.items()
    if kind.path.startswith("/v1/") and not (kind.path in CONTENTS and kind.status < 400)
]


@pytest.mark.parametrize("name", JSON_KINDS)
def test_members_and_layout_are_as_recorded(answers: dict[str, Answer], name: str) -> None:
    answer = answers[name]
    value = answer.json
    edge = answer.status == 401
    operation = (KINDS[name].method, KINDS[name].path)
    of_store = operation in (*OF_STORES, *OF_BATCHES) and answer.status == 200
    layout = json.dumps(value, indent=4 if edge else 2, ensure_ascii=False) + ("" if of_store else "\n")
    if of_store and operation == ("POST", f"{RUN}/cancel"):
        layout = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert answer.body.decode() == layout
    assert answer.headers["content-type"] == "application/json" + ("; charset=utf-8" if edge else "")
    if "error" in value:
        # On batches it is missing, too, unless the request has not got that far.
        assert list(value) in ([["error"]] if edge else [["error", "detail"], *[["error"]] * (operation in OF_BATCHES)])
        assert list(value["error"]) == ["message", "type", "param", "code"]
    elif of_store:
        assert list(value) == STORE_MEMBERS[value["object"]]
        items = value["data"] if value["object"] == "list" else []
        assert all(list(item) == STORE_MEMBERS[item["object"]] for item in items)
    elif operation in OF_ORGANIZATION:
        assert value["object"]
    elif value["object"] == "list":
        assert list(value) == ["object", "data", "has_more", "first_id", "last_id"]
        assert all(list(file) == FILE_MEMBERS for file in value["data"])
    elif value["object"] == "upload":
        assert list(value) == UPLOAD_MEMBERS + ["file"] * (value["status"] == "completed")
        assert "file" not in value or list(value["file"]) == FILE_MEMBERS
    elif value["object"] == "upload.part":
        assert list(value) == PART_MEMBERS
    else:
        assert list(value) in (FILE_MEMBERS, ["object", "deleted", "id"])
