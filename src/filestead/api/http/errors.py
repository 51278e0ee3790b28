"""Error responses: one table from the domain's errors to status, message, `param` and `code`.

Messages follow recorded responses of the hosted service. Where none is recorded, they are our own in the same form.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from filestead import wire
from filestead.api.http.messages import Response
from filestead.domain import errors

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"
API_KEYS_URL = "https://platform.openai.com/account/api-keys"

NO_RETRY = {"x-should-retry": "false"}
IDEMPOTENCY_KEY_HEADER = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error response before it is encoded."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    type: str = INVALID_REQUEST
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, *, detail: bool = True) -> bytes:
        """Encode the envelope. For a 401 it is indented by four spaces and has no `detail`, as at the hosted edge."""
        error = wire.Error(self.message, self.type, self.param, self.code)
        if self.status == 401:
            return wire.encode(wire.ErrorBody(error), indent=4)
        return wire.encode(wire.ErrorBody(error, wire.ErrorDetail(self.message, self.code) if detail else None))

    def to_response(self, *, detail: bool = True) -> Response:
        """Build the HTTP response. Only the files service has the member `detail`."""
        media_type = "application/json; charset=utf-8" if self.status == 401 else "application/json"
        headers = {**self.headers, "content-type": media_type}
        return Response(self.body(detail=detail), self.status, headers)


class ApiError(Exception):
    """A request is rejected by the HTTP layer with the given response."""

    def __init__(self, response: ErrorResponse) -> None:
        super().__init__(response.message)
        self.response = response


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Build the error of a 400 response."""
    return ApiError(ErrorResponse(400, message, param, code))


INTERNAL_ERROR = ErrorResponse(
    500,
    "The server had an error processing your request. Sorry about that! You can retry your request; if it keeps "
    "failing, give the operator of this server the x-request-id of this response.",
    type=SERVER_ERROR,
)


def rate_limit_headers(decision: Any) -> dict[str, str]:
    """Convert a decision of the rate limiter to headers; empty if the limit is disabled."""
    if not decision.limit:
        return {}
    headers = {
        "x-ratelimit-limit-requests": str(decision.limit),
        "x-ratelimit-remaining-requests": str(decision.remaining),
        "x-ratelimit-reset-requests": _format_duration(decision.reset),
    }
    if not decision.allowed:
        headers["retry-after"] = str(max(1, math.ceil(decision.retry_after)))
        headers["retry-after-ms"] = str(max(1, math.ceil(decision.retry_after * 1000)))
    return headers


