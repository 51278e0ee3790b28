"""The terms of a text. Documents and queries go through the same function, or they would not meet.

1. Unicode NFKC; soft hyphens and joiners are removed.
2. A word is a run of letters, digits, combining marks and underscores of any script. Scripts that are written without
   spaces give overlapping pairs of characters (bigrams), a single character gives itself.
3. An identifier (`snake_case`, `camelCase`) gives its whole and its parts.
4. Case is folded; Latin letters lose their diacritics; stop words are dropped; Snowball's English stemmer takes off
   endings.
"""

import itertools
import re
import threading
import unicodedata
from collections.abc import Iterator
from functools import cache

from Stemmer import Stemmer

from filestead.search.stop_words import STOP_WORDS

_CACHED_WORDS = 100_000
_LONGEST_CACHED = 40
"""Characters. Longer words are mostly data (Base64, hashes): they are not cached and not split into parts."""

_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1100, 0x11FF),  # Hangul Jamo
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # iteration mark, closing mark, zero
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3105, 0x31BF),  # Bopomofo, Hangul compatibility Jamo
    (0x31F0, 0x31FF),  # Katakana extensions
    (0x3400, 0x4DBF),  # Han, extension A
    (0x4E00, 0x9FFF),  # Han
    (0xAC00, 0xD7AF),  # Hangul syllables: words have spaces, but their endings are many
    (0xF900, 0xFAFF),  # Han, compatibility
    (0x1B000, 0x1B16F),  # Kana supplements
    (0x20000, 0x323AF),  # Han, extensions B to H
)
_UNSPACED_CLASS = "".join(f"{chr(first)}-{chr(last)}" for first, last in _UNSPACED)
_UNSPACED_RUN = re.compile(f"([{_UNSPACED_CLASS}]+)")
_ASCII_WORD = re.compile(r"[A-Za-z0-9_]+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^A-Za-z0-9_]+")
_COMPOUND = re.compile(r"[^_]_+[^_]|[a-z][A-Z]|[A-Z][A-Z][a-z]")
_IGNORED = re.compile("[\u00ad\u200c\u200d\u2060]")
"""Soft hyphen, zero-width non-joiner and joiner, word joiner: invisible within a word."""
_LATIN_WITH_MARKS = re.compile(r"([a-z])[\u0300-\u036f]+")


def terms(text: str) -> list[str]:
    """The terms of a text in their order, repeated as often as they occur. Safe to call from any thread."""
    if text.isascii():
        words = _ASCII_WORD.findall(text)
    else:
        words = _unicode_word().findall(unicodedata.normalize("NFKC", _IGNORED.sub("", text)))
    analyser = _of_this_thread()
    known = analyser.known
    found: list[str] = []
    for word in words:
        word_terms = known.get(word)
        found += analyser.analyse(word) if word_terms is None else word_terms
    return found


class _Analyser:
    """A stemmer, which is not thread-safe, and the words whose terms are known."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[str, ...]] = {}
        self._stem = Stemmer("english", 0).stemWord  # 0: no cache of its own

    def analyse(self, word: str) -> tuple[str, ...]:
        """The terms of a word that is not known yet."""
        found = tuple(self._terms(word))
        if len(word) <= _LONGEST_CACHED:
            if len(self.known) >= _CACHED_WORDS:
                self.known.clear()
            self.known[word] = found
        return found

    def _terms(self, word: str) -> Iterator[str]:
        runs = (word,) if word.isascii() else _UNSPACED_RUN.split(word)
        for position, run in enumerate(runs):
            if position % 2:
                yield from _bigrams(run)
            else:
                for plain in (run.strip("_"), *_parts(run)):
                    folded = _fold(plain)
                    if folded and folded not in STOP_WORDS:
                        yield self._stem(folded)


def _parts(word: str) -> list[str]:
    """The parts of an identifier; nothing for a plain word."""
    if word.islower() and "_" not in word:
        return []
    if len(word) > _LONGEST_CACHED or not _COMPOUND.search(word):
        return []
    return _PART.findall(word)


def _bigrams(run: str) -> Iterator[str]:
    run = run.casefold()
    if len(run) == 1:
        yield run
    for start in range(len(run) - 1):
        yield run[start : start + 2]


def _fold(word: str) -> str:
    word = word.casefold()
    if word.isascii():
        return word
    return unicodedata.normalize("NFC", _LATIN_WITH_MARKS.sub(r"\1", unicodedata.normalize("NFD", word)))


@cache
def _unicode_word() -> re.Pattern[str]:
    r"""`\w` lacks combining marks, without which the words of most Indic scripts would fall apart."""
    codes = range(0x0300, 0x1F000)
    kinds = itertools.groupby(codes, key=lambda code: unicodedata.category(chr(code)).startswith("M"))
    runs = [list(run) for is_mark, run in kinds if is_mark]
    return re.compile(f"[\\w{''.join(f'{chr(run[0])}-{chr(run[-1])}' for run in runs)}]+")


_threads = threading.local()


def _of_this_thread() -> _Analyser:
    analyser: _Analyser | None = getattr(_threads, "analyser", None)
    if analyser is None:
        analyser = _threads.analyser = _Analyser()
    return analyser
