"""Decodes responses: into an object of the API, or into the error that the response stands for."""

import contextlib
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from filestead import wire
from filestead.client._transport.exchange import ResponseHead
from filestead.client.errors import APIResponseValidationError, APIStatusError, FilesteadError, error_class

EXCERPT_CHARACTERS = 200
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Raised for invalid JSON, for another shape, and for JSON nested beyond the recursion limit."""

Shape = TypeVar("Shape", bound=msgspec.Struct)


def decode(shape: type[Shape], head: ResponseHead, body: bytes) -> Shape:
    """Decode a body; unknown members are ignored. Raises `APIStatusError` or `APIResponseValidationError`."""
    if head.status >= 300:
        raise status_error(head, body)
    try:
        return msgspec.json.decode(body, type=shape)
    except DECODE_ERRORS as error:
        raise validation_error(head, f"not a {shape.__name__}: {error}", body) from error


def status_error(head: ResponseHead, body: bytes) -> APIStatusError:
    """The error for an error status; the body may be an error object, a proxy's HTML, anything else, or empty."""
    decoded: object = body.decode("utf-8", "replace")
    with contextlib.suppress(*DECODE_ERRORS):
        decoded = msgspec.json.decode(body)
    if isinstance(decoded, dict) and isinstance(decoded.get("error"), dict):
        decoded = decoded["error"]
    message = decoded.get("message") if isinstance(decoded, dict) else decoded
    if not isinstance(message, str) or not message.strip() or message.lstrip().startswith("<"):
        message = head.reason or "no message"
    if len(message) > 4 * EXCERPT_CHARACTERS:
        message = message[:EXCERPT_CHARACTERS] + "..."
    headers = _lower_names(head.headers)
    return error_class(head.status)(message, status_code=head.status, headers=headers, body=decoded)


def content_error(head: ResponseHead, body: bytes) -> APIStatusError | APIResponseValidationError:
    """The error for a response that is not the content of a file, whether its status is an error or not."""
    return status_error(head, body) if head.status >= 300 else validation_error(head, "not the content of a file", body)


def validation_error(head: ResponseHead, message: str, body: bytes = b"") -> APIResponseValidationError:
    """The error for a response that does not conform to the API."""
    return APIResponseValidationError(
        message, status_code=head.status, headers=_lower_names(head.headers), body=body.decode("utf-8", "replace")
    )


def _lower_names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class PageCursor:
    """The position in a list that is read page by page."""

    def __init__(self, after: str | None) -> None:
        self.after = after
        self._seen = {after}

    def advance(self, page: wire.ListFilesResponse) -> bool:
        """Move behind a page; False if it was the last one. Raises `FilesteadError` if the pages repeat."""
        if not page.has_more or not page.data:
            return False
        self.after = page.data[-1].id
        if self.after in self._seen:
            raise FilesteadError(f"the list does not end: the server returned the page after {self.after} twice")
        self._seen.add(self.after)
        return True
