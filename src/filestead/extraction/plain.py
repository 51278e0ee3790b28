"""Plain text: text, code, Markdown and JSON, unchanged except for the byte order mark.

UTF-8, or UTF-16 with a byte order mark or with the NUL pattern of mostly ASCII text. Any other byte sequence is
invalid: bytes that do not decode, lone surrogates, and NUL, which PostgreSQL cannot store.
"""

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from filestead.extraction.errors import unparsable

BLOCK_BYTES = 64 * 1024
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_UTF32_LE = codecs.BOM_UTF32_LE
"""Begins with the mark of UTF-16; as UTF-16 it would decode to text with NULs."""
_NUL_SHARE = 5
"""Without a mark, one byte in this many of one half of the pairs must be NUL, and none of the other."""


def extract(file: BinaryIO) -> Iterator[str]:
    """Yield the text in pieces of at most `BLOCK_BYTES` characters. Raises `InvalidFile`."""
    block = file.read(BLOCK_BYTES)
    encoding, mark = detect_encoding(block)
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    block = block[mark:]
    while True:
        final = not block
        try:
            text = decoder.decode(block, final)
        except UnicodeDecodeError as error:
            raise unparsable(f"not {encoding}: {error.reason}") from None
        if "\0" in text:
            raise unparsable("a NUL character")
        if text:
            yield text
        if final:
            return
        block = file.read(BLOCK_BYTES)


def detect_encoding(start: bytes) -> tuple[str, int]:
    """Return the encoding of a file that begins with `start`, and the length of its byte order mark."""
    if start.startswith(_UTF32_LE):
        raise unparsable("UTF-32")
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return encoding, len(mark)
    even, odd = start[::2].count(0), start[1::2].count(0)
    if odd and not even and odd * _NUL_SHARE >= len(start) // 2:
        return "utf-16-le", 0
    if even and not odd and even * _NUL_SHARE >= len(start) // 2:
        return "utf-16-be", 0
    return "utf-8", 0
