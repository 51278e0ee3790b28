"""Every deliberate failure, named by what happened, with its data on the instance. `api/errors.py` says it in HTTP."""

from filestead.domain.rate_limit import RateDecision


class FilesteadError(Exception):
    """Base of all deliberate failures."""


# --- who asks -------------------------------------------------------------------------------------------------------


class MissingKey(FilesteadError):
    """The request carries no key."""


class UnknownKey(FilesteadError):
    """The key is unknown, revoked or expired; `masked` is what may be shown of it."""

    def __init__(self, masked: str) -> None:
        super().__init__(f"unknown key {masked}")
        self.masked = masked


class MissingScope(FilesteadError):
    """The key lacks a scope."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"missing scope {scope}")
        self.scope = scope


class OrganizationMismatch(FilesteadError):
    """The request names another organization than the key's."""


class ProjectMismatch(FilesteadError):
    """The request names another project than the key's."""


# --- what is asked for ----------------------------------------------------------------------------------------------


class FileNotFound(FilesteadError):
    """No such file in this project: unknown, deleted, expired and foreign ids alike."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"no file {file_id}")
        self.file_id = file_id


class CursorNotFound(FilesteadError):
    """The `after` of a listing names no file of this project."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"no file {file_id} to list after")
        self.file_id = file_id


class DownloadRefused(FilesteadError):
    """Files of this purpose may not be downloaded under the present setting."""

    def __init__(self, purpose: str) -> None:
        super().__init__(f"purpose {purpose} may not be downloaded")
        self.purpose = purpose


# --- what an upload may be ------------------------------------------------------------------------------------------


class UnknownPurpose(FilesteadError):
    """The purpose is not one that this key may set (or, in a listing, not one at all)."""

    def __init__(self, purpose: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{purpose!r} is not one of {list(allowed)}")
        self.purpose = purpose
        self.allowed = allowed


class BadAnchor(FilesteadError):
    """`expires_after[anchor]` is not `created_at`."""

    def __init__(self, anchor: str) -> None:
        super().__init__(f"bad anchor {anchor!r}")
        self.anchor = anchor


class BadExpirySeconds(FilesteadError):
    """`expires_after[seconds]` is out of range."""

    def __init__(self, seconds: int, minimum: int, maximum: int) -> None:
        super().__init__(f"{seconds} is not within {minimum}..{maximum}")
        self.seconds = seconds
        self.minimum = minimum
        self.maximum = maximum


class IncompleteExpiry(FilesteadError):
    """`expires_after` lacks one of its two members."""

    def __init__(self, missing: str) -> None:
        super().__init__(f"expires_after lacks {missing}")
        self.missing = missing


class BadFilename(FilesteadError):
    """The file name cannot be kept; `reason` completes the sentence "the file name ..."."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the file name {reason}")
        self.reason = reason


class FileTooLarge(FilesteadError):
    """The content is larger than the limit for its purpose."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes")
        self.limit = limit


class UnsupportedExtension(FilesteadError):
    """An assistants file whose extension is not in the published list."""

    def __init__(self, extension: str, supported: tuple[str, ...], filename: str = "") -> None:
        super().__init__(f"extension {extension!r}")
        self.filename = filename
        self.extension = extension
        self.supported = supported


class NotBatchInput(FilesteadError):
    """The first line of a batch file is not a JSON object; `problem` says in a sentence why, and what to do.

    Unless `utf8`, it is not even text in UTF-8.
    """

    def __init__(self, problem: str | None = None, *, utf8: bool = True) -> None:
        super().__init__(problem or "not a batch file")
        self.problem = problem
        self.utf8 = utf8


class NotTrainingData(FilesteadError):
    """A line of a fine-tuning file is not a JSON object; `problem` says in a sentence why, and what to do."""

    def __init__(self, line: int, excerpt: str, problem: str | None = None) -> None:
        super().__init__(f"line {line} is not a JSON object")
        self.problem = problem
        self.line = line
        self.excerpt = excerpt


class FaultyLines(FilesteadError):
    """Strict validation found a fault; `details` names the first bad line and counts the rest."""

    def __init__(self, details: str) -> None:
        super().__init__(details)
        self.details = details


# --- idempotency keys -----------------------------------------------------------------------------------------------


class IdempotencyKeyReused(FilesteadError):
    """The key stands for another form, which made the file `file_id`."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"the idempotency key made {file_id} of another form")
        self.file_id = file_id


class IdempotencyKeySpent(FilesteadError):
    """The key made the file `file_id`, which is no longer there."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"the idempotency key made {file_id}, which is gone")
        self.file_id = file_id


# --- limits ---------------------------------------------------------------------------------------------------------


class QuotaExceeded(FilesteadError):
    """The upload does not fit into what the project or organization may store."""

    def __init__(self, holder: str, limit: int) -> None:
        super().__init__(f"{holder} quota of {limit} bytes")
        self.holder = holder
        self.limit = limit


class RateLimited(FilesteadError):
    """Too many uploads by this user."""

    def __init__(self, decision: RateDecision) -> None:
        super().__init__("too many uploads")
        self.decision = decision


# --- storage --------------------------------------------------------------------------------------------------------


class StorageFull(FilesteadError):
    """The disk has no room for this write. Nothing was acknowledged."""


class StorageFailed(FilesteadError):
    """A write, sync or read failed. Nothing was acknowledged."""


class StoreUnavailable(FilesteadError):
    """A store does not answer for now; worth a retry."""


class OutcomeUnknown(StoreUnavailable):
    """The store stopped answering while it made a change durable: all of it was done, or nothing.

    `result` is what the change gives if it was done; None if not even that is known.
    """

    def __init__(self, reason: str = "", result: object = None) -> None:
        super().__init__(reason)
        self.result = result


class UploadLost(FilesteadError):
    """The upload's lease ran out before it was published, and a sweep has taken it away."""


class BlobNotFound(FilesteadError):
    """The store holds no blob under this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no blob {key}")
        self.key = key


class FileCorrupt(FilesteadError):
    """A visible file's blob is missing or has another length than its row says."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"the content of {file_id} is damaged")
        self.file_id = file_id


# --- administration -------------------------------------------------------------------------------------------------


class NoSuchKey(FilesteadError):
    """`keys revoke` names no key."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no key {key_id}")
        self.key_id = key_id


class BadName(FilesteadError):
    """A new key names an organization, project or user by what no header or list can show."""

    def __init__(self, what: str, name: str, reason: str) -> None:
        super().__init__(f"the {what} name {name!a} {reason}; choose another name")
        self.what = what
        self.name = name


class CannotStart(FilesteadError):
    """The installation cannot be opened; the message says what to do."""
