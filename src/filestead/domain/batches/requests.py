"""The checks of one line of a batch, and what they read from it for the index.

The order of the checks, the codes and the texts are those that the hosted service was seen to use; where nothing was
recorded, its other errors are the pattern. A line has one fault: the first.
"""

import codecs
import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from filestead.domain.batches.line_index import PREFIXES, Prompt
from filestead.domain.batches.model import BatchError
from filestead.domain.jsonl.batch import WITH_MODEL
from filestead.domain.jsonl.decoders import Decoders
from filestead.domain.jsonl.lines import has_long_integer, without_lone_surrogates
from filestead.domain.jsonl.members import JsonObject, is_present

FORBIDDEN = ("api_base", "api_key", "base_url")
"""Members of bodies by which some gateways let a request choose its server or its key."""
_TOKEN_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_PROMPT = ("tools", "instructions", "messages", "input", "prompt")
_SERVICES = {
    "/v1/chat/completions": "Chat Completions",
    "/v1/completions": "Completions",
    "/v1/responses": "Responses",
}
_OBJECT = "an object"
_KINDS = {bool: "a boolean", int: "an integer", float: "a number", str: "a string"}
_PIECE = 1024 * 1024
_SHOWN = 512
"""Characters of a user's value that a message repeats."""


class RequestLine(NamedTuple):
    """A line whose own members have no fault."""

    custom_id: str
    model: str | None
    prompt: Prompt
    output: int
    """The most output tokens that it asks for; 0 if it states none."""


class RequestFault(Exception):
    """The fault of a line."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param

    def at(self, line: int) -> BatchError:
        """The entry of the batch's errors."""
        return BatchError(code=self.code, message=self.message, line=line, param=self.param)


class BatchLineChecks:
    """What the lines of one batch have in common: the endpoint, unique ids, models that an endpoint serves."""

    def __init__(self, endpoint: str, *, single_model: bool, serves: Callable[[str], bool]) -> None:
        self.models: list[str | None] = []
        """Every model that a line named; the first is that of the first line."""
        self.endpoint = endpoint
        self._numbers: dict[str | None, int] = {}
        self._serves = serves
        self._single_model = single_model
        self._ids: set[bytes] = set()

    def require_endpoint(self, url: object) -> None:
        """Raise `RequestFault` for another URL than that of the batch."""
        if url != self.endpoint:
            text = "The URL provided for this request does not match the batch endpoint."
            raise RequestFault("invalid_url", text, "url")

    def require_unique(self, custom_id: str) -> None:
        """Raise `RequestFault` for an id that an earlier line has."""
        # Digests stand for the ids, which may be as long as a line.
        digest = hashlib.blake2b(custom_id.encode(), digest_size=16).digest()
        if digest in self._ids:
            text = (
                f"The custom_id '{shown(custom_id)}' for this request is a duplicate of another request. "
                "The custom_id parameter must be unique for each request in a batch."
            )
            raise RequestFault("duplicate_custom_id", text, "custom_id")
        self._ids.add(digest)

    def require_model(self, model: str | None) -> int:
        """The position in `models`. Raises `RequestFault` for a model that the batch cannot have."""
        number = self._numbers.get(model)
        if number is not None:
            return number
        if model is not None and not self._serves(model):
            text = f"The provided model '{shown(model)}' is not supported by the Batch API."
            raise RequestFault("model_not_found", text, "body.model")
        if self._single_model and self.models:
            text = (
                f"The model '{shown(model or '')}' for this request does not match the rest of the batch. "
                "Each batch must contain requests for a single model."
            )
            raise RequestFault("mismatched_model", text, "body.model")
        self._numbers[model] = len(self.models)
        self.models.append(model)
        return self._numbers[model]


