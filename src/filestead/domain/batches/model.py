"""Batches, their lines and their results. Sizes are in bytes and times in Unix seconds of the database's clock.

Source: `Batch`, `BatchRequestCounts` and `BatchError` of the official description, and recorded batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from filestead.domain.attempts import RetryRecord


class BatchStatus(StrEnum):
    """`status` of a batch."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


TERMINAL = frozenset({BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED})
"""Statuses that a batch never leaves."""


class ResultKind(StrEnum):
    """The two files of results: lines with a response of 2xx, and all others."""

    OUTPUT = "output"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class BatchError:
    """A fault that validation found. `line` counts from 1, blank lines included."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Lines by outcome. Cancelled and expired lines are neither completed nor failed."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class TokenUsage(NamedTuple):
    """Tokens of the responses of 2xx, summed over the batch."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = 0


class Pause(NamedTuple):
    """Why a batch sends no lines now, or none to some of its model servers."""

    upstream: str | None
    """The name of the model server; None if it is not for one."""
    model: str | None
    """None if it is for all models."""
    reason: str


class Parallelism(NamedTuple):
    """How many requests to model servers run at the same time."""

    in_flight: int
    """Lines of the batch that were sent and have no response yet."""
    limit: int
    """Of requests in flight to the model servers of its models, by the process that runs it. Batches share it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch. Stamps are None until the batch gets there."""

    id: str
    project_id: str
    endpoint: str
    """Path of the requests: `/v1/chat/completions`."""
    model: str | None
    errors: Sequence[BatchError]
    """Non-empty only if validation failed."""
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    counts: RequestCounts
    usage: TokenUsage
    metadata: Mapping[str, str] | None
    lines_per_second: float | None = None
    """The recent rate, from which the time left is estimated; None unless it runs."""
    pauses: Sequence[Pause] = ()
    """As its worker saw them a second ago; empty unless it runs."""
    parallelism: Parallelism | None = None
    """As its worker saw it a second ago; None unless it runs."""


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch to create."""

    random: str
    """The end of its id."""
    endpoint: str
    completion_window: str
    window_seconds: int
    input_file_id: str
    metadata: Mapping[str, str] | None = None
    output_expires_after_seconds: int | None = None
    """None means the default of 30 days."""
    idempotency_key: str | None = None
    fingerprint: str | None = None
    """Of the request, to tell a repetition from another request with the same key."""
    retry_of: str | None = None
    """The batch whose failed lines this one repeats."""
    retry: RetryRecord | None = None
    """None with an idempotency key, or if the client does not count its attempts."""


@dataclass(frozen=True, slots=True)
class BatchTask:
    """What a worker needs to validate or run a batch, as of the moment it was claimed."""

    batch: Batch
    organization_id: str
    user_id: str
    input_blob_key: str | None
    """None if the input file was unknown, foreign, deleted, expired, or of another purpose at creation."""
    input_bytes: int
    input_sha256: str
    output_expires_after_seconds: int
    now: int
    """The proven time in seconds (see `domain.clock`): a window that ends by a jump of the clock ends no batch."""


@dataclass(frozen=True, slots=True)
class Validated:
    """The outcome of a validation without faults."""

    total: int
    model: str | None
    """None if the lines name several."""


@dataclass(frozen=True, slots=True)
class ResultBlock:
    """Whole lines of one kind, in the order of their completion."""

    kind: ResultKind
    lines: Sequence[int]
    """The numbers of the input lines that the results are of, in the order of `data`."""
    data: bytes
    """The lines, each with its newline."""
    completed: int = 0
    """How many of the lines count as completed; the same for `failed`. Lines that never ran count as neither."""
    failed: int = 0
    usage: TokenUsage = field(default_factory=TokenUsage)


@dataclass(frozen=True, slots=True)
class RunState:
    """A batch as its worker sees it after each commit."""

    status: BatchStatus
    expires_at: int
    now: int
    """As in `BatchTask`."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A stored file of results, ready to be published with the end of its batch."""

    kind: ResultKind
    file_id: str
    blob_key: str
    filename: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """An event to be delivered to the webhook."""

    id: str
    type: str
    """`batch.completed`, `batch.failed`, `batch.expired` or `batch.cancelled`."""
    batch_id: str
    created_at: int
