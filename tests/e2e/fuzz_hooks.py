"""What the fuzzer cannot know, since the description cannot say it.

Which files must hold JSON objects, which keys are used up, and that forms have no types; how much chunks may overlap, how
deep filters may be, and the ids of files and batches that exist; which uploads are pending, with which parts.
"""

import json
import os
import re
import urllib.request
import uuid
import zlib
from typing import Any

import schemathesis

JSONL_PURPOSES = ("batch", "fine-tune", "evals")
IDEMPOTENCY_KEY = "Idempotency-Key"
MAX_DEPTH = 8
MD5_OF_NOTHING = "d41d8cd98f00b204e9800998ecf8427e"
FILE_IDS: list[str] = json.loads(os.environ.get("FUZZ_FILE_IDS", "[]"))
"""Files that can be attached to vector stores."""
STORE_ID = os.environ.get("FUZZ_STORE_ID", "")
"""A vector store to which they are attached."""
BATCH_ID = os.environ.get("FUZZ_BATCH_ID", "")
"""A batch that can be cancelled, again and again."""
CANCELLED_BATCH_ID = os.environ.get("FUZZ_CANCELLED_BATCH_ID", "")
"""One that can be repeated, and whose results are complete."""
UPLOADS = "/v1/uploads/{upload_id}"
PROJECT_ID = os.environ.get("FUZZ_PROJECT_ID", "")
KEY_IDS: list[str] = json.loads(os.environ.get("FUZZ_KEY_IDS", "[]"))
"""A project, and the keys in it that must stay valid."""
ACCOUNT_IDS: list[str] = json.loads(os.environ.get("FUZZ_ACCOUNT_IDS", "[]"))
"""The service accounts of those keys."""
ATTACHED = "/v1/vector_stores/{vector_store_id}/files/{file_id}"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Give such a file one line, and a good key a fresh value, so that a valid form is a valid upload."""
    body = case.body
    if isinstance(body, dict) and body.get("purpose") in JSONL_PURPOSES and isinstance(body.get("file"), str):
        case.body = {**body, "file": "{}\n"}
    if "/vector_stores" in case.path and (changed := _change(body)) != body:
        case.body = changed
    if (case.method, case.path) in (("POST", ATTACHED), ("GET", f"{ATTACHED}/content")):
        _attach(case)
    if case.path.startswith("/v1/batches/{batch_id}"):
        _name_batch(case)
    if case.path == "/v1/uploads" and isinstance(body, dict):
        case.body = _plain_upload(body)
    if case.path.startswith(UPLOADS) and str(case.path_parameters.get("upload_id")).startswith("upload"):
        _prepare_upload(case)
    if case.path.startswith("/v1/organization/projects"):
        _name_project(case)
    key = (case.headers or {}).get(IDEMPOTENCY_KEY)
    if isinstance(key, str) and re.fullmatch("[!-~]{1,255}", key):
        case.headers[IDEMPOTENCY_KEY] = str(uuid.uuid4())


def _plain_upload(body: dict[str, Any]) -> dict[str, Any]:
    """The rules on names and the configured maximum are no schema; and the quota is to suffice."""
    name, size = body.get("filename"), body.get("bytes")
    if isinstance(name, str) and 0 < len(name) <= 255:
        body = {**body, "filename": "a"}
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        body = {**body, "bytes": size % 1_000}
    return body


@schemathesis.hook
def filter_body(context: Any, body: Any) -> bool:
    """A form has no types: a file that is null or 5 goes out as one that says so, and such a file is fine.

    And filters must not be too deep.
    """
    if not isinstance(body, dict):
        return True
    is_scalar = any(name in body and isinstance(body[name], bool | int | float | None) for name in ("file", "data"))
    return not is_scalar and _depth(body.get("filters")) <= MAX_DEPTH


def _depth(value: Any) -> int:
    if not isinstance(value, dict) or not isinstance(value.get("filters"), list):
        return 0
    return 1 + max(map(_depth, value["filters"]), default=0)


def _prepare_upload(case: Any) -> None:
    """Make an upload for the case: without bytes to complete it, else with room for a part."""
    completes = case.path == f"{UPLOADS}/complete"
    body = {"filename": "a", "purpose": "user_data", "bytes": 0 if completes else 1_000_000, "mime_type": "x"}
    request = urllib.request.Request(
        f"{os.environ['FUZZ_ORIGIN']}/v1/uploads", json.dumps(body).encode(), {"authorization": os.environ["FUZZ_KEY"]}
    )
    with urllib.request.urlopen(request) as response:
        case.path_parameters = {"upload_id": json.load(response)["id"]}
    valid = isinstance(case.body, dict) and isinstance(case.body.get("part_ids"), list)
    if completes and valid and all(isinstance(item, str) for item in case.body["part_ids"]):
        case.body = {**case.body, "part_ids": []}
        if isinstance(case.body.get("md5"), str) and re.fullmatch(
            "[0-9A-Fa-f]{32}|[0-9A-Za-z+/]{22}==", case.body["md5"]
        ):
            case.body["md5"] = MD5_OF_NOTHING


def _attach(case: Any) -> None:
    """Put ids of a file and of the store to which it is attached into the path, in place of well-formed ones."""
    ids = case.path_parameters
    store_id, file_id = str(ids.get("vector_store_id")), str(ids.get("file_id"))
    if STORE_ID and store_id.startswith("vs_") and file_id.startswith("file"):
        case.path_parameters = {"vector_store_id": STORE_ID, "file_id": _existing(file_id)}


def _name_project(case: Any) -> None:
    """Use a project and a key that exist, but for a deletion; give a new project a new name."""
    ids = case.path_parameters or {}
    known = {"project_id": PROJECT_ID, "key_id": KEY_IDS[0], "service_account_id": ACCOUNT_IDS[0]}
    if case.method != "DELETE":
        case.path_parameters = {**ids, **{name: known[name] for name in ids}}
    elif ids.get("key_id") in KEY_IDS:
        case.path_parameters = {**ids, "key_id": "key_none"}
    elif ids.get("service_account_id") in ACCOUNT_IDS:
        case.path_parameters = {**ids, "service_account_id": "user-none"}
    if isinstance((case.query or {}).get("after"), str):
        of_keys, of_accounts = case.path.endswith("/api_keys"), case.path.endswith("/service_accounts")
        after = KEY_IDS[0] if of_keys else ACCOUNT_IDS[0] if of_accounts else PROJECT_ID
        case.query = {**case.query, "after": after}
    name = case.body.get("name") if isinstance(case.body, dict) else None
    if isinstance(name, str) and 0 < len(name) <= 255:
        case.body = {**case.body, "name": str(uuid.uuid4())}


def _name_batch(case: Any) -> None:
    """Put the id of a batch that exists into the path, and for a retry of one that has ended; do not wait for results."""
    if CANCELLED_BATCH_ID and case.path.endswith(("/retry", "/output", "/errors")):
        case.path_parameters = {"batch_id": CANCELLED_BATCH_ID}
    elif BATCH_ID and not str(case.path_parameters.get("batch_id")).startswith("batch_"):
        case.path_parameters = {"batch_id": BATCH_ID}
    if re.fullmatch("[0-9]|[1-5][0-9]|60", str((case.query or {}).get("wait"))):
        case.query = {**case.query, "wait": 0}


def _change(value: Any) -> Any:
    """A body with ids of files that exist, and with chunks that overlap by half at most."""
    if isinstance(value, list):
        return [_change(item) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {name: _change(item) for name, item in value.items()}
    if isinstance(value.get("file_id"), str):
        changed["file_id"] = _existing(value["file_id"])
    if isinstance(value.get("file_ids"), list):
        changed["file_ids"] = [_existing(item) if isinstance(item, str) else item for item in value["file_ids"]]
    size, overlap = value.get("max_chunk_size_tokens"), value.get("chunk_overlap_tokens")
    if (
        isinstance(size, int | float)
        and isinstance(overlap, int | float)
        and 100 <= size // 2 * 2 < overlap * 2 <= 4096
    ):
        changed["chunk_overlap_tokens"] = int(size // 2)
    return changed


def _existing(file_id: str) -> str:
    """The id of a file that exists in place of a well-formed one; always the same."""
    if not FILE_IDS or file_id in FILE_IDS or not file_id.startswith("file"):
        return file_id
    return FILE_IDS[zlib.crc32(file_id.encode()) % len(FILE_IDS)]
