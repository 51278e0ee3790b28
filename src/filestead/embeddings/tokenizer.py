"""Byte pair encoding of words, for vocabularies in the JSON format of the library `tokenizers`.

Texts are encoded word by word, which merges never cross, and words are remembered: English has few. Characters outside
the vocabulary are encoded as their bytes. Source of the format: Sennrich, Haddow and Birch: Neural Machine Translation
of Rare Words with Subword Units (ACL 2016); SentencePiece with byte fallback.
"""

import functools
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPACE = "\u2581"
"""Marks the beginning of a word."""

WORD_CHARACTERS = 48
"""Longer words are cut: the time to encode one grows with the square of its length."""

REMEMBERED_WORDS = 65_536


class Tokenizer:
    """Encodes texts; safe for use by several threads."""

    def __init__(self, path: Path) -> None:
        model: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["model"]
        self._ids: dict[str, int] = model["vocab"]
        self._ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(model["merges"])}
        self._encode = functools.lru_cache(REMEMBERED_WORDS)(self._encode_word)

    def encode(self, text: str) -> list[int]:
        """The numbers of the tokens of a text, without marks of its beginning and end."""
        found: list[int] = []
        for word in text.split():
            if len(word) <= WORD_CHARACTERS:
                found += self._encode(SPACE + word)
            else:
                for start in range(0, len(word), WORD_CHARACTERS):
                    found += self._encode(SPACE * (not start) + word[start : start + WORD_CHARACTERS])
        return found

    def tokens(self) -> list[str]:
        """All tokens, in the order of their numbers: roughly, frequent ones come first."""
        return list(self._ids)

    def numbers_of(self, condition: Callable[[str], bool]) -> list[int]:
        """The numbers of the tokens that meet a condition, those for single bytes left out."""
        return [number for token, number in self._ids.items() if not token.startswith("<0x") and condition(token)]

    def _encode_word(self, word: str) -> tuple[int, ...]:
        if word in self._ids:
            return (self._ids[word],)
        parts = list(word)
        while len(parts) > 1:
            rank, position = min(
                (self._ranks.get((left, right), len(self._ranks)), position)
                for position, (left, right) in enumerate(itertools.pairwise(parts))
            )
            if rank == len(self._ranks):
                break
            parts[position : position + 2] = [parts[position] + parts[position + 1]]
        return tuple(number for part in parts for number in self._numbers(part))

    def _numbers(self, part: str) -> list[int]:
        if part in self._ids:
            return [self._ids[part]]
        return [self._ids[f"<0x{byte:02X}>"] for byte in part.encode(errors="replace")]
