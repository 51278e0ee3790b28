"""`extract_text`: the text of a document in a stream of pieces."""

import errno
import re
from collections.abc import Iterator
from typing import BinaryIO

from filestead.extraction.errors import ExtractionError, InvalidFile, Reason, UnsupportedFile, unparsable
from filestead.extraction.formats import FORMATS, Extractor, extension_of

_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
"""What PostgreSQL or UTF-8 cannot store."""
_NOT_ABOUT_THE_FILE = (errno.EIO, errno.EPERM, errno.EACCES)


def extract_text(file: BinaryIO, filename: str) -> Iterator[str]:
    """Yield the text of a document in pieces, as it is read.

    `file` must be seekable and at its beginning; `filename` selects the format by its extension. Plain text and HTML
    take constant memory. Pieces end anywhere between two characters. NULs and lone surrogates of other formats than
    plain text are replaced by U+FFFD.

    Raises `UnsupportedFile` before the first piece, and `InvalidFile` at any piece: the caller must discard what it
    received. `OSError` for a file that cannot be read and `MemoryError` pass through.
    """
    extractor = FORMATS.get(extension_of(filename))
    if extractor is None:
        raise UnsupportedFile
    return _pieces(file, extractor)


def _pieces(file: BinaryIO, extractor: Extractor) -> Iterator[str]:
    empty = True
    try:
        for piece in extractor(file):
            if piece:
                empty = empty and not piece.strip()
                yield _NOT_TEXT.sub("\N{REPLACEMENT CHARACTER}", piece)
    except (ExtractionError, MemoryError):
        raise
    except OSError as error:
        if error.errno in _NOT_ABOUT_THE_FILE:
            raise
        raise unparsable(f"{type(error).__name__}: {error}") from error
    except Exception as error:  # whatever a parser raises for a damaged file
        raise unparsable(f"{type(error).__name__}: {error}") from error
    if empty:
        raise InvalidFile(Reason.EMPTY)
