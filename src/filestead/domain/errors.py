"""Errors of the domain, named by what happened, with data as attributes. `api/http/errors.py` maps them to HTTP."""

from filestead.domain.rate_limit import RateDecision


class DomainError(Exception):
    """Base class of all errors of the domain."""


# --- access ---------------------------------------------------------------------------------------------------------


class MissingKey(DomainError):
    """The request carries no key."""


class UnknownKey(DomainError):
    """The key is unknown, revoked or expired; `masked` is its displayable form."""

    def __init__(self, masked: str) -> None:
        super().__init__(f"unknown key {masked}")
        self.masked = masked


class MissingScope(DomainError):
    """The key lacks a scope."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"missing scope {scope}")
        self.scope = scope


class OrganizationMismatch(DomainError):
    """The request names an organization other than the key's."""


class ProjectMismatch(DomainError):
    """The request names a project other than the key's."""


# --- files ----------------------------------------------------------------------------------------------------------


class FileNotFound(DomainError):
    """No such file in this project: unknown, deleted, expired and foreign ids alike."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"no file {file_id}")
        self.file_id = file_id


class CursorNotFound(DomainError):
    """The `after` of a listing is no file of this project."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"no file {file_id} to list after")
        self.file_id = file_id


class DownloadRefused(DomainError):
    """The configuration does not allow downloads of files of this purpose."""

    def __init__(self, purpose: str) -> None:
        super().__init__(f"purpose {purpose} may not be downloaded")
        self.purpose = purpose


# --- uploads --------------------------------------------------------------------------------------------------------


class UnknownPurpose(DomainError):
    """The purpose is unknown, or this key may not set it."""

    def __init__(self, purpose: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{purpose!r} is not one of {list(allowed)}")
        self.purpose = purpose
        self.allowed = allowed


class BadAnchor(DomainError):
    """`expires_after[anchor]` is not `created_at`."""

    def __init__(self, anchor: str) -> None:
        super().__init__(f"bad anchor {anchor!r}")
        self.anchor = anchor


class BadExpirySeconds(DomainError):
    """`expires_after[seconds]` is out of range."""

    def __init__(self, seconds: int, minimum: int, maximum: int) -> None:
        super().__init__(f"{seconds} is not within {minimum}..{maximum}")
        self.seconds = seconds
        self.minimum = minimum
        self.maximum = maximum


class IncompleteExpiry(DomainError):
    """`expires_after` lacks one of its two members."""

    def __init__(self, missing: str) -> None:
        super().__init__(f"expires_after lacks {missing}")
        self.missing = missing


class BadFilename(DomainError):
    """Invalid file name; `reason` completes the sentence "the file name ..."."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the file name {reason}")
        self.reason = reason


class FileTooLarge(DomainError):
    """The content is larger than the limit for its purpose."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes")
        self.limit = limit


class UnsupportedExtension(DomainError):
    """An assistants file whose extension is not in the published list."""

    def __init__(self, extension: str, supported: tuple[str, ...], filename: str = "") -> None:
        super().__init__(f"extension {extension!r}")
        self.filename = filename
        self.extension = extension
        self.supported = supported


class NotBatchInput(DomainError):
    """The first line of a batch file is not a JSON object; `problem` says in a sentence why, and what to do.

    Unless `utf8`, it is not even text in UTF-8.
    """

    def __init__(self, problem: str | None = None, *, utf8: bool = True) -> None:
        super().__init__(problem or "not a batch file")
        self.problem = problem
        self.utf8 = utf8


class NotTrainingData(DomainError):
    """A line of a fine-tuning file is not a JSON object; `problem` says in a sentence why, and what to do."""

    def __init__(self, line: int, excerpt: str, problem: str | None = None) -> None:
        super().__init__(f"line {line} is not a JSON object")
        self.problem = problem
        self.line = line
        self.excerpt = excerpt


class FaultyLines(DomainError):
    """Strict validation failed; `details` names the first invalid line and counts the others."""

    def __init__(self, details: str) -> None:
        super().__init__(details)
        self.details = details


# --- uploads in parts -----------------------------------------------------------------------------------------------


class UploadNotFound(DomainError):
    """No such upload in this project: unknown and foreign ids alike."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"no upload {upload_id}")
        self.upload_id = upload_id


class UploadNotPending(DomainError):
    """The upload is completed, cancelled or expired, as `status` says."""

    def __init__(self, upload_id: str, status: str) -> None:
        super().__init__(f"upload {upload_id} is {status}")
        self.upload_id = upload_id
        self.status = status


class EmptyPart(DomainError):
    """The part has no bytes."""


class PartTooLarge(DomainError):
    """The part has more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the part has more than {limit} bytes")
        self.limit = limit


