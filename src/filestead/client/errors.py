"""Errors of the client. Names are those of the official Python SDK where the meaning is the same.

Every error can be pickled. `ConfigurationError`, `SourceChanged` and `IntegrityError` have no counterpart there.
"""

import copyreg
from collections.abc import Mapping
from typing import Any


class FilesteadError(Exception):
    """Base class of all errors of the client."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Unpickle without calling `__init__`, which has keyword arguments."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]  # not in typeshed


class ConfigurationError(FilesteadError, ValueError):
    """An invalid base URL, key or header; the message names the argument or variable."""


class SourceChanged(FilesteadError):
    """The file changed its size during the upload; nothing was stored."""


class IntegrityError(FilesteadError):
    """A download is incomplete or does not match the server's digest; a destination path is left unchanged."""


class APIError(FilesteadError):
    """An exchange with the server failed. `message` is the text without a status or a request id."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class APIConnectionError(APIError):
    """No complete response: connection refused, reset or closed early. `__cause__` has the cause."""


class APITimeoutError(APIConnectionError):
    """A connect, read or write timed out."""


class RedirectError(APIError):
    """A redirect that is not followed: one too many, not to http, of an upload, or of a change to another origin."""


class APIResponseError(APIError):
    """A response that is an error or does not conform to the API.

    `headers` has lower-case names. `request_id` identifies the request in the log of the server.
    """

    def __init__(self, message: str, *, status_code: int, headers: Mapping[str, str], body: object) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.headers = dict(headers)
        self.body = body

    @property
    def request_id(self) -> str | None:
        """The header `x-request-id`."""
        return self.headers.get("x-request-id")

    def __str__(self) -> str:
        text = f"Error code: {self.status_code} - {self.message}"
        return f"{text} (request id: {self.request_id})" if self.request_id else text


class APIResponseValidationError(APIResponseError):
    """A response with a success status that does not conform to the API; `body` is its text."""

    def __str__(self) -> str:
        text = f"Unexpected response (status {self.status_code}): {self.message}"
        return f"{text} (request id: {self.request_id})" if self.request_id else text


class APIStatusError(APIResponseError):
    """A response with an error status.

    `body` is the `error` object of the response, else the decoded JSON, else the text. `param`, `code` and `type` are
    members of that object, None if missing.
    """

    def __init__(self, message: str, *, status_code: int, headers: Mapping[str, str], body: object) -> None:
        super().__init__(message, status_code=status_code, headers=headers, body=body)
        self.param = _member(body, "param")
        self.code = _member(body, "code")
        self.type = _member(body, "type")

    @property
    def retry_after(self) -> str | None:
        """The header `retry-after`, unparsed: seconds, or an HTTP date."""
        return self.headers.get("retry-after")


def _member(body: object, name: str) -> str | None:
    value = body.get(name) if isinstance(body, dict) else None
    return value if value is None or isinstance(value, str) else str(value)


class BadRequestError(APIStatusError):
    """400: the request is invalid; `param` names the parameter."""


class AuthenticationError(APIStatusError):
    """401: the API key is missing or invalid."""


class PermissionDeniedError(APIStatusError):
    """403: the key lacks a permission."""


class NotFoundError(APIStatusError):
    """404: the file does not exist for this key, or the route does not exist."""


class ConflictError(APIStatusError):
    """409: the request conflicts with the state of the server."""


class UnprocessableEntityError(APIStatusError):
    """422: the server cannot process the request."""


class RateLimitError(APIStatusError):
    """429: too many requests; `retry_after` may have the time to wait."""


class InternalServerError(APIStatusError):
    """500 and above: the server failed."""


ERROR_CLASSES = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}


def error_class(status_code: int) -> type[APIStatusError]:
    """The class for an error status."""
    if status_code >= 500:
        return InternalServerError
    return ERROR_CLASSES.get(status_code, APIStatusError)
