"""The interface of the upload repository. Its docstrings are the contract; `tests/conformance` tests every backend."""

from collections.abc import Sequence
from typing import Protocol

from filestead.domain.files.model import ContentPart, File
from filestead.domain.jobs import Job
from filestead.domain.quota import Quota
from filestead.domain.rate_limit import RateDecision
from filestead.domain.uploads.model import (
    AcceptedPart,
    Checked,
    CompletedUpload,
    Completion,
    EndedUpload,
    NewUpload,
    PendingPart,
    ReceivedPart,
    Room,
    ScannedPart,
    Upload,
)


class UploadRepository(Protocol):
    """Rows of uploads and parts. Each method is one transaction; errors and clocks as in `FileRepository`.

    Methods with an upload id raise `UploadNotFound` for unknown and foreign ids alike, and `UploadNotPending` unless
    they say otherwise. `FileRepository.claim_garbage` ends the uploads whose hour is over: it releases their quota and
    claims the blobs of their parts.
    """

    async def create(self, upload: NewUpload, *, rate: int, quota: Quota) -> tuple[Upload, RateDecision]:
        """Count the upload against the user's `rate` and reserve its bytes until it is completed or has ended.

        Raises `RateLimited` and `QuotaExceeded` as `FileRepository.begin_upload`. The id is `upload_`, the time of
        creation as 8 hexadecimal digits, and `random`.
        """

    async def begin_part(self, part: PendingPart, *, lease_seconds: int) -> Room:
        """Record the blob of a part as pending. `FileRepository` renews its lease, abandons it and deletes its row.

        Raises `TooManyParts`, unless the part is known; no blob is then recorded.
        """

    async def accept_part(self, part: ReceivedPart) -> AcceptedPart:
        """Add a part whose bytes are stored; from then on its blob is live.

        Raises `UploadOverflow` if the parts would have more bytes than declared under any race, `TooManyParts`, and
        `UploadLost` if the blob is no longer pending. If it raises, the blob is still pending or gone. Adding the same
        blob again returns its part again.

        A part that was sent before may become the stored one, or share its blob and count no bytes, as `repetition`
        says. Then the new blob is not used, and stays pending. Raises `PartKeyReused`.
        """

    async def arrange(self, project_id: str, upload_id: str, part_ids: Sequence[str]) -> list[ContentPart] | None:
        """The content that `complete` would make of these parts; None if it was completed with the same ones.

        Raises what `completion.arrange` raises.
        """

    async def complete(self, completion: Completion) -> CompletedUpload:
        """Make the file visible and turn the reservation into usage; blobs of other parts are marked for deletion.

        The file's `created_at` is that of the upload. Its blob is that of its part if it has exactly one; otherwise
        its parts are those of the list, none included. A job checks its content afterwards if its SHA-256 is unknown,
        or if its purpose is one of `check_purposes`.

        Raises what `completion.arrange` raises; the upload is then still pending. Completing again with the same parts
        returns the same file; if it is no longer visible, or for other parts, `UploadNotPending` is raised.
        """

    async def cancel(self, project_id: str, upload_id: str) -> EndedUpload:
        """Cancel: release the reservation and mark the parts' blobs for deletion.

        A cancelled or expired upload is returned as it is; a completed one raises `UploadNotPending`.
        """

    async def check_task(self, job: Job) -> File | None:
        """The file that the job checks, expired or not; None if it was deleted."""

    async def record_check(self, job: Job, file: File, checked: Checked) -> None:
        """Set digest and status of the file, unless it was deleted, and finish the job. Raises `JobLost`."""

    async def scan_parts(self, after: int, limit: int) -> list[ScannedPart]:
        """Return stored parts of pending uploads by `seq`, from after the number `after`. For `verify` only."""
