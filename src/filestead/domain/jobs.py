"""Work that outlives a request: durable jobs, claimed under a lease by a worker of any node.

A job is a row of the table `jobs`. It is added in the transaction of the change that needs it, and removed in the
transaction of its effect, so that a crash at any point loses no job and repeats no effect.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

LEASE_SECONDS = 60
"""How long a claimed job belongs to its worker without a heartbeat."""

MAX_ATTEMPTS = 5
"""Attempts, including those that ended with the death of the worker. Then the job goes to the dead letters."""

RETRY_SECONDS = (1, 5, 30, 120)
"""Delay before the second, third ... attempt, each with jitter."""

JITTER = 0.5
"""The largest share of a delay that is added to it."""

OUTAGE_SECONDS = 10
"""The same while the database or the blob store is unavailable. An outage is no attempt: it may outlast all of them."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a job is tried, and how long it waits between attempts."""

    max_attempts: int | None = MAX_ATTEMPTS
    """None for a job that ends by itself: it is never given up."""
    delays: Sequence[float] = RETRY_SECONDS

    def is_last(self, attempt: int) -> bool:
        """Whether a job is given up after this attempt, counted from 1."""
        return self.max_attempts is not None and attempt >= self.max_attempts


class JobKind(StrEnum):
    """What a job does; its subject is the key of a row."""

    INDEX = "index"
    """Index an attached file; the subject is the number of the attachment."""
    MERGE = "merge"
    """Merge index segments of a vector store; the subject is the id of the store."""
    EMBED = "embed"
    """Make the vectors that a vector store lacks; the subject is the id of the store."""
    BATCH = "batch"
    """Validate and run a batch; the subject is its id."""
    WEBHOOK = "webhook"
    """Deliver an event; the subject is its id."""
    CHECK = "check"
    """Read the whole content of a file that was uploaded in parts; the subject is the id of the file."""


URGENT = frozenset({JobKind.MERGE})
"""Kinds that come before all others of their project: as long as merges wait behind files, searches become slower."""


RETRY_POLICIES = {
    JobKind.BATCH: RetryPolicy(None, (1, 2, 5, 10, 30)),  # its window ends it
    # About 72 hours in all.
    JobKind.WEBHOOK: RetryPolicy(20, (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400)),
}
"""The kinds that do not follow the default policy."""


def longest_wait(kind: JobKind) -> float:
    """Seconds that a job waits at most after a claim, for its next attempt or for the end of its lease."""
    return max(LEASE_SECONDS, (1 + JITTER) * max(RETRY_POLICIES.get(kind, RetryPolicy()).delays))


@dataclass(frozen=True, slots=True)
class Job:
    """A job that a worker has claimed."""

    id: int
    kind: JobKind
    subject: str
    project_id: str
    attempts: int
    """Attempts so far, with this one."""
    token: str
    """Identifies this claim: an effect is committed only while the row still has it."""


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A job that is not tried again."""

    id: int
    kind: str
    subject: str
    project_id: str
    attempts: int
    error: str
    died_at: int


class JobRepository(Protocol):
    """Rows of jobs. Leases and delays use the database's clock; errors as in `FileRepository`."""

    async def claim(
        self,
        kinds: Sequence[JobKind],
        *,
        token: str,
        lease_seconds: int,
        limit: int,
        exclude_projects: Collection[str] = (),
    ) -> list[Job]:
        """Claim up to `limit` jobs that are due, or whose lease has expired; each job goes to one caller.

        `token` is a fresh one for each call. Jobs of `exclude_projects` are left out: they have their share already.

        Projects take turns: the project that was served least recently comes first, one job at a time. Within a
        project urgent jobs come first, and then the job that has been due longest.
        """

    async def renew(self, jobs: Sequence[Job], *, lease_seconds: int) -> set[int]:
        """Extend the leases; returns the ids of the jobs that the callers still hold."""

    async def retry(self, job: Job, error: str, *, delay_seconds: float, counted: bool = True) -> None:
        """End this attempt; the job is due again after the delay. Without effect if the lease was lost.

        An attempt that is not `counted` does not bring the job closer to the last one.
        """

    async def bury(self, job: Job, error: str) -> None:
        """Move the job to the dead letters. Without effect if the lease was lost."""

    async def finish(self, job: Job) -> None:
        """Remove a job that has no effect to commit. Without effect if the lease was lost."""

    async def release(self, jobs: Sequence[Job]) -> None:
        """Give claimed jobs back, due at once and without counting the attempt: at the shutdown of a worker."""

    async def release_leases(self) -> int:
        """End every lease. Only for an installation that no worker uses."""

    async def dead(self, limit: int) -> list[DeadJob]:
        """The latest dead letters."""
