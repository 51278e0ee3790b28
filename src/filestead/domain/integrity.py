"""The report of `verify`, and which of its findings a repair may mend."""

from dataclasses import dataclass, field
from enum import StrEnum


class Repair(StrEnum):
    """What `verify --repair` does about a finding. Nothing that a file or a batch needs is ever changed."""

    SWEEP = "sweep"
    """A sweep deletes it."""
    DELETE = "delete"
    """Nothing refers to it, and no sweep looks for it: it is deleted."""
    RECOMPUTE = "recompute"
    """A sum that is kept beside its rows is computed anew."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One finding of `verify`. Class A: a guarantee is violated; B: a leak that a sweep repairs; C: cosmetic."""

    invariant: str
    severity: str
    subject: str
    evidence: str
    remedy: str
    repair: Repair | None = None
    """None if it is left to the operator."""


@dataclass(slots=True)
class VerifyReport:
    """What `verify` has checked and found."""

    files: int = 0
    bytes: int = 0
    blobs: int = 0
    violations: list[Violation] = field(default_factory=list)
