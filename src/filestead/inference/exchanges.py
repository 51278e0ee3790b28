"""What came of a request, by the kinds that a scheduler distinguishes, and what it consumed."""

from dataclasses import dataclass
from typing import Literal

from filestead.inference.connections import Response

Kind = Literal["ok", "final", "retry", "busy", "unreachable", "timeout", "refused"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a response reports; zero where it reports none."""

    input: int = 0
    output: int = 0
    cached: int = 0
    """Of the input."""
    reasoning: int = 0
    """Of the output."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came of it.

    - `ok`: 2xx with a JSON object. `final`: another 4xx; it would come again.
    - `retry`: 500, 502, 504 and other 5xx, a broken connection, or a body that is not a JSON object: an attempt.
    - `timeout`: 408, or no response in time: an attempt of the fewer that timeouts have.
    - `busy` (429, 503, 529), `unreachable` and `refused` (401, 403, 404 of the model): no attempt; the lane waits.
    """

    kind: Kind
    response: Response | None
    """Of the endpoint, if there is one."""
    detail: str
    """What happened, for people; empty for `ok`."""
    retry_after: float | None
    """Seconds that the endpoint asked to wait."""
    seconds: float
    """Duration of the request."""
    usage: Usage = Usage()
