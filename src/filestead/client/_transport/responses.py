"""Answers as values: a shape of the API where the answer has one, the matching error where it has not."""

import contextlib
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from filestead import wire
from filestead.client._transport.exchange import AnswerHead
from filestead.client.errors import APIResponseValidationError, APIStatusError, FilesteadError, kind_of

EXCERPT = 200
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises: for no JSON, for another shape, and for more levels than the interpreter goes down."""

Shape = TypeVar("Shape", bound=msgspec.Struct)


def decode(shape: type[Shape], head: AnswerHead, body: bytes) -> Shape:
    """The body as `shape`; members that are not ours are ignored. Raises the error that the answer stands for."""
    if head.status >= 300:
        raise status_error(head, body)
    try:
        return msgspec.json.decode(body, type=shape)
    except NOT_JSON as error:
        raise unexpected(head, f"no {shape.__name__}: {error}", body) from error


def status_error(head: AnswerHead, body: bytes) -> APIStatusError:
    """The error for a status; the body may be anything, from an error object to a proxy's HTML or nothing."""
    decoded: object = _text(body)
    with contextlib.suppress(*NOT_JSON):
        decoded = msgspec.json.decode(body)
    if isinstance(decoded, dict) and isinstance(decoded.get("error"), dict):
        decoded = decoded["error"]
    message = decoded.get("message") if isinstance(decoded, dict) else decoded
    if not isinstance(message, str) or not message.strip() or message.lstrip().startswith("<"):
        message = head.reason or "no message"
    headers = _lower(head.headers)
    return kind_of(head.status)(_excerpt(message), status_code=head.status, headers=headers, body=decoded)


def refusal(head: AnswerHead, body: bytes) -> APIStatusError | APIResponseValidationError:
    """The error for an answer that has no use: its status is one, or is good and not meant for this request."""
    return status_error(head, body) if head.status >= 300 else unexpected(head, "not the content of a file", body)


def unexpected(head: AnswerHead, message: str, body: bytes = b"") -> APIResponseValidationError:
    """The error for an answer that is not what the API says."""
    return APIResponseValidationError(message, status_code=head.status, headers=_lower(head.headers), body=_text(body))


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")


def _excerpt(text: str) -> str:
    return text if len(text) <= 4 * EXCERPT else text[:EXCERPT] + "..."


class Pages:
    """Walks the pages of a list: which cursor comes next, and when to stop."""

    def __init__(self, after: str | None) -> None:
        self.after = after
        self._seen = {after}

    def more(self, page: wire.ListFilesResponse) -> bool:
        """Whether to ask for another page, after `self.after`. Raises `FilesteadError` if that leads in a circle."""
        if not page.has_more or not page.data:
            return False
        self.after = page.data[-1].id
        if self.after in self._seen:
            raise FilesteadError(f"the list does not end: the server gave the page after {self.after} twice")
        self._seen.add(self.after)
        return True