def _format_duration(seconds: float) -> str:
    """Format a duration as the hosted model endpoints do: `60ms`, `1.5s`, `1m0s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{int(seconds // 60)}m{math.ceil(seconds % 60)}s"


def _format_size(size: int) -> str:
    for unit, factor in (("TB", 1024**4), ("GB", 1024**3), ("MB", 1024**2), ("KB", 1024)):
        if size >= factor and (size * 10) % factor == 0:
            return f"{size / factor:g}{unit}"
    return f"{size} bytes"


def _file_not_found(error: errors.FileNotFound) -> ErrorResponse:
    return ErrorResponse(404, f"No such File object: {error.file_id}", "id")


def _unknown_purpose(error: errors.UnknownPurpose) -> ErrorResponse:
    return ErrorResponse(400, f"{error.purpose!r} is not one of {list(error.allowed)} - 'purpose'", "purpose")


def _bad_expiry_seconds(error: errors.BadExpirySeconds) -> ErrorResponse:
    if error.seconds < error.minimum:
        bound = f"less than the minimum of {error.minimum}"
    else:
        bound = f"greater than the maximum of {error.maximum}"
    return ErrorResponse(400, f"{error.seconds} is {bound} - 'expires_after.seconds'", "expires_after.seconds")


def _unsupported_extension(error: errors.UnsupportedExtension) -> ErrorResponse:
    formats = ", ".join(f'"{name}"' for name in error.supported)
    message = f"Invalid extension {error.extension}. Supported formats: {formats}"
    if not error.extension.isalnum():
        # Spaces and dots at the end of a name are easily overlooked.
        message += f". The file name is {error.filename!r}."
    return ErrorResponse(400, message, "file")


def _not_batch_input(error: errors.NotBatchInput) -> ErrorResponse:
    hosted = "Invalid file format for Batch API. Must be .jsonl"
    if not error.utf8:
        hosted = "Invalid file for Batch API. Must be utf-8 encoded"
    return ErrorResponse(400, f"{hosted}. {error.problem}" if error.problem else hosted)


def _not_training_data(error: errors.NotTrainingData) -> ErrorResponse:
    return ErrorResponse(
        400,
        "Expected file to have JSONL format, where every line is a valid JSON dictionary. "
        f'Line {error.line} is not a dictionary (HINT: line starts with: "{error.excerpt}...").'
        + (f" {error.problem}" if error.problem else ""),
        "file",
    )


def _quota_exceeded(error: errors.QuotaExceeded) -> ErrorResponse:
    return ErrorResponse(
        400,
        "You have exceeded your file storage quota. "
        f"{error.holder.capitalize()}s are limited to {_format_size(error.limit)} of files.",
    )


def _rate_limited(error: errors.RateLimited) -> ErrorResponse:
    decision = error.decision
    return ErrorResponse(
        429,
        f"Rate limit reached for file uploads: Limit {decision.limit} / min. "
        f"Please try again in {_format_duration(decision.retry_after)}.",
        None,
        "rate_limit_exceeded",
        "requests",
        rate_limit_headers(decision),
    )


def _attach_rate_limited(error: errors.AttachRateLimited) -> ErrorResponse:
    decision = error.decision
    return ErrorResponse(
        429,
        f"Rate limit reached for files attached to vector stores: Limit {decision.limit} / min. "
        f"Please try again in {_format_duration(decision.retry_after)}.",
        None,
        "rate_limit_exceeded",
        "requests",
        rate_limit_headers(decision),
    )


def _batch_rate_limited(error: errors.BatchRateLimited) -> ErrorResponse:
    decision = error.decision
    return ErrorResponse(
        429,
        f"Rate limit reached for batches: Limit {decision.limit} / hour. "
        f"Please try again in {_format_duration(decision.retry_after)}.",
        None,
        "rate_limit_exceeded",
        "requests",
        rate_limit_headers(decision),
    )


def _unsupported_file_type(error: errors.UnsupportedFileType) -> ErrorResponse:
    return ErrorResponse(
        400,
        f"Files with extensions [{error.extension}] are not supported for retrieval. "
        "See https://platform.openai.com/docs/assistants/tools/file-search/supported-files",
        "file_ids",
        "unsupported_file",
    )


def _files_not_attachable(error: errors.FilesNotAttachable) -> ErrorResponse:
    shown = ", ".join(f"'{file_id}'" for file_id in error.file_ids[:5])
    more = f" and {len(error.file_ids) - 5} more" if len(error.file_ids) > 5 else ""
    return ErrorResponse(404, f"No file found with id {shown}{more}. Nothing was attached.", "file_ids")


def _upload_overflow(error: errors.UploadOverflow) -> ErrorResponse:
    return ErrorResponse(
        400,
        f"Invalid 'data': the parts of {error.upload_id} would have more than the {error.declared} bytes that were "
        f"declared at its creation; {error.received} bytes are stored already.",
        "data",
    )


def _checksum_mismatch(error: errors.ChecksumMismatch) -> ErrorResponse:
    return ErrorResponse(
        400, f"Invalid 'md5': the content has the MD5 checksum {error.actual} instead of {error.expected}.", "md5"
    )


def _parts_do_not_add_up(error: errors.PartsDoNotAddUp) -> ErrorResponse:
    return ErrorResponse(
        400,
        f"Invalid 'part_ids': the listed parts have {error.size} bytes in total, but the upload was created with "
        f"'bytes' {error.declared}.",
        "part_ids",
    )


def _storage_failed(_: errors.StorageFailed) -> ErrorResponse:
    return ErrorResponse(
        500,
        "The server's storage failed; nothing was stored. Give the operator the x-request-id of this response.",
        None,
        "storage_failed",
        SERVER_ERROR,
    )


def _unavailable(_: errors.StoreUnavailable) -> ErrorResponse:
    return ErrorResponse(
        503,
        "The server's storage is temporarily unavailable. Please try again in a moment.",
        None,
        "storage_unavailable",
        SERVER_ERROR,
        {"retry-after": "2"},
    )


def _endpoint_unavailable(error: errors.EndpointUnavailable) -> ErrorResponse:
    what = "did not respond in time" if error.timed_out else "cannot be reached, or its response was broken"
    return ErrorResponse(
        504 if error.timed_out else 502,
        f"The model server '{error.name}' {what}. {error.hint or 'Please try again in a moment.'}",
        None,
        "upstream_timeout" if error.timed_out else "upstream_unavailable",
        SERVER_ERROR,
        {"retry-after": str(error.retry_after)},
    )


ERROR_RESPONSES: dict[type[errors.DomainError], Callable[[Any], ErrorResponse]] = {
    errors.MissingKey: lambda _: ErrorResponse(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the "
        "API from your browser and are prompted for a username and password. You can obtain an API key from "
        f"{API_KEYS_URL}.",
        headers={"www-authenticate": 'Bearer realm="OpenAI API"'},
    ),
    errors.UnknownKey: lambda error: ErrorResponse(
        401,
        f"Incorrect API key provided: {error.masked}. You can find your API key at {API_KEYS_URL}.",
        None,
        "invalid_api_key",
        headers={"www-authenticate": 'Bearer realm="OpenAI API"'},
    ),
    errors.MissingScope: lambda error: ErrorResponse(
        401, f"You have insufficient permissions for this operation. Missing scopes: {error.scope}."
    ),
    errors.OrganizationMismatch: lambda _: ErrorResponse(
        401, "OpenAI-Organization header should match organization for API key", None, "mismatched_organization"
    ),
    errors.ProjectMismatch: lambda _: ErrorResponse(
        401, "OpenAI-Project header should match project for API key", None, "mismatched_project"
    ),
    errors.FileNotFound: _file_not_found,
    errors.CursorNotFound: lambda error: ErrorResponse(404, f"No such File object: {error.file_id}", "after"),
    errors.DownloadRefused: lambda error: ErrorResponse(
        400, f"Not allowed to download files of purpose: {error.purpose}"
    ),
    errors.UnknownPurpose: _unknown_purpose,
    errors.BadAnchor: lambda error: ErrorResponse(
        400, f"{error.anchor!r} is not one of ['created_at'] - 'expires_after.anchor'", "expires_after.anchor"
    ),
    errors.BadExpirySeconds: _bad_expiry_seconds,
    errors.IncompleteExpiry: lambda error: ErrorResponse(
        400, f"'{error.missing}' is a required property - 'expires_after'", "expires_after"
    ),
    errors.BadFilename: lambda error: ErrorResponse(400, f"Invalid 'file': the file name {error.reason}.", "file"),
    errors.FileTooLarge: lambda _: ErrorResponse(400, "File is too large."),
    errors.UnsupportedExtension: _unsupported_extension,
    errors.NotBatchInput: _not_batch_input,
    errors.NotTrainingData: _not_training_data,
    errors.FaultyLines: lambda error: ErrorResponse(400, error.details, "file"),
    errors.UploadNotFound: lambda error: ErrorResponse(404, f"No such Upload object: {error.upload_id}", "id"),
    errors.UploadNotPending: lambda error: ErrorResponse(
        400, f"Upload {error.upload_id} is not pending (status: {error.status})."
    ),
    errors.EmptyPart: lambda _: ErrorResponse(400, "Invalid 'data': the part is empty.", "data"),
    errors.PartTooLarge: lambda error: ErrorResponse(
        400, f"Invalid 'data': the part is larger than the maximum of {error.limit} bytes.", "data"
    ),
    errors.TooManyParts: lambda error: ErrorResponse(
        400, f"The upload has {error.limit} parts already, which is the maximum; send larger parts.", "data"
    ),
    errors.UploadOverflow: _upload_overflow,
    errors.PartKeyReused: lambda error: ErrorResponse(
        400,
        f"This Idempotency-Key was already used for a part with other bytes ({error.part_id}); nothing was stored. "
        "Use a new key, or repeat the original request.",
        IDEMPOTENCY_KEY_HEADER,
        "idempotency_key_reused",
    ),
    errors.PartNotFound: lambda error: ErrorResponse(
        400, f"Invalid 'part_ids': no part '{error.part_id[:64]}' in {error.upload_id}.", "part_ids"
    ),
    errors.PartRepeated: lambda error: ErrorResponse(
        400, f"Invalid 'part_ids': the part '{error.part_id[:64]}' is listed more than once.", "part_ids"
    ),
    errors.PartsDoNotAddUp: _parts_do_not_add_up,
    errors.ChecksumMismatch: _checksum_mismatch,
    errors.IdempotencyKeyReused: lambda error: ErrorResponse(
        400,
        f"This Idempotency-Key was already used for a different upload ({error.file_id}) within the last 24 hours; "
        "nothing was stored. Use a new key, or repeat the original request.",
        IDEMPOTENCY_KEY_HEADER,
        "idempotency_key_reused",
    ),
    errors.IdempotencyKeySpent: lambda error: ErrorResponse(
        400,
        f"The file created with this Idempotency-Key ({error.file_id}) was deleted or has expired; nothing was stored. "
        "Use a new key to create a new file.",
        IDEMPOTENCY_KEY_HEADER,
        "idempotency_key_spent",
    ),
    errors.QuotaExceeded: _quota_exceeded,
    errors.RateLimited: _rate_limited,
    errors.AttachRateLimited: _attach_rate_limited,
    errors.VectorStoreNotFound: lambda error: ErrorResponse(
        404, f"No vector store found with id '{error.store_id}'.", "vector_store_id"
    ),
    errors.VectorStoreExpired: lambda error: ErrorResponse(
        400, f"Vector store '{error.store_id}' has expired", "vector_store_id"
    ),
    errors.AttachedFileNotFound: lambda error: ErrorResponse(
        404, f"No file found with id '{error.file_id}' in vector store '{error.store_id}'.", "file_id"
    ),
    errors.FileBatchNotFound: lambda error: ErrorResponse(
        404, f"No file batch found with id '{error.batch_id}' in vector store '{error.store_id}'.", "batch_id"
    ),
    errors.FilesNotAttachable: _files_not_attachable,
    errors.UnsupportedFileType: _unsupported_file_type,
    errors.ItemCursorNotFound: lambda error: ErrorResponse(
        404, f"No item found with id '{error.item_id}' in this list.", error.param
    ),
    errors.InvalidFilter: lambda error: ErrorResponse(400, error.message, error.param, "invalid_value"),
    errors.BatchNotFound: lambda error: ErrorResponse(404, f"No batch found with id '{error.batch_id}'."),
    errors.BatchCursorNotFound: lambda error: ErrorResponse(
        404, f"No batch found with id '{error.batch_id}'.", "after"
    ),
    errors.BatchNotCancellable: lambda error: ErrorResponse(
        409, f"Cannot cancel a batch with status '{error.status}'.", headers=NO_RETRY
    ),
    errors.BatchKeyReused: lambda error: ErrorResponse(
        400,
        f"This Idempotency-Key was already used for a different batch ({error.batch_id}); nothing was created. Use a "
        "new key, or repeat the original request.",
        IDEMPOTENCY_KEY_HEADER,
        "idempotency_key_reused",
    ),
    errors.BatchRateLimited: _batch_rate_limited,
    errors.NoUpstream: lambda _: ErrorResponse(
        400,
        "This server runs no batches: its operator must set FILESTEAD_UPSTREAM_URL to an OpenAI-compatible server "
        "that runs models.",
        None,
        "no_upstream",
    ),
    errors.NothingToRetry: lambda error: ErrorResponse(
        409, f"The batch {error.reason}.", None, "nothing_to_retry", headers=NO_RETRY
    ),
    errors.EndpointUnavailable: _endpoint_unavailable,
    errors.ModelNotServed: lambda error: ErrorResponse(
        404,
        f"The model `{error.model[:200]}` does not exist or you do not have access to it.",
        "model",
        "model_not_found",
    ),
    errors.ResponseNotFound: lambda error: ErrorResponse(
        404, f"Response with id '{error.response_id[:200]}' not found."
    ),
    errors.FileReferenceRejected: lambda error: ErrorResponse(400, error.message, error.member, error.code),
    errors.JobLost: lambda _: INTERNAL_ERROR,
    errors.SegmentsChanged: lambda _: INTERNAL_ERROR,
    errors.EmbeddingsUnavailable: lambda _: INTERNAL_ERROR,  # jobs alone raise it; a search goes without
    errors.StorageFull: lambda _: ErrorResponse(
        507,
        "The server has no disk space left for this file; nothing was stored. Delete files or ask the operator for "
        "more space.",
        None,
        "storage_full",
        SERVER_ERROR,
        NO_RETRY,
    ),
    **dict.fromkeys((errors.StorageFailed, errors.DatabaseDamaged), _storage_failed),
    **dict.fromkeys((errors.StoreUnavailable, errors.DatabaseUnavailable, errors.BlobStoreUnavailable), _unavailable),
    errors.OutcomeUnknown: lambda _: ErrorResponse(
        503,
        "The server's storage stopped responding before the outcome was known; the change may or may not have been "
        "committed. Check its state, and try again in a moment.",
        None,
        "outcome_unknown",
        SERVER_ERROR,
        {"retry-after": "2"},
    ),
    errors.UploadLost: lambda _: ErrorResponse(
        503,
        "The upload was interrupted on the server; nothing was stored. Please upload the file again.",
        None,
        "upload_lost",
        SERVER_ERROR,
        {"retry-after": "1"},
    ),
    errors.BlobNotFound: lambda _: INTERNAL_ERROR,
    errors.FileCorrupt: lambda error: ErrorResponse(
        500,
        f"The stored content of {error.file_id} is corrupt. The operator can run `filestead verify` for details.",
        None,
        "file_corrupt",
        SERVER_ERROR,
        NO_RETRY,
    ),
    errors.ProjectNotFound: lambda error: ErrorResponse(
        404, f"No project found with id '{error.project_id}'.", "project_id"
    ),
    errors.ProjectExists: lambda error: ErrorResponse(
        409,
        f"The organization has a project named {error.name!r}; choose another name.",
        "name",
        "project_exists",
        headers=NO_RETRY,
    ),
    errors.KeyNotFound: lambda error: ErrorResponse(404, f"No API key found with id '{error.key_id}'.", "key_id"),
    errors.ServiceAccountNotFound: lambda error: ErrorResponse(
        404, f"No service account found with id '{error.account_id}'.", "service_account_id"
    ),
    errors.BadName: lambda error: ErrorResponse(400, f"Invalid 'name': {error}.", "name", "invalid_value"),
    errors.CannotStart: lambda _: INTERNAL_ERROR,
}


def error_response_for(error: Exception) -> ErrorResponse:
    """Return the response to an exception. An unexpected one is an internal error that does not disclose its cause."""
    if isinstance(error, ApiError):
        return error.response
    build = ERROR_RESPONSES.get(type(error)) if isinstance(error, errors.DomainError) else None
    return build(error) if build else INTERNAL_ERROR
