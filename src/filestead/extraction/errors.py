"""Why a document has no text, in the codes and texts of `last_error` that were recorded from the hosted service."""

from enum import Enum
from typing import ClassVar


class ExtractionError(Exception):
    """Base class; `kind` is the code of `last_error`, and the message its text."""

    kind: ClassVar[str]


class UnsupportedFile(ExtractionError):
    """The extension is not in the table `formats.FORMATS`."""

    kind = "unsupported_file"

    def __init__(self) -> None:
        super().__init__("The file type is not supported.")


class Reason(Enum):
    """Why a file of a supported type is invalid; the value is the recorded text."""

    PARSE = "The file could not be parsed."
    TOO_LARGE = "The file could not be parsed because it is too large."
    EMPTY = "The file could not be parsed because it is empty."


class InvalidFile(ExtractionError):
    """The content is damaged, encrypted, empty or too large; `detail` is for the log."""

    kind = "invalid_file"

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.detail = detail


def unparsable(detail: str) -> InvalidFile:
    """The file could not be parsed; `detail` says in a few words where."""
    return InvalidFile(Reason.PARSE, detail)
