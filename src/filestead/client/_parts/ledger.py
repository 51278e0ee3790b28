"""What is known of one upload in parts while it runs: where parts begin, their ids, and the bytes sent.

Shared by tasks and threads; each method is one step under a lock.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from filestead.client.config import OnProgress


class TransferStopped(Exception):
    """Another part has failed, or the caller was interrupted: this part must not go on. Never reaches a caller."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a file, in bytes."""

    start: int
    size: int


def spans(total: int, part_bytes: int) -> list[Span]:
    """The parts of a file of `total` bytes, in its order."""
    return [Span(start, min(part_bytes, total - start)) for start in range(0, total, part_bytes)]


class PartLedger:
    """The ids of stored parts, each claimed by one span, and the bytes sent of all spans together."""

    def __init__(
        self, parts: Sequence[Span], on_progress: OnProgress | None, stored: Mapping[int, str] | None = None
    ) -> None:
        """`stored` has the ids of parts that the server has already, by the byte at which they begin."""
        self._parts = parts
        self._on_progress = on_progress
        self._ids = dict(stored or {})
        self._sent = {span.start: span.size for span in parts if span.start in self._ids}
        self._done = sum(self._sent.values())
        self._total = sum(span.size for span in parts)
        self._stopped = False
        self._lock = threading.RLock()  # a callback may stop the transfer

    @property
    def missing(self) -> list[Span]:
        """The parts without an id, in the order of the file."""
        return [span for span in self._parts if span.start not in self._ids]

    @property
    def part_ids(self) -> list[str]:
        """The ids in the order of the file."""
        return [self._ids[span.start] for span in self._parts]

    @property
    def acknowledged(self) -> int:
        """How many parts have an id."""
        return len(self._ids)

    @property
    def done(self) -> int:
        """Bytes sent, or stored before."""
        return self._done

    def claim(self, span: Span, part_id: str) -> bool:
        """Record the id of a stored part. False if it is that of another span."""
        with self._lock:
            if part_id in self._ids.values():
                return False
            self._ids[span.start] = part_id
            return True

    def record(self, span: Span, sent: int) -> None:
        """Report the bytes sent of one part, fewer after a retry. Raises `TransferStopped`."""
        with self._lock:
            if self._stopped:
                raise TransferStopped
            self._done += sent - self._sent.get(span.start, 0)
            self._sent[span.start] = sent
            if self._on_progress is not None:
                self._on_progress(self._done, self._total)

    def stop(self) -> None:
        """Make each part in progress raise `TransferStopped` with its next block."""
        self._stopped = True
