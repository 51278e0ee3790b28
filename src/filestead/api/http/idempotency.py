"""The request headers `Idempotency-Key` and `X-Stainless-Retry-Count`: which request is sent again."""

import re
from typing import Any

from filestead.api.http.errors import IDEMPOTENCY_KEY_HEADER, bad_request
from filestead.api.http.messages import Request
from filestead.domain.attempts import Attempt

KEY_PATTERN = "^[!-~]{1,255}$"
REPLAYED = {"idempotent-replayed": "true"}
"""Header of the response to a request that repeats an earlier one."""

PARAMETER: dict[str, Any] = {
    "name": IDEMPOTENCY_KEY_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": KEY_PATTERN},
    "description": (
        "Names this upload and its repetitions. For 24 hours the same key with the same form gives the file that "
        "the first upload made; with another form, or once that file is gone, the upload is refused."
    ),
}


def parse_idempotency_key(request: Request) -> str | None:
    """Return the key, or None without the header. Identical repeats are accepted, as in a query."""
    values = set(request.headers.getlist(IDEMPOTENCY_KEY_HEADER))
    if not values:
        return None
    if len(values) > 1:
        message = f"'{IDEMPOTENCY_KEY_HEADER}' was given more than once; send one value"
        raise bad_request(message, IDEMPOTENCY_KEY_HEADER)
    value = values.pop()
    if not re.fullmatch(KEY_PATTERN, value):
        raise bad_request(
            f"Invalid '{IDEMPOTENCY_KEY_HEADER}': send 1 to 255 visible ASCII characters without spaces, for example "
            "a UUID, or leave the header out",
            IDEMPOTENCY_KEY_HEADER,
        )
    return value


def parse_retry_count(request: Request) -> int | None:
    """Return how often an official client has sent the request before; None if it does not say so."""
    count = request.headers.get("x-stainless-retry-count", "")
    return int(count) if re.fullmatch("[0-9]{1,9}", count) else None


def parse_attempt(request: Request) -> Attempt:
    """Return what both headers say."""
    return Attempt(parse_idempotency_key(request), parse_retry_count(request))


def is_retry(request: Request) -> bool:
    """Whether an official client says that it sends the request again."""
    return bool(parse_retry_count(request))
