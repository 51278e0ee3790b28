"""Histories of concurrent operations on files, and whether they are linearizable: the algorithm of Wing and Gong.

A file is absent, then present, then deleted for ever. Each file is a register of its own, so that a history is
linearizable if the operations on each of its files are. An operation whose answer is not known may have had its effect
at any time from its beginning on, or none.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["create", "read", "delete"]
State = Literal["absent", "present", "deleted"]
FOREVER = float("inf")

TRANSITIONS: dict[tuple[Kind, str], dict[State, State]] = {
    ("create", "done"): {"absent": "present", "present": "present"},
    ("create", "spent"): {"deleted": "deleted"},
    ("read", "found"): {"present": "present"},
    ("read", "missing"): {"absent": "absent", "deleted": "deleted"},
    ("delete", "done"): {"present": "deleted"},
    ("delete", "missing"): {"absent": "absent", "deleted": "deleted"},
    ("create", "unknown"): {"absent": "present"},
    ("delete", "unknown"): {"present": "deleted"},
}
"""The state after an operation with this outcome, by the state before it; others are impossible.

A creation that is repeated with its idempotency key creates nothing, and is refused once the file is deleted.
"""


@dataclass(slots=True)
class Operation:
    """One request; times in seconds."""

    file: str
    kind: Kind
    client: str
    started: float
    outcome: str = "unknown"
    ended: float = FOREVER


@dataclass(slots=True)
class History:
    """Operations while they are made, by threads."""

    operations: list[Operation] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, file: str, kind: Kind, client: str) -> Operation:
        operation = Operation(file, kind, client, time.monotonic())
        with self._lock:
            self.operations.append(operation)
        return operation

    def by_file(self) -> dict[str, list[Operation]]:
        found: dict[str, list[Operation]] = defaultdict(list)
        for operation in self.operations:
            found[operation.file].append(operation)
        return found


def end(operations: Iterable[Operation], outcome: str) -> None:
    """Note the answer to operations; those that never get one are unknown."""
    now = time.monotonic()
    for operation in operations:
        operation.outcome, operation.ended = outcome, now


def is_linearizable(operations: Sequence[Operation]) -> bool:
    """Whether the operations on one file can be put in an order that explains every outcome.

    The order keeps that of operations of which one ended before the other began.
    """
    relevant = sorted(
        (one for one in operations if (one.kind, one.outcome) in TRANSITIONS), key=lambda one: (one.started, one.ended)
    )
    seen: set[tuple[int, State]] = set()
    stack: list[tuple[int, State]] = [(0, "absent")]
    while stack:
        done, state = stack.pop()
        if (done, state) in seen:
            continue
        seen.add((done, state))
        left = [number for number in range(len(relevant)) if not done >> number & 1]
        first_end = min((relevant[number].ended for number in left), default=FOREVER)
        if first_end == FOREVER:
            return True  # what is left is unknown, and need not have happened
        following = []
        for number in left:
            operation = relevant[number]
            if operation.started > first_end:
                break
            after = TRANSITIONS[operation.kind, operation.outcome].get(state)
            if after == state:  # it fits here and changes nothing: it need not be tried later
                following = [(done | 1 << number, state)]
                break
            if after is not None:
                following.append((done | 1 << number, after))
        stack += following
    return False


def describe(operations: Iterable[Operation]) -> str:
    """The operations on one file, in the order of their beginnings."""
    ordered = sorted(operations, key=lambda one: one.started)
    origin = ordered[0].started
    return "\n".join(
        f"{one.started - origin:8.4f} {one.ended - origin:8.4f} {one.client:10} {one.kind} {one.outcome}"
        for one in ordered
    )