class TooManyParts(DomainError):
    """The upload has `limit` parts already."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"there are {limit} parts")
        self.limit = limit


class PartKeyReused(DomainError):
    """The idempotency key was used for other bytes, which became the part `part_id`."""

    def __init__(self, part_id: str) -> None:
        super().__init__(f"the idempotency key belongs to {part_id}")
        self.part_id = part_id


class UploadOverflow(DomainError):
    """With this part the upload would have more than the `declared` bytes; it has `received`."""

    def __init__(self, upload_id: str, declared: int, received: int) -> None:
        super().__init__(f"upload {upload_id} has {received} of {declared} bytes")
        self.upload_id = upload_id
        self.declared = declared
        self.received = received


class PartNotFound(DomainError):
    """No such part in this upload."""

    def __init__(self, upload_id: str, part_id: str) -> None:
        super().__init__(f"no part {part_id} in {upload_id}")
        self.upload_id = upload_id
        self.part_id = part_id


class PartRepeated(DomainError):
    """The list of parts names one twice."""

    def __init__(self, part_id: str) -> None:
        super().__init__(f"the part {part_id} twice")
        self.part_id = part_id


class PartsDoNotAddUp(DomainError):
    """The listed parts have `size` bytes instead of the `declared`."""

    def __init__(self, size: int, declared: int) -> None:
        super().__init__(f"{size} bytes instead of {declared}")
        self.size = size
        self.declared = declared


class ChecksumMismatch(DomainError):
    """The MD5 of the content, `actual`, is not the one that the client sent."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"MD5 {actual} instead of {expected}")
        self.expected = expected
        self.actual = actual


# --- idempotency keys -----------------------------------------------------------------------------------------------


class IdempotencyKeyReused(DomainError):
    """The key was used for a different form, which created the file `file_id`."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"the idempotency key made {file_id} of another form")
        self.file_id = file_id


class IdempotencyKeySpent(DomainError):
    """The key created the file `file_id`, which no longer exists."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"the idempotency key made {file_id}, which is gone")
        self.file_id = file_id


# --- limits ---------------------------------------------------------------------------------------------------------


class QuotaExceeded(DomainError):
    """The upload does not fit into the quota of the project or organization."""

    def __init__(self, holder: str, limit: int) -> None:
        super().__init__(f"{holder} quota of {limit} bytes")
        self.holder = holder
        self.limit = limit


class RateLimited(DomainError):
    """Too many uploads by this user."""

    def __init__(self, decision: RateDecision) -> None:
        super().__init__("too many uploads")
        self.decision = decision


class AttachRateLimited(RateLimited):
    """Too many files attached to vector stores by this organization."""


# --- vector stores --------------------------------------------------------------------------------------------------


class VectorStoreNotFound(DomainError):
    """No such vector store in this project."""

    def __init__(self, store_id: str) -> None:
        super().__init__(f"no vector store {store_id}")
        self.store_id = store_id


class VectorStoreExpired(DomainError):
    """The vector store has expired: it can be retrieved and deleted, but not used."""

    def __init__(self, store_id: str) -> None:
        super().__init__(f"vector store {store_id} has expired")
        self.store_id = store_id


class AttachedFileNotFound(DomainError):
    """The file is not attached to this vector store, or no longer visible."""

    def __init__(self, store_id: str, file_id: str) -> None:
        super().__init__(f"no file {file_id} in vector store {store_id}")
        self.store_id = store_id
        self.file_id = file_id


class FileBatchNotFound(DomainError):
    """No such file batch in this vector store."""

    def __init__(self, store_id: str, batch_id: str) -> None:
        super().__init__(f"no file batch {batch_id} in vector store {store_id}")
        self.store_id = store_id
        self.batch_id = batch_id


class FilesNotAttachable(DomainError):
    """Files that are to be attached do not exist in this project."""

    def __init__(self, file_ids: list[str]) -> None:
        super().__init__(f"no files {file_ids}")
        self.file_ids = file_ids


class UnsupportedFileType(DomainError):
    """The text of files with this extension cannot be extracted; `extension` has a dot, or is "none"."""

    def __init__(self, file_id: str, extension: str) -> None:
        super().__init__(f"file {file_id} has the extension {extension}")
        self.file_id = file_id
        self.extension = extension


class ItemCursorNotFound(DomainError):
    """The `after` or `before` of a listing is not in it."""

    def __init__(self, param: str, item_id: str) -> None:
        super().__init__(f"no {item_id} to list {param}")
        self.param = param
        self.item_id = item_id


