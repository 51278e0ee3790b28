"""Texts to index and queries to search for, of the words of the project's own pages: real words have real tokens."""

import random
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
BYTES_PER_CHUNK = 2_400
"""Of such a text: a chunk has 800 tokens, of which it shares 400 with the next."""


class Texts:
    """Texts and queries that are the same in each run; words are as frequent as in a natural text (Zipf)."""

    def __init__(self) -> None:
        pages = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
        found = Counter(word for page in pages for word in re.findall("[a-z]{3,}", page.read_text().lower()))
        self._words = [word for word, _ in found.most_common()]
        self._weights = [1 / (rank + 3) for rank in range(len(self._words))]
        self._dice = random.Random(1)

    def text(self, size: int) -> bytes:
        """A text of so many bytes."""
        words = self._dice.choices(self._words, self._weights, k=size // 4)
        return " ".join(words)[:size].encode()

    def text_of_chunks(self, chunks: int) -> bytes:
        """A text that has about so many chunks with the default strategy."""
        return self.text(chunks * BYTES_PER_CHUNK)

    def queries(self, number: int) -> list[str]:
        """Queries of four words that are neither among the most frequent nor rare."""
        return [" ".join(self._dice.choices(self._words[50:1_500], k=4)) for _ in range(number)]
