"""Requests that a client sends again without an idempotency key: when they repeat an earlier one.

The official clients send a request again if they got no response, and count its attempts. An upload that is sent again
gets the file that an earlier attempt has created; a first attempt never does, however equal it is.
"""

import hashlib
import json

from filestead.domain.files.model import IdempotencyRecord, RetryRecord

UPLOAD_SECONDS = 900
"""How long an upload is recognized when it is sent again."""

DELETION_SECONDS = 600
"""How long a deletion that is sent again succeeds."""


def record(retry_count: int, key_id: str, fingerprint: str) -> RetryRecord:
    """The record of an attempt with an API key. `fingerprint` is that of the form, as for an idempotency key.

    Its key has a space, as no key of a client has.
    """
    text = json.dumps([key_id, fingerprint])
    key = f"retry {hashlib.sha256(text.encode()).hexdigest()}"
    return RetryRecord(IdempotencyRecord(key, fingerprint, UPLOAD_SECONDS), is_retry=retry_count > 0)


def deletion(*ids: str) -> IdempotencyRecord:
    """The record of a deletion of what has these ids and leaves nothing else behind; its key has spaces, too."""
    return IdempotencyRecord(" ".join(("deleted", *ids)), "", DELETION_SECONDS)
