"""The interfaces of the batch repository; `tests/conformance` tests them on every backend.

Errors of the database as in `FileRepository`. Each method is one transaction; when it returns, its effect survives a
crash. A method that takes a `Job` commits only while its lease is held, and otherwise raises `JobLost`.
"""

from collections.abc import Sequence
from typing import Protocol

from filestead.domain.batches.model import (
    Batch,
    BatchError,
    BatchStatus,
    BatchTask,
    NewBatch,
    OutputFile,
    Parallelism,
    Pause,
    ResultBlock,
    ResultKind,
    RunState,
    Validated,
    WebhookEvent,
)
from filestead.domain.jobs import Job
from filestead.domain.quota import Quota


class BatchRepository(Protocol):
    """Rows of batches, as the API sees them. Every method finds nothing of another project."""

    async def create(self, project_id: str, organization_id: str, user_id: str, new: NewBatch, *, rate: int) -> Batch:
        """Create a batch in `validating` with its job, and pin the content of its input file.

        Its id is made of the time of creation as 8 hexadecimal digits, and `random`.
        The file need not exist: then the batch fails in validation. From here on the content stays until the batch
        ends, whatever happens to the file. A repeated idempotency key returns the earlier batch, or raises
        `BatchKeyReused` if the fingerprint differs. With `retry` the batch is recorded there; one that `is_retry`
        returns the batch that is recorded, and is not counted. At most `rate` batches an hour of a project; raises
        `BatchRateLimited`.
        """

    async def find_by_key(self, project_id: str, key: str, fingerprint: str) -> Batch | None:
        """Return the batch that was created with an idempotency key. Raises `BatchKeyReused` as `create`."""

    async def get(self, project_id: str, batch_id: str) -> Batch:
        """Return the batch. Raises `BatchNotFound`."""

    async def page(self, project_id: str, *, after: str | None, limit: int) -> tuple[list[Batch], bool]:
        """Return batches, newest first, starting after the batch `after`, and whether there are more.

        Raises `BatchCursorNotFound`.
        """

    async def pauses(self) -> list[Pause]:
        """Return the different pauses of the batches of all projects."""

    async def cancel(self, project_id: str, batch_id: str) -> Batch:
        """Set `cancelling`, and make the job due. Without effect on a batch that is cancelling or cancelled.

        Raises `BatchNotFound`, or `BatchNotCancellable` with the status.
        """

    async def read_results(self, project_id: str, batch_id: str, kind: ResultKind, start: int, limit: int) -> bytes:
        """Return up to `limit` bytes of the results so far from the offset `start`; empty at their end.

        Only for a batch that has not ended; afterwards its files have the content. Raises `BatchNotFound`.
        """

    async def results_size(self, project_id: str, batch_id: str, kind: ResultKind) -> int:
        """Return the size of the results so far: whole lines. Raises `BatchNotFound`."""


class BatchRunRepository(Protocol):
    """What a worker that holds the job of a batch reads and writes."""

    async def begin(self, job: Job) -> BatchTask | None:
        """Return what to do; None if the batch has ended or is gone, and the job was removed."""

    async def fail(self, job: Job, errors: Sequence[BatchError]) -> BatchStatus:
        """End a batch whose validation found faults: `failed`, or `cancelled` if it was being cancelled. Ends the job.

        The webhook's event is recorded in the same transaction.
        """

    async def start(self, job: Job, validated: Validated) -> RunState:
        """Record a validation without faults: `in_progress`, unless the batch is being cancelled.

        Repeating it changes nothing.
        """

    async def append(
        self,
        job: Job,
        blocks: Sequence[ResultBlock],
        *,
        quota: Quota,
        lines_per_second: float | None = None,
        parallelism: Parallelism | None = None,
    ) -> RunState:
        """Append results to the journal, with the counts and the usage, and reserve their bytes in the quota.

        All or nothing. A line that has a result already must not come again, except that the same blocks may be
        appended again after `OutcomeUnknown`: those that are there already change nothing. Without blocks, it only
        reads the state. None for a rate or the parallelism keeps what is stored. Progress resets the attempts of the
        job. Raises `QuotaExceeded`, without effect.
        """

    async def set_pauses(self, job: Job, pauses: Sequence[Pause], parallelism: Parallelism | None = None) -> None:
        """Replace the pauses of the batch, and its parallelism unless that is None. Its end removes them."""

    async def done_lines(self, batch_id: str) -> bytes:
        """Return the numbers of all lines that have a result, as little-endian unsigned integers of 4 bytes."""

    async def read_journal(self, batch_id: str, kind: ResultKind, start: int, limit: int) -> bytes:
        """Return up to `limit` bytes of the results from the offset `start`; empty at their end."""

    async def start_finalizing(self, job: Job) -> RunState:
        """Set `finalizing`, unless the batch is being cancelled. Repeating it changes nothing."""

    async def begin_output(self, job: Job, blob_key: str, *, lease_seconds: int) -> None:
        """Record a pending blob for a file of results. Its bytes are reserved by the journal already."""

    async def finish(self, job: Job, status: BatchStatus, files: Sequence[OutputFile]) -> BatchStatus:
        """Publish the files of results, set the final status, and end the job, in one transaction.

        Turns the reservation of the journal into the usage of the files, unpins the input, records the webhook's
        event, and leaves the journal to the sweep. `status` is `completed` or `expired`; a batch that is being
        cancelled becomes `cancelled` all the same. Returns the status. Raises `UploadLost` if a blob's lease has ended.
        """

    async def delete_finished_journals(self, limit: int) -> int:
        """Delete up to `limit` blocks of journals whose batches have ended; returns how many. For the sweep."""


class WebhookEventRepository(Protocol):
    """Events for the webhook; the subject of their jobs is their id."""

    async def get(self, job: Job) -> WebhookEvent | None:
        """Return the event to deliver; None if it is gone."""

    async def finish(self, job: Job) -> None:
        """Delete an event that was delivered, with its job."""

    async def give_up(self, job: Job, error: str) -> None:
        """Delete an event that cannot be delivered, and move its job to the dead letters."""
