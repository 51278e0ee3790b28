"""Idempotency keys: when two uploads are the same, and how long a key is valid."""

import hashlib
import json

from filestead.domain.attempts import IdempotencyRecord
from filestead.domain.files.model import UploadForm

LIFETIME_SECONDS = 86_400


def record(key: str, fingerprint: str) -> IdempotencyRecord:
    """The record of an upload."""
    return IdempotencyRecord(key, fingerprint, LIFETIME_SECONDS)


def fingerprint_of(*, filename: str, form: UploadForm, size: int, sha256: str) -> str:
    """A digest of the form as sent, so that changed defaults do not alter it."""
    expires_after = form.expires_after and (form.expires_after.anchor, form.expires_after.seconds)
    text = json.dumps([filename, form.purpose, size, sha256, expires_after])
    return hashlib.sha256(text.encode()).hexdigest()
