"""Events as they are sent to a webhook, and their signatures.

Source: `WebhookBatchCompleted` and its siblings of the official description, and the rules of Standard Webhooks.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Literal

import msgspec

PREFIX = "whsec_"


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    """What an event is about: only the id."""

    id: str


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event, such as `batch.completed`; `created_at` in Unix seconds."""

    id: str
    object: Literal["event"] = "event"
    created_at: int
    type: str
    data: EventData


def encode_event(event_id: str, created_at: int, kind: str, subject: str) -> bytes:
    """The body of the request that delivers an event."""
    return msgspec.json.encode(Event(id=event_id, created_at=created_at, type=kind, data=EventData(id=subject)))


def signature_headers(secret: str, event_id: str, timestamp: int, body: bytes) -> Mapping[str, str]:
    """The headers by which a receiver recognizes an event and its sender. `secret` is `whsec_` and base64."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = hmac.digest(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }
