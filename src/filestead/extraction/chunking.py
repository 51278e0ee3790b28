"""The static chunking strategy: windows of tokens that overlap, cut where a token and a character begin."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from filestead.extraction.errors import InvalidFile, Reason
from filestead.extraction.tokens import Vocabulary, blocks, tokenizer

MIN_CHUNK_TOKENS = 100
MAX_CHUNK_TOKENS = 4096
CHUNK_TOKENS = 800
OVERLAP_TOKENS = 400
FILE_TOKENS = 2_000_000


@dataclass(frozen=True, slots=True)
class Chunk:
    """A window of the text."""

    text: str
    tokens: int
    overlap: int
    """The number of characters at the beginning that are also the end of the chunk before."""


@dataclass(frozen=True, slots=True)
class StaticStrategy:
    """The sizes of windows in tokens. Raises `ValueError` outside of the limits of the API."""

    max_chunk_size_tokens: int = CHUNK_TOKENS
    chunk_overlap_tokens: int = OVERLAP_TOKENS

    def __post_init__(self) -> None:
        if not MIN_CHUNK_TOKENS <= self.max_chunk_size_tokens <= MAX_CHUNK_TOKENS:
            raise ValueError(f"max_chunk_size_tokens is not within {MIN_CHUNK_TOKENS} to {MAX_CHUNK_TOKENS}")
        if not 0 <= self.chunk_overlap_tokens <= self.max_chunk_size_tokens // 2:
            raise ValueError("chunk_overlap_tokens is not within 0 and half of max_chunk_size_tokens")


def chunks(
    pieces: Iterable[str],
    strategy: StaticStrategy | None = None,
    *,
    vocabulary: Vocabulary = Vocabulary.O200K,
    max_tokens: int = FILE_TOKENS,
) -> Iterator[Chunk]:
    """Yield the windows of a stream of text.

    `"".join(chunk.text[chunk.overlap:] for chunk in ...)` is the whole text. Where a boundary lies inside a character,
    a window ends before the character and the next one starts after it, which moves each boundary by at most three
    tokens: windows have at most `max_chunk_size_tokens`, and overlap by at most `chunk_overlap_tokens`.

    Raises `InvalidFile` (too large) as soon as more than `max_tokens` are seen; chunks that came before it must be
    discarded.
    """
    windows = _Windows(strategy or StaticStrategy(), vocabulary)
    total = 0
    for block in blocks(pieces):
        total += windows.add(block)
        if total > max_tokens:
            raise InvalidFile(Reason.TOO_LARGE, f"more than {max_tokens} tokens")
        yield from windows.complete()
    yield from windows.rest()


class _Windows:
    """The text from the start of the next window on, its tokens, and where each of them begins in the text."""

    def __init__(self, strategy: StaticStrategy, vocabulary: Vocabulary) -> None:
        self._size = strategy.max_chunk_size_tokens
        self._overlap = strategy.chunk_overlap_tokens
        self._tokenizer = tokenizer(vocabulary)
        self._text = ""
        self._tokens: list[int] = []
        self._repeated = 0
        """Characters at the start of the next window that are the end of the last one."""

    def add(self, block: str) -> int:
        """Append a block, and return the number of its tokens."""
        tokens = self._tokenizer.encode(block)
        self._tokens += tokens
        self._text += block
        return len(tokens)

    def complete(self) -> Iterator[Chunk]:
        """Yield the windows that are certainly not the last one, and drop their text."""
        counts = self._tokenizer.characters
        offsets = list(accumulate(map(counts.__getitem__, self._tokens), initial=0))
        start = 0
        while start + self._size < len(self._tokens):
            end = self._before(start + self._size)
            yield Chunk(self._text[offsets[start] : offsets[end]], end - start, self._repeated)
            start = self._after(end - self._overlap, end)
            self._repeated = offsets[end] - offsets[start]
        self._text = self._text[offsets[start] :]
        del self._tokens[:start]

    def rest(self) -> Iterator[Chunk]:
        """Yield the last window."""
        if self._tokens:
            yield Chunk(self._text, len(self._tokens), self._repeated)

    def _before(self, boundary: int) -> int:
        while self._tokenizer.inside[self._tokens[boundary]]:
            boundary -= 1
        return boundary

    def _after(self, boundary: int, end: int) -> int:
        while boundary < end and self._tokenizer.inside[self._tokens[boundary]]:
            boundary += 1
        return boundary
