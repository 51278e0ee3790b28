"""Byte pair encoding of words, for vocabularies in the JSON format of the library `tokenizers`.

Texts are encoded word by word, which merges never cross, and words are remembered: English has few. Characters outside
the vocabulary are encoded as their bytes. Source of the format: Sennrich, Haddow and Birch: Neural Machine Translation
of Rare Words with Subword Units (ACL 2016); SentencePiece with byte fallback.
"""

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
        self._none = len(self._ranks)
        self._known = {token[1:]: (number,) for token, number in self._ids.items() if token[0] == SPACE and token[1:]}
        """Words that are one token."""
        self._words: dict[str, tuple[int, ...]] = dict(self._known)

    def encode(self, text: str) -> list[int]:
        """The numbers of the tokens of a text, without marks of its beginning and end."""
        found: list[int] = []
        words = self._words
        for word in text.split():
            numbers = words.get(word)
            found += self._encode(word) if numbers is None else numbers
        return found

    def numbers_of(self, condition: Callable[[str], bool]) -> list[int]:
        """The numbers of the tokens that meet a condition, those for single bytes left out."""
        return [number for token, number in self._ids.items() if not token.startswith("<0x") and condition(token)]

    def _encode(self, word: str) -> tuple[int, ...]:
        if len(word) > WORD_CHARACTERS:
            starts = range(0, len(word), WORD_CHARACTERS)
            parts = [self._merged(SPACE * (not start) + word[start : start + WORD_CHARACTERS]) for start in starts]
            return tuple(itertools.chain.from_iterable(parts))
        if len(self._words) >= REMEMBERED_WORDS:
            self._words = dict(self._known)
        numbers = self._words[word] = self._merged(SPACE + word)
        return numbers

    def _merged(self, word: str) -> tuple[int, ...]:
        """The tokens of a word: neighbours are merged, the pair of the lowest rank first, until none has a rank."""
        parts = list(word)
        rank_of, none = self._ranks.get, self._none
        ranks = [rank_of(pair, none) for pair in itertools.pairwise(parts)]
        while ranks and (best := min(ranks)) < none:
            at = ranks.index(best)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
            del ranks[at]
            if at > 0:
                ranks[at - 1] = rank_of((parts[at - 1], parts[at]), none)
            if at < len(ranks):
                ranks[at] = rank_of((parts[at], parts[at + 1]), none)
        return tuple(number for part in parts for number in self._numbers(part))

    def _numbers(self, part: str) -> list[int]:
        if part in self._ids:
            return [self._ids[part]]
        return [self._ids[f"<0x{byte:02X}>"] for byte in part.encode(errors="replace")]
