"""Histories of concurrent operations, and whether they are linearizable: the algorithm of Wing and Gong.

Files, uploads in parts and batches are registers of their own, so that a history is linearizable if the operations on
each of them are. An operation whose answer is not known may have had its effect at any time from its beginning on, or
none.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

State = str
Transitions = Mapping[tuple[str, str], Mapping[State, State]]
"""The state after an operation of a kind with an outcome, by the state before it; others are impossible."""

FOREVER = float("inf")
UNKNOWN = "unknown"


def stays(*states: State) -> dict[State, State]:
    """Possible in these states, and changes none of them."""
    return {state: state for state in states}


@dataclass(frozen=True)
class Model:
    """What a client may be told of one subject."""

    start: State
    transitions: Transitions


FILE = Model(
    "absent",
    {
        ("create", "done"): {"absent": "present", **stays("present", "attached")},
        ("create", "spent"): stays("deleted"),
        ("create", UNKNOWN): {"absent": "present"},
        ("read", "found"): stays("present", "attached"),
        ("read", "missing"): stays("absent", "deleted"),
        ("delete", "done"): {"present": "deleted", "attached": "deleted"},
        ("delete", "missing"): stays("absent", "deleted"),
        ("delete", UNKNOWN): {"present": "deleted", "attached": "deleted"},
        ("attach", "done"): {"present": "attached", **stays("attached")},
        ("attach", "missing"): stays("absent", "deleted"),
        ("attach", UNKNOWN): {"present": "attached"},
        ("detach", "done"): {"attached": "present"},
        ("detach", "missing"): stays("absent", "present", "deleted"),
        ("detach", UNKNOWN): {"attached": "present"},
        ("look", "found"): stays("attached"),
        ("look", "missing"): stays("absent", "present", "deleted"),
    },
)
"""A file and its place in one vector store: absent, then present or attached, then deleted for ever.

A creation that is repeated with its idempotency key creates nothing, and is refused once the file is deleted. To look
is to ask the vector store.
"""

UPLOAD = Model(
    "pending",
    {
        ("add", "done"): stays("pending"),
        ("add", "over"): stays("completed", "cancelled"),
        ("complete", "done"): {"pending": "completed", **stays("completed")},
        ("complete", "over"): stays("cancelled"),
        ("complete", UNKNOWN): {"pending": "completed"},
        ("cancel", "done"): {"pending": "cancelled", **stays("cancelled")},
        ("cancel", "over"): stays("completed"),
        ("cancel", UNKNOWN): {"pending": "cancelled"},
        ("read", "found"): stays("completed"),
        ("read", "missing"): stays("pending", "cancelled"),
    },
)
"""An upload in parts; its file is what is read. It is always completed with the same parts, and then by one file."""

BATCH = Model(
    "absent",
    {
        ("create", "running"): {"absent": "running", **stays("running")},
        ("create", "cancelling"): stays("cancelling"),
        ("create", "cancelled"): {"cancelling": "cancelled", **stays("cancelled")},
        ("create", UNKNOWN): {"absent": "running"},
        ("cancel", "cancelling"): {"running": "cancelling", **stays("cancelling")},
        ("cancel", "cancelled"): {"cancelling": "cancelled", **stays("cancelled")},
        ("cancel", UNKNOWN): {"running": "cancelling"},
        ("read", "missing"): stays("absent"),
        ("read", "running"): stays("running"),
        ("read", "cancelling"): stays("cancelling"),
        ("read", "cancelled"): {"cancelling": "cancelled", **stays("cancelled")},
    },
)
"""A batch that never gets a response from its model. Its worker makes `cancelled` of `cancelling`, at any time."""

MODELS = {"file": FILE, "upload": UPLOAD, "batch": BATCH}


@dataclass(slots=True)
class Operation:
    """One request; times in seconds."""

    subject: str
    kind: str
    client: str
    started: float
    outcome: str = UNKNOWN
    ended: float = FOREVER


@dataclass(slots=True)
class History:
    """Operations while they are made, by threads."""

    operations: list[Operation] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, subject: str, kind: str, client: str) -> Operation:
        operation = Operation(subject, kind, client, time.monotonic())
        with self._lock:
            self.operations.append(operation)
        return operation

    def by_subject(self) -> dict[str, list[Operation]]:
        found: dict[str, list[Operation]] = defaultdict(list)
        for operation in self.operations:
            found[operation.subject].append(operation)
        return found


def end(operation: Operation, outcome: str) -> None:
    """Note the answer to an operation; one that never gets an answer is unknown."""
    operation.outcome, operation.ended = outcome, time.monotonic()


def is_linearizable(model: Model, operations: Sequence[Operation]) -> bool:
    """Whether the operations on one subject can be put in an order that explains every outcome.

    The order keeps that of operations of which one ended before the other began. Operations that are not in the model
    say nothing.
    """
    relevant = in_order(model, operations)
    steps = [model.transitions[one.kind, one.outcome] for one in relevant]
    changes_nothing = [all(before == after for before, after in step.items()) for step in steps]
    seen: set[tuple[int, State]] = set()
    stack: list[tuple[int, State]] = [(0, model.start)]
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
        tried: set[str] = set()
        for number in left:
            operation = relevant[number]
            if operation.started > first_end:
                break
            if operation.ended == FOREVER:  # of those alike the first fits wherever a later one does
                if operation.kind in tried:
                    continue
                tried.add(operation.kind)
            after = steps[number].get(state)
            if after is None:
                continue
            if changes_nothing[number]:  # it fits here, so it need not be tried later
                following = [(done | 1 << number, state)]
                break
            following.append((done | 1 << number, after))
        stack += following
    return False


def in_order(model: Model, operations: Iterable[Operation]) -> list[Operation]:
    """The operations that the model knows, in the order of their beginnings."""
    known = [one for one in operations if (one.kind, one.outcome) in model.transitions]
    return sorted(known, key=lambda one: (one.started, one.ended))


def describe(model: Model, operations: Iterable[Operation]) -> str:
    """What the operations on one subject say, a line for each."""
    ordered = in_order(model, operations)
    origin = ordered[0].started
    return "\n".join(
        f"{one.started - origin:8.4f} {one.ended - origin:8.4f} {one.client:10} {one.kind} {one.outcome}"
        for one in ordered
    )
