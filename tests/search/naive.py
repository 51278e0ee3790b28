"""BM25 as the textbooks write it, in plain Python over lists of terms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

K1 = 2.0
B = 0.75


@dataclass(frozen=True)
class Chunk:
    attachment: int
    ordinal: int
    terms: tuple[str, ...]

    @property
    def key(self) -> tuple[int, int]:
        return (self.attachment, self.ordinal)


def scores(chunks: Sequence[Chunk], query: Sequence[str]) -> dict[tuple[int, int], float]:
    """Score within 0..1 of each chunk that contains a term of the query."""
    if not chunks:
        return {}
    average = max(1, sum(len(chunk.terms) for chunk in chunks)) / len(chunks)
    idf = {}
    for term in query:
        df = sum(term in chunk.terms for chunk in chunks)
        idf[term] = math.log(1 + (len(chunks) - df + 0.5) / (df + 0.5))
    whole = sum(idf[term] for term in query)
    found = {}
    for chunk in chunks:
        score = 0.0
        for term in query:
            frequency = min(chunk.terms.count(term), 255)
            norm = K1 * (1 - B + B * len(chunk.terms) / average)
            score += idf[term] * frequency * (K1 + 1) / (frequency + norm)
        if score:
            found[chunk.key] = score / whole / (score / whole + 1) * (K1 + 2) / (K1 + 1)
    return found
