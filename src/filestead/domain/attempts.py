"""Requests that a client sends again because it got no response: when one repeats an earlier one.

The official clients count their attempts and send no idempotency key. A creation that is sent again gets what an
earlier attempt has created; a first attempt never does, however equal it is.
"""

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Any

CREATION_SECONDS = 900
"""How long a creation is recognized when it is sent again."""

DELETION_SECONDS = 600
"""How long a deletion that is sent again succeeds."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a client says of a request as one of several attempts."""

    idempotency_key: str | None = None
    retry_count: int | None = None
    """How often the client has sent the request before; None if it does not say so."""


ONLY_ATTEMPT = Attempt()
"""Of a caller that is no client: it sends nothing again."""


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """A key, and the fingerprint of the request that it was used for."""

    key: str
    fingerprint: str
    """Equal for equal requests, and only for those."""
    lifetime_seconds: int


@dataclass(frozen=True, slots=True)
class RetryRecord:
    """By what a creation without an idempotency key is recognized if it is sent again."""

    record: IdempotencyRecord
    is_retry: bool
    """Whether the request is sent again: only then does it get what an earlier one has created."""


def creation(attempt: Attempt, key_id: str, fingerprint: str) -> RetryRecord | None:
    """The record of a creation with an API key; None with an idempotency key, or if no attempts are counted.

    Its key has a space, as no key of a client has.
    """
    if attempt.idempotency_key is not None or attempt.retry_count is None:
        return None
    text = json.dumps([key_id, fingerprint])
    key = f"retry {hashlib.sha256(text.encode()).hexdigest()}"
    return RetryRecord(IdempotencyRecord(key, fingerprint, CREATION_SECONDS), is_retry=attempt.retry_count > 0)


def deletion(*ids: str) -> IdempotencyRecord:
    """The record of a deletion of what has these ids and leaves nothing else behind; its key has spaces, too."""
    return IdempotencyRecord(" ".join(("deleted", *ids)), "", DELETION_SECONDS)


def fingerprint_of(operation: str, *body: Any) -> str:
    """A digest of a parsed body and of the operation that it is for: that of a batch is never that of a store."""
    text = json.dumps([operation, *body], sort_keys=True, default=_members)
    return hashlib.sha256(text.encode()).hexdigest()


def _members(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}
