"""PDF by pypdf: the text of the pages in order, a blank line between pages.

An encrypted file is read if its user password is empty, as viewers do. Not extracted: annotations, values of
forms, attachments, and text in images, so that a scanned document is empty.
"""

import logging
from collections.abc import Iterator
from typing import BinaryIO

import pypdf

from filestead.extraction.errors import unparsable

PAGES_IN_MEMORY = 16
"""The parser keeps each object it has read; after this many pages they are dropped, and shared ones are read again."""

logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns about damaged objects


def extract(file: BinaryIO) -> Iterator[str]:
    """Yield the text, one piece for each page. Raises `InvalidFile`, or what pypdf raises for damaged files."""
    reader = pypdf.PdfReader(file)
    if reader.is_encrypted and not reader.decrypt(""):
        raise unparsable("encrypted")
    for number, page in enumerate(reader.pages, 1):
        yield page.extract_text()
        yield "\n\n"
        if number % PAGES_IN_MEMORY == 0:
            reader.resolved_objects.clear()
