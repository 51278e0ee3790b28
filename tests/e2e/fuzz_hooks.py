"""What the fuzzer cannot know: which files must hold JSON objects, which keys are used up, and that forms have no types."""

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
    """A form has no types: a file that is null goes out as one that says so, and such a file is fine."""
    return not (isinstance(body, dict) and "file" in body and body["file"] is None)