class InvalidFilter(DomainError):
    """Not a filter; `param` is the path of the invalid member, `message` says what is allowed."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param}: {message}")
        self.param = param
        self.message = message


class JobLost(DomainError):
    """The claim on a job has ended, and nothing of the effect was committed.

    Its lease has expired and another worker may have it, or the job is gone with what it was for.
    """


class SegmentsChanged(DomainError):
    """Index segments were merged while a search read them; the search can be repeated."""


class EmbeddingsUnavailable(DomainError):
    """A text cannot be embedded now, and why; `passing` says whether a later attempt may succeed."""

    def __init__(self, reason: str, *, passing: bool = True) -> None:
        super().__init__(reason)
        self.passing = passing


# --- storage --------------------------------------------------------------------------------------------------------


class StorageFull(DomainError):
    """No space left for this write. Nothing was acknowledged."""


class StorageFailed(DomainError):
    """A write, sync or read failed. Nothing was acknowledged."""


class DatabaseDamaged(StorageFailed):
    """The file of the database contradicts itself: no retry helps."""


class StoreUnavailable(DomainError):
    """The database or the blob store is unavailable; a retry may succeed."""


class BlobStoreUnavailable(StoreUnavailable):
    """The blob store is unavailable."""


class DatabaseUnavailable(StoreUnavailable):
    """The database is unavailable."""


class OutcomeUnknown(DatabaseUnavailable):
    """The connection was lost during a commit: either all of the change was committed, or nothing.

    `result` is the result of the change if it was committed; None if that is unknown, too.
    """

    def __init__(self, reason: str = "", result: object = None) -> None:
        super().__init__(reason)
        self.result = result


class UploadLost(DomainError):
    """The upload's lease expired before it was published, and a sweep has removed it."""


class BlobNotFound(DomainError):
    """The blob does not exist."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no blob {key}")
        self.key = key


class FileCorrupt(DomainError):
    """The blob of a visible file is missing, or its size or digest does not match its row."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"the content of {file_id} is damaged")
        self.file_id = file_id


# --- batches --------------------------------------------------------------------------------------------------------


class BatchNotFound(DomainError):
    """No such batch in this project: unknown and foreign ids alike."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"no batch {batch_id}")
        self.batch_id = batch_id


class BatchCursorNotFound(DomainError):
    """The `after` of a listing is no batch of this project."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"no batch {batch_id} to list after")
        self.batch_id = batch_id


class BatchNotCancellable(DomainError):
    """The batch is past the point where it could be cancelled."""

    def __init__(self, status: str) -> None:
        super().__init__(f"the batch is {status}")
        self.status = status


class BatchKeyReused(DomainError):
    """The idempotency key was used for another request, which created the batch `batch_id`."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"the idempotency key belongs to {batch_id}")
        self.batch_id = batch_id


class BatchRateLimited(DomainError):
    """The project creates batches faster than allowed."""

    def __init__(self, decision: RateDecision) -> None:
        super().__init__("too many batches")
        self.decision = decision


class NoUpstream(DomainError):
    """No model endpoint is configured that could run a batch."""


class NothingToRetry(DomainError):
    """The batch has no failed, expired or cancelled lines, or has not ended; `reason` completes "the batch ..."."""

    def __init__(self, batch_id: str, reason: str) -> None:
        super().__init__(f"the batch {batch_id} {reason}")
        self.batch_id = batch_id
        self.reason = reason


# --- requests that are passed on ------------------------------------------------------------------------------------


class EndpointUnavailable(DomainError):
    """A model server did not respond, or not as a model server does.

    `name` is the one in the configuration, `reason` is for the log, and `hint` a sentence for the client.
    """

    def __init__(
        self,
        name: str,
        reason: str,
        *,
        timed_out: bool = False,
        unsent: bool = False,
        retry_after: int = 1,
        hint: str = "",
    ) -> None:
        """`retry_after` is in seconds; with `unsent` the server has not seen the request."""
        super().__init__(f"the model server {name} does not respond: {reason}")
        self.name = name
        self.timed_out = timed_out
        self.unsent = unsent
        self.retry_after = retry_after
        self.hint = hint


class ModelNotServed(DomainError):
    """No configured model server has this model."""

    def __init__(self, model: str) -> None:
        super().__init__(f"no model server has the model {model!r}")
        self.model = model


class ResponseNotFound(DomainError):
    """No stored response with this id in this project."""

    def __init__(self, response_id: str) -> None:
        super().__init__(f"no response {response_id}")
        self.response_id = response_id


class FileReferenceRejected(DomainError):
    """A file that a request names cannot be sent to the model server; `member` is the path of its id in the body."""

    def __init__(self, message: str, member: str, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.member = member
        self.code = code


# --- administration -------------------------------------------------------------------------------------------------


class ProjectNotFound(DomainError):
    """No project of the organization has this id."""

    def __init__(self, project_id: str) -> None:
        super().__init__(f"there is no project {project_id}")
        self.project_id = project_id


class ProjectExists(DomainError):
    """The organization has a project of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a project named {name!a}")
        self.name = name


class KeyNotFound(DomainError):
    """No key has this id."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no key {key_id}")
        self.key_id = key_id


class ServiceAccountNotFound(DomainError):
    """No service account of the project has this id: it has no key there."""

    def __init__(self, account_id: str) -> None:
        super().__init__(f"there is no service account {account_id}")
        self.account_id = account_id


class BadName(DomainError):
    """Invalid name of an organization, project or user."""

    def __init__(self, what: str, name: str, reason: str) -> None:
        super().__init__(f"the {what} name {name!a} {reason}; choose another name")
        self.what = what
        self.name = name


class CannotStart(DomainError):
    """The installation cannot be opened; the message includes the remedy."""
