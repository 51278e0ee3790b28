"""The interface of the file repository. Its docstrings are the contract; `tests/conformance` tests every backend.

Any method may raise `DatabaseUnavailable`, `StorageFull` or `StorageFailed`, in which case it had no effect. After
`OutcomeUnknown` the change may or may not have been committed. Driver exceptions never escape.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

from filestead.domain.blobs import BlobState
from filestead.domain.files.model import (
    Admission,
    CompletedUpload,
    ContentPart,
    Created,
    File,
    InlineUpload,
    Page,
    PendingUpload,
    Usage,
)
from filestead.domain.integrity import Repair, Violation
from filestead.domain.quota import Quota

CURSOR_SECONDS = 86_400
"""How long a deleted or expired file keeps its position in the listing."""


class FileRepository(Protocol):
    """Rows of files and blobs. Each method is one transaction: when it returns, its effect survives a crash.

    Expiry and leases use the database's clock. A file is *visible* from `publish` until `delete` or its expiry.
    """

    async def begin_upload(self, upload: PendingUpload, *, rate: int, quota: Quota, lease_seconds: int) -> Admission:
        """Count the upload against the user's `rate` per minute, reserve its bytes and record its blob as pending.

        Raises `RateLimited` (the upload is then not counted) or `QuotaExceeded` if `min_size` does not fit (the upload
        is then counted). Either all of `reserve_bytes` are reserved or none. If the upload's idempotency key already
        has a file, nothing is reserved, no quota is checked and no blob is recorded: its bytes must not be stored.
        """

    async def reserve(self, upload: PendingUpload, more: int, *, quota: Quota) -> None:
        """Reserve `more` bytes for a pending upload.

        Raises `QuotaExceeded` or `UploadLost`, in which case nothing is reserved.
        """

    async def renew(self, blob_keys: Sequence[str], *, lease_seconds: int) -> None:
        """Extend the leases of pending blobs."""

    async def publish(self, completed: CompletedUpload, *, quota: Quota) -> File:
        """Make the file visible and turn its reservation into usage.

        `created_at` is the database's current time. Raises `QuotaExceeded` or `UploadLost`; the blob is then still
        pending (or already claimed by a sweep) and no usage is recorded. Usage must never exceed the quota under any
        race. Publishing the same upload again returns its file again. Files of a project become visible in the order
        of the listing.

        An upload with an idempotency record reserves its key, within the project, for the record's lifetime; an upload
        that is not published reserves nothing. While a key is reserved no upload creates a second file with it under
        any race, and nothing of the upload is charged or checked against the quota; its blob stays pending (or is
        swept). An upload with the same fingerprint returns the earlier file, whose id differs from the upload's.
        Another fingerprint raises `IdempotencyKeyReused`; if the earlier file is no longer visible,
        `IdempotencyKeySpent`.

        An upload with a retry record is recorded under its key, in place of an earlier one, for the record's lifetime.
        One that `is_retry` returns the file that is recorded there, if that is visible; nothing is then charged.
        """

    async def create_inline(self, upload: InlineUpload, *, rate: int, quota: Quota) -> Created:
        """Do for a whole upload what `begin_upload` and `publish` do, and store its bytes as an inline blob.

        Raises `RateLimited`, `QuotaExceeded`, `IdempotencyKeyReused` or `IdempotencyKeySpent` without any effect: the
        caller counts an upload that failed. Creating the same upload again returns its file again, and counts it once.
        If it returns the file of an earlier upload, as `publish` does, only the upload is counted.
        """

    async def count_upload(self, user_id: str, *, rate: int) -> None:
        """Count an upload that has failed against the user's `rate` per minute, or raise `RateLimited`."""

    async def abandon(self, blob_key: str) -> bool:
        """Abort a pending upload and release its reservation. False, without effect, if its file is visible.

        Waits for a publication in progress. After True no publication can make the file visible.
        """

    async def get(self, project_id: str, file_id: str) -> File:
        """Return the visible file. Raises `FileNotFound` for unknown, deleted, expired and foreign ids alike."""

    async def page(
        self, project_id: str, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
    ) -> Page:
        """Return visible files by (`created_at`, order of publication), starting after the file `after`.

        `after` is a file of this project, whatever its purpose, that is visible or was deleted or expired within the
        last `CURSOR_SECONDS`: only its position is kept that long. Anything else raises `CursorNotFound`.
        """

    async def delete(self, project_id: str, file_id: str) -> File:
        """Make the file invisible, release its usage and mark its blob for deletion, with those of its parts.

        `FileNotFound` as in `get`.
        """

    async def was_deleted(self, project_id: str, file_id: str, *, within_seconds: int) -> bool:
        """Whether a file of the project was deleted, or has expired and was swept, within the last seconds."""

    async def content_parts(self, blob_key: str) -> list[ContentPart]:
        """The parts of the blob of a file, in order, as long as the rows of their blobs exist; empty without parts."""

    async def observe_clock(self) -> str | None:
        """Compare the database's clock with the elapsed time and record the result; returns a line for the log, if any.

        Until the clock has been steady after a jump, files that expired only because of the jump are hidden, but no
        method deletes them, releases their quota, frees their idempotency keys or drops their position in the listing.
        A clock that is set back is trusted at once.
        """

    async def claim_garbage(self, *, lease_seconds: int, limit: int) -> list[str]:
        """Claim up to `limit` blobs that can be deleted: of expired or deleted files, and of uploads without a lease.

        Expired files become invisible for good, and expired uploads in parts end; usage and reservations are released.
        No other call returns a claimed blob for `lease_seconds`, and a claimed upload can no longer be published. Also
        removes a bounded number of idempotency records past their lifetime, of listing positions older than
        `CURSOR_SECONDS`, and of uploads in parts that ended more than a day ago.
        """

    async def is_pinned(self, blob_key: str) -> bool:
        """Return whether a batch needs the content; `claim_garbage` leaves it out as long. Final for a deleted file."""

    async def delete_blob_rows(self, blob_keys: Sequence[str]) -> None:
        """Delete the rows of pending or claimed blobs once their bytes are gone. Blobs of visible files are kept."""

    async def release_leases(self) -> int:
        """End every lease, of uploads and of sweeps, and return their number.

        Only the single process of an embedded installation may call this, at start: other nodes' leases would end too.
        """

    async def usage(self, project_id: str) -> Usage:
        """Return what the project has stored and reserved."""

    async def scan_files(self, after: str, limit: int) -> list[File]:
        """Return files of all projects by id, expired ones included, from after the id `after`. For `verify` only."""

    async def blob_states(self, blob_keys: Sequence[str]) -> dict[str, BlobState]:
        """Return the state of those keys that have a row."""

    async def check(self) -> list[Violation]:
        """Return findings about the rows themselves: sums, references, leases, integrity of the database."""

    async def repair_rows(self, repairs: Collection[Repair]) -> int:
        """Mend rows as findings of `check` ask for, in one transaction; return how many sums and rows were changed.

        `RECOMPUTE` computes the ledgers of projects and the received bytes of uploads from their rows. `DELETE` deletes
        parts of index segments that do not exist, and leaves what belongs to no attachment to the sweep of the index.
        """
