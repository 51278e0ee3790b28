"""What the fuzzer cannot know from the description: the purposes whose files must hold JSON objects."""

from typing import Any

import schemathesis

JSONL_PURPOSES = ("batch", "fine-tune", "evals")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Give such a file one line, so that a valid form is a valid upload; everything else stays as generated."""
    body = case.body
    if isinstance(body, dict) and body.get("purpose") in JSONL_PURPOSES and isinstance(body.get("file"), str):
        case.body = {**body, "file": "{}\n"}
