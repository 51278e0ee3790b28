"""What came of a request, by the kinds that a scheduler distinguishes, and what it consumed.

The kinds follow from the status alone, but for a 404, which concerns the model or something that the request names.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal

import msgspec

from filestead.domain.jsonl.lines import without_lone_surrogates
from filestead.http_client.connections import Response
from filestead.http_client.errors import EndpointFailure, EndpointTimeout, EndpointUnreachable

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
    - `busy` (429, 503, 529), `unreachable`, and `refused` (401, 403, 404 of the model, redirects): no attempt; the lane
      waits.
    """

    kind: Kind
    response: Response | None
    """Of the endpoint, if there is one. None with `final` means a request that cannot be sent, such as a wrong path."""
    detail: str
    """What happened, for people; empty for `ok`."""
    retry_after: float | None
    """Seconds that the endpoint asked to wait."""
    seconds: float
    """Duration of the request."""
    usage: Usage = Usage()


MAX_RETRY_AFTER_SECONDS = 3600.0
MAX_TOKENS = 2**40
"""A larger count is taken for this: the sums of a batch must fit into 64 bits, whatever an endpoint reports."""

BUSY = {429, 503, 529}
_MODEL = re.compile(rb"\bmodel\b|model_not_found", re.IGNORECASE)
_EXCERPT_BYTES = 4096


def of_response(response: Response, seconds: float) -> Exchange:
    """Classify a response."""
    status = response.status
    if 200 <= status < 300:
        usage = usage_of(response.body)
        if usage is None:
            return Exchange(
                "retry", response, f"the body of the response ({status}) is not a JSON object", None, seconds
            )
        return Exchange("ok", response, "", None, seconds, usage)
    kind, detail = _classify(status, response.body)
    retry_after = retry_after_of(response.headers) if kind in {"busy", "retry"} else None
    return Exchange(kind, response, detail, retry_after, seconds)


def of_failure(failure: EndpointFailure, seconds: float) -> Exchange:
    """Classify a request without a response."""
    kind: Kind = "retry"
    if isinstance(failure, EndpointUnreachable):
        kind = "unreachable"
    elif isinstance(failure, EndpointTimeout):
        kind = "timeout"
    return Exchange(kind, None, str(failure), None, seconds)


def _classify(status: int, body: bytes) -> tuple[Kind, str]:
    kind: Kind = "final"
    detail = f"the endpoint rejected the request ({status})"
    if status in BUSY:
        kind, detail = "busy", f"the endpoint is busy ({status})"
    elif status == 408:
        kind, detail = "timeout", "the endpoint did not finish in time (408)"
    elif status >= 500:
        kind, detail = "retry", f"the endpoint failed ({status})"
    elif status in {401, 403}:
        kind, detail = "refused", f"it refuses the key ({status}): check the API key of this endpoint"
    elif status == 404 and _MODEL.search(body, 0, _EXCERPT_BYTES):
        kind, detail = "refused", "it does not know the model (404): check the name, and the models of this endpoint"
    elif status < 400:
        kind, detail = "refused", f"it redirects ({status}), which is not followed: set the URL to the final address"
    return kind, detail


def retry_after_of(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that the endpoint asked to wait, at most an hour; None if it did not."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return min(milliseconds / 1000, MAX_RETRY_AFTER_SECONDS)
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is None and text is not None:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - (time.time() if now is None else now)
        except (ValueError, OverflowError):  # the latter for zones and years far out
            return None
    return None if seconds is None else min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _number(text: str | None) -> float | None:
    """A plain number, neither negative nor in another notation."""
    return float(text) if text is not None and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{0,9})?", text) else None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Body(msgspec.Struct):
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Body).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def usage_of(body: bytes) -> Usage | None:
    """What a body reports, of chat completions, completions, embeddings or responses; None if it is no JSON object."""
    try:
        if not body.isascii():
            body.decode()  # members that are skipped are not checked
        body = without_lone_surrogates(body)  # of a model whose output was cut within an emoji
        found = _decode(body).usage
    except msgspec.ValidationError:
        return Usage() if _is_object(body) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if found is None:
        return Usage()
    input_details = found.input_tokens_details or found.prompt_tokens_details or _Details()
    output_details = found.output_tokens_details or found.completion_tokens_details or _Details()
    return Usage(
        input=_count(found.input_tokens, found.prompt_tokens),
        output=_count(found.output_tokens, found.completion_tokens),
        cached=_count(input_details.cached_tokens),
        reasoning=_count(output_details.reasoning_tokens),
    )


def _is_object(body: bytes) -> bool:
    try:
        _decode_object(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _count(*found: int | None) -> int:
    return next((min(max(0, number), MAX_TOKENS) for number in found if number is not None), 0)
