"""Tokens by an offline vocabulary (package `quicktok-v1`), with the place of each one in the text.

A token is a sequence of bytes of UTF-8, and a boundary between two tokens may lie inside a character.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum

import quicktok  # type: ignore[import-untyped]

MIN_BLOCK = 64 * 1024
"""Characters of a block before its end is looked for."""
MAX_BLOCK = 128 * 1024
"""Characters of a block that has no safe end."""
_SAFE_END = re.compile(
    r"[A-Za-z0-9\u00df-\u00f6\u0410-\u044f\u3041-\u3096\u4e00-\u9fff\uac00-\ud7a3](?=[\s,.;:!?)、。，])"
)
"""A letter or digit before white space or punctuation.

The patterns of both vocabularies cut the text here wherever it begins or ends: no alternative matches on from a letter
or digit to these characters, and none looks behind. So the two sides have the same tokens apart as together.
"""

_CONTINUATION = bytes(range(0x80, 0xC0))
"""What UTF-8 has for the second and later bytes of a character."""


class Vocabulary(StrEnum):
    """The name of a vocabulary."""

    O200K = "o200k_base"
    CL100K = "cl100k_base"


class Tokenizer:
    """One vocabulary, loaded."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        encoding = quicktok.get_encoding(vocabulary.value)
        self._encode: Callable[[str], list[int]] = encoding.encode_ordinary
        tokens = [encoding.decode_single_token_bytes(token) for token in range(len(encoding.token_byte_values()))]
        self.characters = bytes([len(token.translate(None, _CONTINUATION)) for token in tokens])
        """Token -> number of the characters that begin in it, at most 255."""
        self.inside = bytes([token[0] in _CONTINUATION for token in tokens])
        """Token -> 1 if it begins inside a character."""

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text without lone surrogates; names of special tokens are text."""
        return self._encode(text)


@functools.cache
def tokenizer(vocabulary: Vocabulary = Vocabulary.O200K) -> Tokenizer:
    """Load a vocabulary (about 70 MB of memory, 0.5 s), once."""
    return Tokenizer(vocabulary)


def blocks(pieces: Iterable[str]) -> Iterator[str]:
    """Join and cut a stream of text to blocks that can be encoded one by one.

    The cuts depend on the text only, not on its pieces. The tokens are those of the whole text, except where more than
    64 Ki characters have no safe end: there a block of `MAX_BLOCK` characters is cut anywhere.
    """
    buffer: list[str] = []
    size = 0
    for piece in pieces:
        buffer.append(piece)
        size += len(piece)
        if size <= MAX_BLOCK:
            continue
        text = "".join(buffer)
        start = 0
        while len(text) - start > MAX_BLOCK:
            end = _end(text, start)
            yield text[start:end]
            start = end
        buffer = [text[start:]]
        size = len(buffer[0])
    if size:
        yield "".join(buffer)


def _end(text: str, start: int) -> int:
    found = _SAFE_END.search(text, start + MIN_BLOCK, start + MAX_BLOCK)
    return found.end() if found else start + MAX_BLOCK
