"""A planted bug: a change of the code that breaks a promise, and the tests that must notice it."""

from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path("filestead")


@dataclass(frozen=True, slots=True)
class Edit:
    """A replacement of text in one module."""

    module: str
    """Below the package."""
    old: str
    """Occurs exactly once."""
    new: str

    def apply(self, source: Path) -> None:
        """Make the change in the copy `source` of `src/`. Raises `LookupError` unless the text occurs exactly once."""
        path = source / PACKAGE / self.module
        text = path.read_text()
        if (count := text.count(self.old)) != 1:
            raise LookupError(f"{self.module} has {count} times: {self.old!r}")
        path.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True, slots=True)
class Bug:
    """One way to break a promise."""

    id: str
    """`B-01` to `B-30` are those of the catalogue of planted bugs; what does not apply here has no entry."""
    promise: str
    """As in `tests/support/promises.py`."""
    what: str
    """One sentence."""
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    """Test ids. At least one of them must fail, with an assertion."""
    error: str = ""
    """The name of an exception with which they may fail instead, of operations that must work."""
