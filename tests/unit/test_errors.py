"""Every deliberate failure has an answer, and every answer is the envelope."""

import inspect
import json

import pytest

from filestead.api.http.errors import ERROR_RESPONSES, INTERNAL_ERROR, ErrorResponse, error_response_for
from filestead.domain import errors
from filestead.domain.errors import DomainError
from filestead.domain.rate_limit import RateDecision

EVERY = {
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, DomainError) and kind is not DomainError
}

# Status, `param`, `code` and the beginning of the message, as recorded of the hosted service or chosen by us.
WANTED: list[tuple[DomainError, int, str | None, str | None, str]] = [
    (errors.MissingKey(), 401, None, None, "You didn't provide an API key."),
    (errors.UnknownKey("sk-a****"), 401, None, "invalid_api_key", "Incorrect API key provided: sk-a****. You can"),
    (errors.MissingScope("files:write"), 401, None, None, "You have insufficient permissions"),
    (errors.OrganizationMismatch(), 401, None, "mismatched_organization", "OpenAI-Organization header"),
    (errors.ProjectMismatch(), 401, None, "mismatched_project", "OpenAI-Project header"),
    (errors.FileNotFound("file-x"), 404, "id", None, "No such File object: file-x"),
    (errors.CursorNotFound("file-x"), 404, "after", None, "No such File object: file-x"),
    (errors.DownloadRefused("evals"), 400, None, None, "Not allowed to download files of purpose: evals"),
    (errors.UnknownPurpose("x", ("a", "b")), 400, "purpose", None, "'x' is not one of ['a', 'b'] - 'purpose'"),
    (errors.BadAnchor("x"), 400, "expires_after.anchor", None, "'x' is not one of ['created_at']"),
    (errors.BadExpirySeconds(60, 3600, 9), 400, "expires_after.seconds", None, "60 is less than the minimum of 3600"),
    (errors.BadExpirySeconds(10, 1, 9), 400, "expires_after.seconds", None, "10 is greater than the maximum of 9"),
    (errors.IncompleteExpiry("anchor"), 400, "expires_after", None, "'anchor' is a required property"),
    (errors.BadFilename("is empty"), 400, "file", None, "Invalid 'file': the file name is empty."),
    (errors.FileTooLarge(5), 400, None, None, "File is too large."),
    (errors.UnsupportedExtension("vb", ("c", "cpp")), 400, "file", None, 'Invalid extension vb. Supported formats: "c"'),
    (errors.NotBatchInput(), 400, None, None, "Invalid file format for Batch API. Must be .jsonl"),
    (errors.NotTrainingData(3, "x"), 400, "file", None, "Expected file to have JSONL format"),
    (errors.FaultyLines("Line 1: bad."), 400, "file", None, "Line 1: bad."),
    (errors.QuotaExceeded("project", 5 * 2**39), 400, None, None, "You have exceeded your file storage quota. Projects are limited to 2.5TB of files."),
    (errors.QuotaExceeded("organization", 100 * 2**30), 400, None, None, "You have exceeded your file storage quota. Organizations are limited to 100GB of files."),
    (errors.UploadNotFound("upload_x"), 404, "id", None, "No such Upload object: upload_x"),
    (errors.UploadNotPending("upload_x", "completed"), 400, None, None, "Upload upload_x is not pending (status: completed)."),
    (errors.EmptyPart(), 400, "data", None, "Invalid 'data': the part is empty."),
    (errors.PartTooLarge(5), 400, "data", None, "Invalid 'data': the part is larger than the maximum of 5 bytes."),
    (errors.TooManyParts(5), 400, "data", None, "The upload has 5 parts already"),
    (errors.UploadOverflow("upload_x", 9, 5), 400, "data", None, "Invalid 'data': the parts of upload_x would have more than the 9 bytes"),
    (errors.PartKeyReused("part_x"), 400, "Idempotency-Key", "idempotency_key_reused", "This Idempotency-Key was already used for a part with other bytes (part_x); nothing was stored."),
    (errors.PartNotFound("upload_x", "part_x"), 400, "part_ids", None, "Invalid 'part_ids': no part 'part_x' in upload_x."),
    (errors.PartRepeated("part_x"), 400, "part_ids", None, "Invalid 'part_ids': the part 'part_x' is listed more than once."),
    (errors.PartsDoNotAddUp(5, 9), 400, "part_ids", None, "Invalid 'part_ids': the listed parts have 5 bytes in total, but the upload was created with 'bytes' 9."),
    (errors.ChecksumMismatch("aa", "bb"), 400, "md5", None, "Invalid 'md5': the content has the MD5 checksum bb instead of aa."),
    (errors.IdempotencyKeyReused("file-x"), 400, "Idempotency-Key", "idempotency_key_reused", "This Idempotency-Key was already used for a different upload (file-x)"),
    (errors.IdempotencyKeySpent("file-x"), 400, "Idempotency-Key", "idempotency_key_spent", "The file created with this Idempotency-Key (file-x) was deleted"),
    (errors.RateLimited(RateDecision(False, 9, 0, 60, 1.5)), 429, None, "rate_limit_exceeded", "Rate limit reached"),
    (errors.AttachRateLimited(RateDecision(False, 9, 0, 60, 1.5)), 429, None, "rate_limit_exceeded", "Rate limit reached for files attached to vector stores: Limit 9 / min."),
    (errors.VectorStoreNotFound("vs_x"), 404, "vector_store_id", None, "No vector store found with id 'vs_x'."),
    (errors.VectorStoreExpired("vs_x"), 400, "vector_store_id", None, "Vector store 'vs_x' has expired"),
    (errors.AttachedFileNotFound("vs_x", "file-x"), 404, "file_id", None, "No file found with id 'file-x' in vector store 'vs_x'."),
    (errors.FileBatchNotFound("vs_x", "vsfb_x"), 404, "batch_id", None, "No file batch found with id 'vsfb_x' in vector store 'vs_x'."),
    (errors.FilesNotAttachable(["file-x", "file-y"]), 404, "file_ids", None, "No file found with id 'file-x', 'file-y'. Nothing was attached."),
    (errors.UnsupportedFileType("file-x", ".gif"), 400, "file_ids", "unsupported_file", "Files with extensions [.gif] are not supported for retrieval."),
    (errors.ItemCursorNotFound("before", "vs_x"), 404, "before", None, "No item found with id 'vs_x' in this list."),
    (errors.InvalidFilter("filters.key", "Bad."), 400, "filters.key", "invalid_value", "Bad."),
    (errors.BatchNotFound("batch_x"), 404, None, None, "No batch found with id 'batch_x'."),
    (errors.BatchCursorNotFound("batch_x"), 404, "after", None, "No batch found with id 'batch_x'."),
    (errors.BatchNotCancellable("completed"), 409, None, None, "Cannot cancel a batch with status 'completed'."),
    (errors.BatchKeyReused("batch_x"), 400, "Idempotency-Key", "idempotency_key_reused", "This Idempotency-Key was already used for a different batch (batch_x)"),
    (errors.BatchRateLimited(RateDecision(False, 9, 0, 60, 1.5)), 429, None, "rate_limit_exceeded", "Rate limit reached for batches: Limit 9 / hour. Please try again in 1.5s."),
    (errors.NoUpstream(), 400, None, "no_upstream", "This server runs no batches: its operator must set FILESTEAD_UPSTREAM_URL"),
    (errors.EndpointUnavailable("gpu", "secret reason"), 502, None, "upstream_unavailable", "The model server 'gpu' cannot be reached, or its response was broken. Please try again"),
    (errors.EndpointUnavailable("gpu", "x", timed_out=True), 504, None, "upstream_timeout", "The model server 'gpu' did not respond in time."),
    (errors.ModelNotServed("x"), 404, "model", "model_not_found", "The model `x` does not exist or you do not have access to it."),
    (errors.ResponseNotFound("resp_x"), 404, None, None, "Response with id 'resp_x' not found."),
    (errors.FileReferenceRejected("Bad.", "input[0].file_id"), 400, "input[0].file_id", None, "Bad."),
    (errors.NothingToRetry("batch_x", "has not ended"), 409, None, "nothing_to_retry", "The batch has not ended."),
    (errors.JobLost(), 500, None, None, "The server had an error"),
    (errors.SegmentsChanged(), 500, None, None, "The server had an error"),
    (errors.EmbeddingsUnavailable("x"), 500, None, None, "The server had an error"),
    (errors.StorageFull(), 507, None, "storage_full", "The server has no disk space left"),
    *((kind(), 500, None, "storage_failed", "The server's storage failed") for kind in (errors.StorageFailed, errors.DatabaseDamaged)),
    *((kind(), 503, None, "storage_unavailable", "The server's storage is temporarily unavailable") for kind in (errors.StoreUnavailable, errors.DatabaseUnavailable, errors.BlobStoreUnavailable)),
    (errors.OutcomeUnknown(), 503, None, "outcome_unknown", "The server's storage stopped responding before"),
    (errors.UploadLost(), 503, None, "upload_lost", "The upload was interrupted"),
    (errors.BlobNotFound("k"), 500, None, None, "The server had an error"),
    (errors.FileCorrupt("file-x"), 500, None, "file_corrupt", "The stored content of file-x is corrupt"),
    (errors.ProjectNotFound("p"), 404, "project_id", None, "No project found with id 'p'."),
    (errors.ProjectExists("p"), 409, "name", "project_exists", "The organization has a project named 'p'"),
    (errors.ServiceAccountNotFound("u"), 404, "service_account_id", None, "No service account found with id 'u'."),
    (errors.KeyNotFound("k"), 404, "key_id", None, "No API key found with id 'k'."),
    (errors.BadName("user", "", "is empty"), 400, "name", "invalid_value", "Invalid 'name': the user name '' is empty"),
    (errors.CannotStart("k"), 500, None, None, "The server had an error"),
]  # fmt: skip


