"""The task that extracts the text of a document in a sandbox: frames of a token count and a piece of the text."""

import io
from collections import deque
from collections.abc import Iterator
from typing import Any, BinaryIO

from filestead.extraction.chunking import MAX_CHUNK_TOKENS, StaticStrategy, chunks
from filestead.extraction.errors import ExtractionError
from filestead.extraction.extract import extract_text
from filestead.extraction.preload import preload
from filestead.references.frames import frame
from filestead.sandbox.tasks import rejects


def prepare() -> None:
    """Load what the task needs, once in the fork server: the task itself cannot import anything."""
    preload()
    sample = io.BytesIO(b"A sample, of which each step loads what it needs. " * 50)
    deque(extract(sample, {"filename": "sample.txt", "max_tokens": 10_000}), maxlen=0)


@rejects(ExtractionError)
def extract(file: BinaryIO, arguments: dict[str, Any]) -> Iterator[bytes]:
    """Yield the text of one document. Its windows do not overlap, so that together they are the text."""
    pieces = extract_text(file, arguments["filename"])
    strategy = StaticStrategy(MAX_CHUNK_TOKENS, 0)
    for chunk in chunks(pieces, strategy, max_tokens=arguments["max_tokens"]):
        yield frame(chunk.tokens, chunk.text)
