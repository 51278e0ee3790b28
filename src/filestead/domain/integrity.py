"""The report of `verify`."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Violation:
    """One finding of `verify`. Class A: a guarantee is violated; B: a leak that a sweep repairs; C: cosmetic."""

    invariant: str
    severity: str
    subject: str
    evidence: str
    remedy: str


@dataclass(slots=True)
class VerifyReport:
    """What `verify` has checked and found."""

    files: int = 0
    bytes: int = 0
    blobs: int = 0
    violations: list[Violation] = field(default_factory=list)
