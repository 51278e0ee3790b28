"""The interfaces under the rules. Their docstrings are the contract, which `tests/conformance` tests on every backend.

Any method may raise `StoreUnavailable`, `StorageFull` or `StorageFailed`, and then has done nothing; only after
`OutcomeUnknown` it may have done all. No driver's exception ever passes.
"""

from collections.abc import Sequence
from typing import Protocol

from filestead.domain.files.model import Admission, Draft, File, Intent, Page, Usage
from filestead.domain.integrity import Violation
from filestead.domain.quota import Quota

CURSOR_SECONDS = 86_400
"""How long a file that was deleted or has expired keeps its place in the listing."""


class FileRecords(Protocol):
    """Rows. One method is one transaction is one promise: when it returns, its effect survives a crash.

    Expiry and leases go by the database's clock. A file is *visible* from `publish` until `delete` or its expiry.
    """

    async def begin(self, intent: Intent, *, rate: int, quota: Quota, lease_seconds: int) -> Admission:
        """Count the upload against the user's `rate` per minute, reserve its bytes and record its blob as pending.

        Raises `RateLimited` (then nothing is counted) or `QuotaExceeded` if `at_least_bytes` do not fit (then the
        request is still counted). Of `reserve_bytes`, all are reserved or none. While the upload's idempotency key is
        bound, nothing is reserved, no quota is judged and no blob is recorded: its bytes must not be stored.
        """

    async def reserve(self, intent: Intent, more: int, *, quota: Quota) -> None:
        """Reserve `more` bytes for a pending upload.

        Raises `QuotaExceeded` or `UploadLost`; then nothing is reserved.
        """

    async def renew(self, blob_keys: Sequence[str], *, lease_seconds: int) -> None:
        """Extend the leases of pending blobs."""

    async def publish(self, draft: Draft, *, quota: Quota) -> File:
        """Make the file visible and turn its reservation into usage.

        `created_at` is the database's now. Raises `QuotaExceeded` or `UploadLost`; the blob is then still pending
        (or already taken by a sweep) and no usage was booked. Never lets the usage pass the quota, under any race.
        Publishing a draft again gives its file again. A project's files become visible in the order of the listing.

        A draft with a binding binds its idempotency key, within the project, to the file for the binding's lifetime;
        what was not published binds nothing. While a key is bound no draft makes a second file with it, under any
        race, and nothing of the draft is booked or judged against the quota; its blob is still pending (or swept):
        a draft with the same fingerprint gets the earlier file (whose id is not the draft's), one with another raises
        `IdempotencyKeyReused`, and one whose file is no longer visible raises `IdempotencyKeySpent`.
        """

    async def abandon(self, blob_key: str) -> bool:
        """Give a pending upload up, releasing its reservation. False if its file is visible, and nothing was done.

        Waits for a publication under way. After True no publication can make the file visible any more.
        """

    async def get(self, project_id: str, file_id: str) -> File:
        """The visible file; `FileNotFound` for unknown, deleted, expired and foreign ids alike."""

    async def page(
        self, project_id: str, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
    ) -> Page:
        """Visible files by (`created_at`, order of publication), starting behind the file `after`.

        `after` is a file of this project (whatever its purpose) that is visible, or that was deleted or has expired
        within the last `CURSOR_SECONDS`: its place is kept that long, and nothing else of it. For any other
        `CursorNotFound`.
        """

    async def delete(self, project_id: str, file_id: str) -> File:
        """Make the file invisible, release its usage and hand its blob to the sweep. `FileNotFound` as in `get`."""

    async def observe_clock(self) -> str | None:
        """Compare the database's clock with the time that has passed, and remember it; a line for the log, if any.

        Until the clock has been steady after a jump, what expired only by the jump is hidden as ever, but no method
        removes it, takes its place in the quota, frees its idempotency key or forgets its place in the listing. A clock
        that goes back is believed.
        """

    async def leftovers(self, *, lease_seconds: int, limit: int) -> list[str]:
        """Claim up to `limit` blobs that nobody needs: of expired or deleted files, of uploads whose lease ran out.

        Expired files become invisible for good, usage and reservations are released. Claimed blobs are not handed
        out again for `lease_seconds`; a claimed upload can no longer be published. Bindings whose lifetime has passed,
        and places of files that are gone for longer than `CURSOR_SECONDS`, go too, a bounded number a call.
        """

    async def forget(self, blob_keys: Sequence[str]) -> None:
        """Drop pending or claimed blobs from the ledger once their bytes are gone. Blobs of visible files stay."""

    async def release_leases(self) -> int:
        """End every lease, of uploads and of sweeps.

        Only the one process of an embedded installation may do so, when it starts: the leases would be other nodes'.
        """

    async def usage(self, project_id: str) -> Usage:
        """The project's ledger."""

    async def survey(self, after: str, limit: int) -> list[File]:
        """Files of every project by id, expired ones included, from behind the id `after`. For `verify` only."""

    async def states(self, blob_keys: Sequence[str]) -> dict[str, str]:
        """Those of the keys that the ledger holds, each with `pending`, `live` (of a file) or `doomed`."""

    async def check(self) -> list[Violation]:
        """Findings about the rows themselves: sums, references, leases, integrity of the database."""
