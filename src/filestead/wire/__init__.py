"""The JSON shapes of the OpenAI Files API, shared by server and client. Member order is the order seen on the wire.

Source: `OpenAIFile`, `ListFilesResponse`, `DeleteFileResponse` and `ErrorResponse` of the official description, and
recorded answers: `expires_at` and `status_details` are always present, and an empty page has null ids. The server
writes every member; the defaults are for the client, which also reads services that leave some out.
"""

from typing import Literal

import msgspec


class FileObject(msgspec.Struct, frozen=True, kw_only=True):
    """A file. `bytes` is its size, times are Unix seconds, null means "never" or "nothing to say"."""

    object: Literal["file"] = "file"
    id: str
    purpose: str
    filename: str
    bytes: int
    created_at: int
    expires_at: int | None = None
    status: str = "processed"
    status_details: str | None = None


class ListFilesResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A page of files; `first_id` and `last_id` are those of this page."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None


class FileDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a delete."""

    object: Literal["file"] = "file"
    deleted: bool = True
    id: str


class Error(msgspec.Struct, frozen=True):
    """What went wrong; `param` names the member of the request."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorDetail(msgspec.Struct, frozen=True):
    """The second member that the files service puts beside `error`."""

    message: str
    code: str | None


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The envelope of every error."""

    error: Error
    detail: ErrorDetail | None = None


class About(msgspec.Struct, frozen=True):
    """What the server at an address is, and where to go on."""

    name: str
    version: str
    description: str
    links: dict[str, str]


class PausedUpstream(msgspec.Struct, frozen=True, kw_only=True):
    """A model server that receives no requests now, for one model or (null) for all of them."""

    name: str
    model: str | None
    reason: str


class Readiness(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """That uploads can be accepted, and which model servers are paused, if any."""

    status: str
    paused_upstreams: list[PausedUpstream] = []


def encode(value: msgspec.Struct, *, indent: int = 2) -> bytes:
    """Indented JSON with a trailing newline, non-ASCII characters as they are, as the hosted service writes it."""
    return msgspec.json.format(msgspec.json.encode(value), indent=indent) + b"\n"
