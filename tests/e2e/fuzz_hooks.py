"""What the fuzzer cannot know: which files must hold JSON objects, which keys are used up, and what no schema can say."""

import re
import uuid
from typing import Any

import schemathesis

JSONL_PURPOSES = ("batch", "fine-tune", "evals")
IDEMPOTENCY_KEY = "Idempotency-Key"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Give such a file one line, and a good key a fresh value, so that a valid form is a valid upload."""
    body = case.body
    if isinstance(body, dict) and body.get("purpose") in JSONL_PURPOSES and isinstance(body.get("file"), str):
        case.body = {**body, "file": "{}\n"}
    key = (case.headers or {}).get(IDEMPOTENCY_KEY)
    if isinstance(key, str) and re.fullmatch("[!-~]{1,255}", key):
        case.headers[IDEMPOTENCY_KEY] = str(uuid.uuid4())


@schemathesis.hook
def filter_body(context: Any, body: Any) -> bool:
    """Leave out bodies of which the description cannot say whether they are valid."""
    if not isinstance(body, dict):
        return True
    # A form has no types: a file that is null goes out as one that says so, and such a file is fine.
    return not ("file" in body and body["file"] is None) and not any(map(_overlaps_too_much, _chunkings(body)))


def _chunkings(body: dict[str, Any]) -> list[Any]:
    files = body.get("files")
    parts = [body, *(files if isinstance(files, list) else [])]
    return [part.get("chunking_strategy") for part in parts if isinstance(part, dict)]


def _overlaps_too_much(chunking: Any) -> bool:
    """Whether chunks overlap by more than half: a schema cannot compare two members."""
    static = chunking.get("static") if isinstance(chunking, dict) else None
    if not isinstance(static, dict):
        return False
    size, overlap = static.get("max_chunk_size_tokens"), static.get("chunk_overlap_tokens")
    return isinstance(size, int | float) and isinstance(overlap, int | float) and overlap > size // 2
