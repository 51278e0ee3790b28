"""What `verify` reports."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Violation:
    """One finding of `verify`. Class A: a promise was broken; B: a leak that a sweep mends; C: cosmetic."""

    invariant: str
    severity: str
    subject: str
    evidence: str
    remedy: str


@dataclass(slots=True)
class VerifyReport:
    """What `verify` looked at and found."""

    files: int = 0
    bytes: int = 0
    blobs: int = 0
    violations: list[Violation] = field(default_factory=list)
