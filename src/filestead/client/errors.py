"""What can go wrong, as one tree. Names are those of the official Python SDK where the meaning is the same.

Every error can be pickled. `ConfigurationError`, `SourceChanged` and `IntegrityError` have no counterpart there.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class FilesteadError(Exception):
    """The root: catch this to catch everything that the client raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild without calling `__init__`, whose arguments are keywords."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[FilesteadError], args: tuple[Any, ...], state: dict[str, Any]) -> FilesteadError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(FilesteadError, ValueError):
    """A base URL, key or header that no request can be made of; the text names where the value came from."""


class SourceChanged(FilesteadError):
    """The file that was being uploaded had another size at its end than at its start; nothing was stored."""


class IntegrityError(FilesteadError):
    """A download was cut short, or is not what the server's digest says; a target path was left untouched."""


class APIError(FilesteadError):
    """An exchange with the server failed. `message` is the text without a status or a request id."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class APIConnectionError(APIError):
    """No answer, or only part of one: refused, reset, closed early. The cause is in `__cause__`."""


class APITimeoutError(APIConnectionError):
    """The server took longer than the configured timeouts allow."""


class RedirectError(APIError):
    """A redirect that is not followed: too many, to no http address, of an upload, or of a change to another origin."""


class APIResponseError(APIError):
    """An answer came, and it is not the one that was hoped for.

    `headers` has lower-case names. `request_id` is the server's name for the request; quote it to the operator.
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
    """An answer with a good status whose body is not what the API says; `body` is the text."""

    def __str__(self) -> str:
        text = f"Unexpected answer (status {self.status_code}): {self.message}"
        return f"{text} (request id: {self.request_id})" if self.request_id else text


class APIStatusError(APIResponseError):
    """An answer with an error status.

    `body` is the inner `error` object where the answer has one, else the decoded JSON, else the text. `param`, `code`
    and `type` are its members, None where it has none.
    """

    status: ClassVar[int | None] = None

    def __init__(self, message: str, *, status_code: int, headers: Mapping[str, str], body: object) -> None:
        super().__init__(message, status_code=status_code, headers=headers, body=body)
        self.param = _member(body, "param")
        self.code = _member(body, "code")
        self.type = _member(body, "type")

    @property
    def retry_after(self) -> str | None:
        """The header `retry-after` as it came: seconds, or an HTTP date."""
        return self.headers.get("retry-after")


def _member(body: object, name: str) -> str | None:
    value = body.get(name) if isinstance(body, dict) else None
    return value if value is None or isinstance(value, str) else str(value)


class BadRequestError(APIStatusError):
    """400: the request breaks a rule; `param` names the member."""

    status = 400


class AuthenticationError(APIStatusError):
    """401: no key, or one that the server does not take."""

    status = 401


class PermissionDeniedError(APIStatusError):
    """403."""

    status = 403


class NotFoundError(APIStatusError):
    """404: no such file for this key, or no such route."""

    status = 404


class ConflictError(APIStatusError):
    """409."""

    status = 409


class UnprocessableEntityError(APIStatusError):
    """422."""

    status = 422


class RateLimitError(APIStatusError):
    """429: too many requests; `retry_after` may say how long to wait."""

    status = 429


class InternalServerError(APIStatusError):
    """500 and above."""


BY_STATUS = {kind.status: kind for kind in APIStatusError.__subclasses__() if kind.status is not None}


def kind_of(status_code: int) -> type[APIStatusError]:
    """The class for a status."""
    if status_code >= 500:
        return InternalServerError
    return BY_STATUS.get(status_code, APIStatusError)
