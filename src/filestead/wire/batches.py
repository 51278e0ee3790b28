"""The JSON shapes of batches. Member order is the order seen on the wire.

Source: `Batch` and `ListBatchesResponse` of the official description, and recorded batches: every member is always
present, and `usage` has another order than in the description.
"""

from typing import Literal

import msgspec


class BatchError(msgspec.Struct, frozen=True):
    """A fault of the input; `line` counts from 1."""

    code: str
    line: int | None
    message: str
    param: str | None


class BatchErrors(msgspec.Struct, frozen=True, kw_only=True):
    """The faults that validation has found."""

    object: Literal["list"] = "list"
    data: list[BatchError]


class RequestCounts(msgspec.Struct, frozen=True):
    """Lines by outcome."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(msgspec.Struct, frozen=True):
    """Tokens that the model server had in its cache."""

    cached_tokens: int


class OutputTokensDetails(msgspec.Struct, frozen=True):
    """Tokens of reasoning."""

    reasoning_tokens: int


class BatchUsage(msgspec.Struct, frozen=True):
    """Tokens of all responses."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens_details: OutputTokensDetails


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch; times are Unix seconds."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: str
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
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None


class ListBatches(msgspec.Struct, frozen=True, kw_only=True):
    """A page of batches."""

    object: Literal["list"] = "list"
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool


def encode(value: msgspec.Struct) -> bytes:
    """Indented JSON without a trailing newline, as the hosted service writes it."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


def encode_compact(value: msgspec.Struct) -> bytes:
    """JSON on one line, as the hosted service responds to a cancellation."""
    return msgspec.json.encode(value)
