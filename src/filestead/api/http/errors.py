"""Which answer a failure gets: one table from the domain's errors to status, message, `param` and `code`.

Source of the words: recorded answers of the hosted service; where none is known, our own in the same form.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from filestead import wire
from filestead.domain import errors

INVALID = "invalid_request_error"
SERVER = "server_error"
PLATFORM = "https://platform.openai.com/account/api-keys"

NO_RETRY = {"x-should-retry": "false"}
IDEMPOTENCY_KEY = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class Answer:
    """An error as it goes out."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    type: str = INVALID
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """The envelope. Authentication answers as the hosted service's edge does: four spaces, no `detail`."""
        error = wire.Error(self.message, self.type, self.param, self.code)
        if self.status == 401:
            return wire.encode(wire.ErrorBody(error), indent=4)
        return wire.encode(wire.ErrorBody(error, wire.ErrorDetail(self.message, self.code)))

    def response(self) -> Response:
        """The answer as a response."""
        media_type = "application/json; charset=utf-8" if self.status == 401 else "application/json"
        headers = {**self.headers, "content-type": media_type}
        return Response(self.body(), self.status, headers)


class RequestError(Exception):
    """A request that is refused before it reaches the domain."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.message)
        self.answer = answer


def bad_request(message: str, param: str | None = None, code: str | None = None) -> RequestError:
    """A 400."""
    return RequestError(Answer(400, message, param, code))


INTERNAL = Answer(
    500,
    "The server had an error processing your request. Sorry about that! You can retry your request; if it keeps "
    "failing, give the operator of this server the x-request-id of this answer.",
    type=SERVER,
)


def rate_headers(decision: Any) -> dict[str, str]:
    """The rate limiter's decision as headers; none when the limit is off."""
    if not decision.limit:
        return {}
    headers = {
        "x-ratelimit-limit-requests": str(decision.limit),
        "x-ratelimit-remaining-requests": str(decision.remaining),
        "x-ratelimit-reset-requests": _duration(decision.reset),
    }
    if not decision.allowed:
        headers["retry-after"] = str(max(1, math.ceil(decision.retry_after)))
        headers["retry-after-ms"] = str(max(1, math.ceil(decision.retry_after * 1000)))
    return headers


