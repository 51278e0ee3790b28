"""PDF by pypdf: the text of the pages in order, a blank line between pages.

An encrypted file is read if its user password is empty, as viewers do. Not extracted: annotations, values of
forms, attachments, and text in images, so that a scanned document is empty.
"""

import logging
from collections.abc import Iterator
from typing import BinaryIO

import pypdf

from filestead.extraction.errors import unparsable

logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns about each damaged object


def extract(file: BinaryIO) -> Iterator[str]:
    """Yield the text, one piece for each page. Raises `InvalidFile`, or what pypdf raises for damaged files."""
    reader = pypdf.PdfReader(file)
    if reader.is_encrypted and not reader.decrypt(""):
        raise unparsable("encrypted")
    for page in reader.pages:
        yield page.extract_text()
        yield "\n\n"
        reader.resolved_objects.clear()