def test_every_error_of_the_domain_has_a_row_and_a_case_here() -> None:
    assert set(ERROR_RESPONSES) == EVERY
    assert {type(error) for error, *_ in WANTED} == EVERY


@pytest.mark.parametrize(("error", "status", "param", "code", "message"), WANTED, ids=lambda value: str(value)[:30])
def test_the_answers(error: DomainError, status: int, param: str | None, code: str | None, message: str) -> None:
    answer = error_response_for(error)
    assert (answer.status, answer.param, answer.code) == (status, param, code)
    assert answer.message.startswith(message)
    assert answer.type == {429: "requests"}.get(status, "server_error" if status >= 500 else "invalid_request_error")


def test_what_may_and_may_not_be_repeated() -> None:
    """The SDKs repeat 408, 409, 429 and every 5xx, unless `x-should-retry` says no."""
    for error, *_ in WANTED:
        answer = error_response_for(error)
        assert answer.status != 409 or answer.headers["x-should-retry"] == "false"
        if isinstance(error, errors.StorageFull | errors.FileCorrupt):
            assert answer.headers["x-should-retry"] == "false"
        if answer.status in (429, 503):
            assert int(answer.headers["retry-after"]) >= 1
    limited = error_response_for(errors.RateLimited(RateDecision(False, 9, 0, 60, 1.5))).headers
    assert (limited["retry-after"], limited["retry-after-ms"]) == ("2", "1500")
    assert limited["x-ratelimit-limit-requests"] == "9"


@pytest.mark.parametrize("answer", [INTERNAL_ERROR, ErrorResponse(401, "no"), ErrorResponse(404, "x", "id")])
def test_the_envelope(answer: ErrorResponse) -> None:
    body = json.loads(answer.body())
    assert list(body["error"]) == ["message", "type", "param", "code"]
    assert ("detail" in body) == (answer.status != 401)
    assert answer.body().endswith(b"\n")
    indent = "    " if answer.status == 401 else "  "
    assert answer.body().startswith(b"{\n" + indent.encode() + b'"error"')


def test_what_is_not_deliberate_says_nothing_of_its_cause() -> None:
    assert error_response_for(ValueError("secret path /x/y")) is INTERNAL_ERROR
    assert b"secret" not in error_response_for(ValueError("secret")).body()
