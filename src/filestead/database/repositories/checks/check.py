"""What a check of `verify` is, and the words that several of them share."""

from typing import NamedTuple

from sqlalchemy import Executable

from filestead.domain.integrity import Repair

REPORT = "report this"
SWEEP = "run `filestead sweep`"
REPAIR = "run `filestead verify --repair`, and report this"


class Check(NamedTuple):
    """A statement that finds rows which should not be there; the first column of a row is the subject."""

    invariant: str
    severity: str
    meaning: str
    """Of a row of the statement."""
    remedy: str
    statement: Executable
    repair: Repair | None = None
