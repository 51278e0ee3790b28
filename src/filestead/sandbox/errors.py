"""What can become of a task, besides its results."""

from enum import StrEnum


class SandboxError(Exception):
    """Base class."""


class TaskRejected(SandboxError):
    """The task raised an exception that it declares with `@rejects`: a result like any other."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Failure(StrEnum):
    """Why a task failed."""

    CRASH = "crash"
    """The process ended without a result."""
    ERROR = "error"
    """The task raised an exception that it does not declare."""
    MEMORY = "memory"
    """An allocation failed, or the system killed the process, which it does when memory is short."""
    TIME = "time"
    """The limit of CPU time or of waiting time was exceeded."""
    OUTPUT = "output"
    """The results exceed their limit, or are not frames."""


class TaskFailed(SandboxError):
    """The task did not end properly. `detail` is for the log; the process may have been under foreign control."""

    def __init__(self, reason: Failure, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason.value)
        self.reason = reason
        self.detail = detail


class SandboxUnavailable(SandboxError):
    """No process could be started, or the fork server ended during a task: not the fault of the task, retry."""
