"""The task of an index, without the index: text and chunks of one document."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from filestead.extraction.chunking import FILE_TOKENS, StaticStrategy, chunks
from filestead.extraction.errors import InvalidFile, UnsupportedFile
from filestead.extraction.extract import extract_text
from filestead.sandbox.tasks import rejects


@rejects(UnsupportedFile, InvalidFile)
def document_chunks(file: BinaryIO, arguments: Any) -> Iterator[bytes]:
    """Yield `[tokens, overlap, text]` of each chunk; with `count`, only the totals of chunks, tokens and characters."""
    strategy = StaticStrategy(*arguments.get("strategy", (800, 400)))
    found = chunks(
        extract_text(file, arguments["filename"]), strategy, max_tokens=arguments.get("max_tokens", FILE_TOKENS)
    )
    if not arguments.get("count"):
        for chunk in found:
            yield json.dumps([chunk.tokens, chunk.overlap, chunk.text]).encode()
        return
    totals = [0, 0, 0]
    for chunk in found:
        totals[0] += 1
        totals[1] += chunk.tokens
        totals[2] += len(chunk.text) - chunk.overlap
    yield json.dumps(totals).encode()
