"""The supported extensions, which are those that the hosted service documents for file search."""

import posixpath
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import BinaryIO

from filestead.extraction import docx, html, pdf, plain, pptx

Extractor = Callable[[BinaryIO], Iterator[str]]

_PLAIN = ["c", "cpp", "cs", "css", "go", "java", "js", "json", "md", "php", "py", "rb", "sh", "tex", "ts", "txt"]

FORMATS: MappingProxyType[str, Extractor] = MappingProxyType(
    dict.fromkeys(_PLAIN, plain.extract)
    | {"html": html.extract, "docx": docx.extract, "pptx": pptx.extract, "pdf": pdf.extract}
)
"""Extension -> extractor. `.doc` is documented too, but no maintained parser reads it: it is unsupported here."""


def extension_of(filename: str) -> str:
    """Return the extension in lower case without its dot, or "". The hosted service refuses upper case."""
    return posixpath.splitext(filename)[1][1:].lower()