class RequestReader:
    """Reads lines and finds the first fault of each, in the stated order."""

    def __init__(self, decoders: Decoders, checks: BatchLineChecks) -> None:
        self._decode = decoders.batch[0]
        self._members = decoders.members
        self._checks = checks

    def read(self, line: bytes) -> tuple[RequestLine, int]:
        """The request and its model's position. Raises `RequestFault`."""
        if not _is_utf8(line):
            _raise_invalid_json()
        try:
            request = self._decode(line)
        except (ValueError, RecursionError):
            return self._read_members(line)
        self._require_short_integers(line)
        body = request.body
        self._checks.require_endpoint(request.url)
        self._checks.require_unique(request.custom_id)
        present = {name for name in (*_PROMPT, *FORBIDDEN) if _is_given(body, name)}
        model = self._check_body(body.model or None, present)
        output = body.max_completion_tokens or body.max_output_tokens or body.max_tokens or 0
        return RequestLine(request.custom_id, body.model, _prompt(body), output), model

    def _check_body(self, model: str | None, present: set[str]) -> int:
        """Check what all bodies must have or lack but for `stream`; returns the model's position."""
        endpoint = self._checks.endpoint
        if model is None and endpoint in WITH_MODEL and not ("prompt" in present and endpoint == "/v1/responses"):
            _raise_missing("model", "body.model")
        number = self._checks.require_model(model)
        if endpoint == "/v1/chat/completions" and "messages" not in present:
            _raise_missing("messages", "body.messages")
        for name in FORBIDDEN:
            if name in present:
                text = f"Unknown parameter: '{name}'. A request of a batch cannot choose its server or its key."
                raise RequestFault("unknown_parameter", text, f"body.{name}")
        return number

    def _read_members(self, line: bytes) -> tuple[RequestLine, int]:
        """Check member by member a line that the typed decoder does not accept: most have a fault."""
        try:
            plain = without_lone_surrogates(line)
            members = self._members(plain)
            self._require_short_integers(plain)
            body = self._check_members(members)
        except (ValueError, RecursionError):
            _raise_invalid_json()
        self._checks.require_endpoint(members["url"])
        self._checks.require_unique(members["custom_id"])
        model = body.get("model")
        if model is not None and not isinstance(model, str):
            raise _invalid_type("body.model", "a string", model)
        present = {name for name in (*_PROMPT, *FORBIDDEN) if is_present(body, name)}
        present.update(name for name in FORBIDDEN if name in body)
        number = self._check_body(model or None, present)
        if body.get("stream") not in (None, False):
            service = _SERVICES.get(self._checks.endpoint, "This endpoint")
            text = f"{service}: Streaming is not supported in the Batch API."
            raise RequestFault("streaming_unsupported", text, "body.stream")
        limits = (body.get(name) for name in _TOKEN_LIMITS)
        output = next((limit for limit in limits if type(limit) is int and limit), 0)
        # A prompt of its own: nothing is known of what it shares with others.
        prompt = Prompt(line[: PREFIXES[-1]], len(line))
        return RequestLine(members["custom_id"], model or None, prompt, output), number

    def _require_short_integers(self, line: bytes) -> None:
        """Raise `RequestFault` as the checks at upload do: a retry would not be able to upload the line."""
        if has_long_integer(line, self._members):
            _raise_invalid_json()

    def _check_members(self, members: JsonObject) -> JsonObject:
        """Check what a line must have, and return its body."""
        for name in ("custom_id", "method", "url", "body"):
            if members.get(name) in (None, ""):
                _raise_missing(name, name)
        for name in ("custom_id", "method", "url"):
            if not isinstance(members[name], str):
                raise _invalid_type(name, "a string", members[name])
        if _kind(members["body"]) != _OBJECT:
            raise _invalid_type("body", _OBJECT, members["body"])
        if members["method"] != "POST":
            text = f"Invalid value: '{shown(members['method'])}'. Supported values are: 'POST'."
            raise RequestFault("invalid_value", text, "method")
        body: JsonObject = members["body"].read()
        return body


def shown(value: str) -> str:
    """A user's value as a message repeats it."""
    text = value.replace("\0", "\ufffd")  # which PostgreSQL cannot store
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _raise_invalid_json() -> NoReturn:
    raise RequestFault("invalid_json_line", "This line is not parseable as valid JSON.")


def _raise_missing(name: str, param: str) -> NoReturn:
    raise RequestFault("missing_required_parameter", f"Missing required parameter: '{name}'.", param)


def _invalid_type(param: str, expected: str, value: object) -> RequestFault:
    text = f"Invalid type for '{param}': expected {expected}, but got {_kind(value)} instead."
    return RequestFault("invalid_type", text, param)


def _kind(value: object) -> str:
    for kind, name in _KINDS.items():
        if isinstance(value, kind):
            return name
    return _OBJECT if str(value) == _OBJECT else "an array"


def _is_given(body: Any, name: str) -> bool:
    """Whether a decoded body has the member; null counts as absent, but not for members that are forbidden."""
    value = getattr(body, name)
    return value.__class__ is not body.absent and (name in FORBIDDEN or bytes(value) != b"null")


def _prompt(body: Any) -> Prompt:
    parts = [getattr(body, name) for name in _PROMPT]
    views = [memoryview(part) for part in parts if part.__class__ is not body.absent]
    start = b"".join(view[: PREFIXES[-1]] for view in views)[: PREFIXES[-1]]
    return Prompt(start, sum(map(len, views)))


def _is_utf8(line: bytes) -> bool:
    """Whether the line is UTF-8, without a copy of it as text that takes four times its size."""
    if line.isascii():
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(line), _PIECE):
            decoder.decode(line[start : start + _PIECE], final=start + _PIECE >= len(line))
    except UnicodeDecodeError:
        return False
    return True
