"""Bodies of requests for model servers: JSON is read whole, within a limit, and uploads in parts."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec

from filestead.api.forwarding.form_fields import FormFields
from filestead.api.http.body import BodyReadLimits, read_body, read_whole_body
from filestead.api.http.client_limits import ProjectShares
from filestead.api.http.errors import ApiError, ErrorResponse, bad_request
from filestead.api.http.messages import Request
from filestead.domain.jsonl.lines import without_lone_surrogates

MIB = 1024 * 1024
MAX_JSON_BYTES = 64 * MIB
MAX_UPLOAD_BYTES = 512 * MIB
MAX_HELD_BYTES = 32 * MIB
"""Of an upload whose model is not known yet; recordings have at most 25 MB at the hosted service."""
MAX_BUFFERED_BYTES = 256 * MIB
"""Of all bodies that one process holds."""
MAX_BUFFERED_BYTES_OF_PROJECT = 192 * MIB
"""The rest is left to others: at least one body of the largest size."""
GROUP_BYTES = 1024
"""Requests that begin with the same bytes are sent to the same one of equal servers."""

FORBIDDEN = ("api_key", "api_base", "base_url", "user_config")
"""Members by which some model servers let a request name another server or key: the configured key could go there."""

_BOUNDARY = re.compile(r'boundary=(?:"([ -~]{1,70})"|([^\s;,"]{1,70}))', re.IGNORECASE)


class _Members(msgspec.Struct):
    model: str | None = None
    previous_response_id: str | None = None
    api_key: msgspec.Raw = msgspec.Raw()
    api_base: msgspec.Raw = msgspec.Raw()
    base_url: msgspec.Raw = msgspec.Raw()
    user_config: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Members).decode


def body_memory() -> ProjectShares:
    """Count the bytes of bodies that a process holds."""
    return ProjectShares(
        MAX_BUFFERED_BYTES, MAX_BUFFERED_BYTES_OF_PROJECT, "Too many bytes of requests to models at a time"
    )


@dataclass(slots=True)
class Body:
    """A body that is held, or the parts of one that is still read; the caller gives `held` back to the memory."""

    model: str | None
    content: bytes | AsyncIterator[bytes]
    length: int | None = None
    held: int = 0
    group: bytes = b""
    previous_response_id: str | None = None


def is_form(request: Request) -> bool:
    """Whether the body is an upload, and not JSON."""
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def read_json(request: Request, limits: BodyReadLimits, memory: ProjectShares, project_id: str) -> Body:
    """Read a body of JSON.

    Raises `ApiError`: 413 if it is too large, 400 if it is no object or names a server, 429 or 503 as `memory` does.
    """
    _require_length(request, MAX_JSON_BYTES)
    held = 0

    def take(size: int) -> None:
        nonlocal held
        if held + size > MAX_JSON_BYTES:
            raise too_large(MAX_JSON_BYTES)
        memory.take(project_id, size)
        held += size

    try:
        content = await read_whole_body(request.receive, limits, take)
        members = _members(content)
    except BaseException:
        memory.give_back(project_id, held)
        raise
    return Body(members.model, content, len(content), held, content[:GROUP_BYTES], members.previous_response_id)


def _require_length(request: Request, limit: int) -> int | None:
    """The announced length of the body, if any. Raises `ApiError` (413) before anything of a larger body is read."""
    text = request.headers.get("content-length")
    length = None if text is None else int(text)
    if length is not None and length > limit:
        raise too_large(limit)
    return length


def too_large(limit: int) -> ApiError:
    """The error of a body over a limit."""
    return ApiError(ErrorResponse(413, f"The request body is larger than {limit} bytes."))


def _members(content: bytes) -> _Members:
    try:
        if not content.isascii():
            content.decode()  # the decoder skips what it does not need, and does not look at its encoding
        members = _decode(without_lone_surrogates(content))
    except msgspec.ValidationError as error:
        raise bad_request(f"Invalid body: {error}.", None, "invalid_type") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(
            f"We could not parse the JSON body of your request ({error}). The API expects a JSON payload."
        ) from None
    for name in FORBIDDEN:
        if bytes(getattr(members, name)):
            raise forbidden(name)
    return members


def forbidden(name: str) -> ApiError:
    """The error of a member that could lead the model server elsewhere."""
    return bad_request(
        f"Unknown parameter: '{name}'. Model servers and their keys are configured.", name, "unknown_parameter"
    )


async def read_form(
    request: Request, limits: BodyReadLimits, memory: ProjectShares, project_id: str, *, needs_model: bool
) -> Body:
    """Begin to read an upload; its parts are read while they are sent on.

    If the choice of the server needs the model, the upload is held until the model comes, which may be after the file.
    """
    length = _require_length(request, MAX_UPLOAD_BYTES)
    fields = FormFields(_boundary(request))
    chunks = read_body(request.receive, limits)
    held: list[bytes] = []
    size = 0
    try:
        while needs_model and fields.model is None:
            chunk = await anext(chunks, None)
            if chunk is None:
                break
            if size + len(chunk) > MAX_HELD_BYTES:
                raise bad_request(f"The field 'model' must come within the first {MAX_HELD_BYTES} bytes.", "model")
            memory.take(project_id, len(chunk))
            size += len(chunk)
            held.append(chunk)
            _feed(fields, chunk)
    except BaseException:
        memory.give_back(project_id, size)
        raise
    return Body(fields.model, _rest(held, chunks, fields), length, size)


async def _rest(held: list[bytes], chunks: AsyncIterator[bytes], fields: FormFields) -> AsyncIterator[bytes]:
    size = 0
    while held:
        size += len(held[0])
        yield held.pop(0)
    async for chunk in chunks:
        size += len(chunk)
        if size > MAX_UPLOAD_BYTES:
            raise too_large(MAX_UPLOAD_BYTES)
        _feed(fields, chunk)
        yield chunk


def _feed(fields: FormFields, chunk: bytes) -> None:
    fields.feed(chunk)
    if fields.names & set(FORBIDDEN):
        raise forbidden(min(fields.names & set(FORBIDDEN)))


def _boundary(request: Request) -> bytes:
    found = _BOUNDARY.search(request.headers["content-type"])
    if found is None:
        raise bad_request("The header 'content-type' has no boundary.", "content-type")
    return (found[1] or found[2]).encode("ascii", "replace")