def _duration(seconds: float) -> str:
    """A duration as the model endpoints write it: `60ms`, `1.5s`, `1m0s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{int(seconds // 60)}m{math.ceil(seconds % 60)}s"


def _amount(size: int) -> str:
    for unit, factor in (("TB", 1024**4), ("GB", 1024**3), ("MB", 1024**2), ("KB", 1024)):
        if size >= factor and (size * 10) % factor == 0:
            return f"{size / factor:g}{unit}"
    return f"{size} bytes"


def _no_such_file(error: errors.FileNotFound) -> Answer:
    return Answer(404, f"No such File object: {error.file_id}", "id")


def _unknown_purpose(error: errors.UnknownPurpose) -> Answer:
    return Answer(400, f"{error.purpose!r} is not one of {list(error.allowed)} - 'purpose'", "purpose")


def _bad_seconds(error: errors.BadExpirySeconds) -> Answer:
    if error.seconds < error.minimum:
        bound = f"less than the minimum of {error.minimum}"
    else:
        bound = f"greater than the maximum of {error.maximum}"
    return Answer(400, f"{error.seconds} is {bound} - 'expires_after.seconds'", "expires_after.seconds")


def _unsupported_extension(error: errors.UnsupportedExtension) -> Answer:
    formats = ", ".join(f'"{name}"' for name in error.supported)
    message = f"Invalid extension {error.extension}. Supported formats: {formats}"
    if not error.extension.isalnum():
        # Blanks and dots at the end of a name are easily overlooked.
        message += f". The file name is {error.filename!r}."
    return Answer(400, message, "file")


def _not_batch_input(error: errors.NotBatchInput) -> Answer:
    hosted = "Invalid file format for Batch API. Must be .jsonl"
    if not error.utf8:
        hosted = "Invalid file for Batch API. Must be utf-8 encoded"
    return Answer(400, f"{hosted}. {error.problem}" if error.problem else hosted)


def _not_training_data(error: errors.NotTrainingData) -> Answer:
    return Answer(
        400,
        "Expected file to have JSONL format, where every line is a valid JSON dictionary. "
        f'Line {error.line} is not a dictionary (HINT: line starts with: "{error.excerpt}...").'
        + (f" {error.problem}" if error.problem else ""),
        "file",
    )


def _quota(error: errors.QuotaExceeded) -> Answer:
    return Answer(
        400,
        "You have exceeded your file storage quota. "
        f"{error.holder.capitalize()}s are limited to {_amount(error.limit)} of files.",
    )


def _rate_limited(error: errors.RateLimited) -> Answer:
    decision = error.decision
    return Answer(
        429,
        f"Rate limit reached for file uploads: Limit {decision.limit} / min. "
        f"Please try again in {_duration(decision.retry_after)}.",
        None,
        "rate_limit_exceeded",
        "requests",
        rate_headers(decision),
    )


Row = Callable[[Any], Answer]

TABLE: dict[type[errors.FilesteadError], Row] = {
    errors.MissingKey: lambda _: Answer(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the "
        "API from your browser and are prompted for a username and password. You can obtain an API key from "
        f"{PLATFORM}.",
        headers={"www-authenticate": 'Bearer realm="OpenAI API"'},
    ),
    errors.UnknownKey: lambda error: Answer(
        401,
        f"Incorrect API key provided: {error.masked}. You can find your API key at {PLATFORM}.",
        None,
        "invalid_api_key",
        headers={"www-authenticate": 'Bearer realm="OpenAI API"'},
    ),
    errors.MissingScope: lambda error: Answer(
        401, f"You have insufficient permissions for this operation. Missing scopes: {error.scope}."
    ),
    errors.OrganizationMismatch: lambda _: Answer(
        401, "OpenAI-Organization header should match organization for API key", None, "mismatched_organization"
    ),
    errors.ProjectMismatch: lambda _: Answer(
        401, "OpenAI-Project header should match project for API key", None, "mismatched_project"
    ),
    errors.FileNotFound: _no_such_file,
    errors.CursorNotFound: lambda error: Answer(404, f"No such File object: {error.file_id}", "after"),
    errors.DownloadRefused: lambda error: Answer(400, f"Not allowed to download files of purpose: {error.purpose}"),
    errors.UnknownPurpose: _unknown_purpose,
    errors.BadAnchor: lambda error: Answer(
        400, f"{error.anchor!r} is not one of ['created_at'] - 'expires_after.anchor'", "expires_after.anchor"
    ),
    errors.BadExpirySeconds: _bad_seconds,
    errors.IncompleteExpiry: lambda error: Answer(
        400, f"'{error.missing}' is a required property - 'expires_after'", "expires_after"
    ),
    errors.BadFilename: lambda error: Answer(400, f"Invalid 'file': the file name {error.reason}.", "file"),
    errors.FileTooLarge: lambda _: Answer(400, "File is too large."),
    errors.UnsupportedExtension: _unsupported_extension,
    errors.NotBatchInput: _not_batch_input,
    errors.NotTrainingData: _not_training_data,
    errors.FaultyLines: lambda error: Answer(400, error.details, "file"),
    errors.IdempotencyKeyReused: lambda error: Answer(
        400,
        f"This Idempotency-Key has made {error.file_id} of another form within the last 24 hours; nothing was stored. "
        "Send this form with a new key, or the first form to get its file again.",
        IDEMPOTENCY_KEY,
        "idempotency_key_reused",
    ),
    errors.IdempotencyKeySpent: lambda error: Answer(
        400,
        f"{error.file_id}, which this Idempotency-Key has made, has been deleted or has expired; nothing was stored. "
        "Send the form with a new key to make a new file.",
        IDEMPOTENCY_KEY,
        "idempotency_key_spent",
    ),
    errors.QuotaExceeded: _quota,
    errors.RateLimited: _rate_limited,
    errors.StorageFull: lambda _: Answer(
        507,
        "The server has no disk space left for this file; nothing was stored. Delete files or ask the operator for "
        "more space.",
        None,
        "storage_full",
        SERVER,
        NO_RETRY,
    ),
    errors.StorageFailed: lambda _: Answer(
        500,
        "The server's storage failed; nothing was stored. Give the operator the x-request-id of this answer.",
        None,
        "storage_failed",
        SERVER,
    ),
    errors.StoreUnavailable: lambda _: Answer(
        503,
        "The server's storage does not answer for now. Please try again in a moment.",
        None,
        "storage_unavailable",
        SERVER,
        {"retry-after": "2"},
    ),
    errors.OutcomeUnknown: lambda _: Answer(
        503,
        "The server's storage stopped answering at the last step; the change may have been made or not. Please look, "
        "and try again in a moment.",
        None,
        "outcome_unknown",
        SERVER,
        {"retry-after": "2"},
    ),
    errors.UploadLost: lambda _: Answer(
        503,
        "The upload was interrupted on the server; nothing was stored. Please upload the file again.",
        None,
        "upload_lost",
        SERVER,
        {"retry-after": "1"},
    ),
    errors.BlobNotFound: lambda _: INTERNAL,
    errors.FileCorrupt: lambda error: Answer(
        500,
        f"The stored content of {error.file_id} is damaged. The operator can find out more with `filestead verify`.",
        None,
        "file_corrupt",
        SERVER,
        NO_RETRY,
    ),
    errors.NoSuchKey: lambda _: INTERNAL,
    errors.BadName: lambda _: INTERNAL,
    errors.CannotStart: lambda _: INTERNAL,
}


def answer_for(error: Exception) -> Answer:
    """The answer to a failure; anything undeliberate is an internal error that says nothing of its cause."""
    if isinstance(error, RequestError):
        return error.answer
    row = TABLE.get(type(error)) if isinstance(error, errors.FilesteadError) else None
    return row(error) if row else INTERNAL
