"""Idempotency keys: what makes two uploads the same, and for how long a key stands for the file of the first."""

import hashlib
import json

from filestead.domain.files.model import Binding, UploadTerms

LIFETIME_SECONDS = 86_400


def bind(key: str, *, filename: str, terms: UploadTerms, size: int, sha256: str) -> Binding:
    """What a key stands for: the form as the client sent it, so that changed defaults do not make it another one."""
    expires_after = terms.expires_after and (terms.expires_after.anchor, terms.expires_after.seconds)
    form = json.dumps([filename, terms.purpose, size, sha256, expires_after])
    return Binding(key, hashlib.sha256(form.encode()).hexdigest(), LIFETIME_SECONDS)
