"""The task of indexing one document, which runs in a sandbox: text, chunks, terms, and the index segment.

Results, each a frame that begins with its kind: batches of chunks while they come, and in the end the segment.
"""

import io
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import msgspec

from filestead.extraction.chunking import StaticStrategy, chunks
from filestead.extraction.errors import ExtractionError
from filestead.extraction.extract import extract_text
from filestead.extraction.preload import preload
from filestead.sandbox.tasks import rejects
from filestead.search.analysis import terms
from filestead.search.segments import SegmentBuilder

CHUNKS_PER_FRAME = 200


class ChunkRow(msgspec.Struct, array_like=True):
    """A chunk on its way to the worker."""

    text: str
    overlap: int
    tokens: int


class SegmentParts(msgspec.Struct, array_like=True):
    """The index segment of the document; `text_bytes` is the size of the whole text in UTF-8."""

    text_bytes: int
    chunks: int
    length: int
    postings: int
    buckets: list[bytes]
    documents: list[bytes]


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the worker says of the document."""

    attachment: int
    filename: str
    chunk_tokens: int
    overlap_tokens: int
    max_tokens: int


CHUNKS, SEGMENT = b"c", b"s"
_encoder = msgspec.msgpack.Encoder()


def prepare() -> None:
    """Load what the task needs, once in the fork server: the task itself cannot import anything."""
    preload()
    sample = Arguments(1, "sample.txt", 100, 50, 1_000)
    deque(
        index_document(io.BytesIO(b"A sample, of which each step loads what it needs. " * 50), asdict(sample)), maxlen=0
    )


@rejects(ExtractionError)
def index_document(file: BinaryIO, arguments: dict[str, Any]) -> Iterator[bytes]:
    """Yield the results of one document. Raises `ExtractionError`, of which the worker makes `last_error`."""
    document = Arguments(**arguments)
    builder = SegmentBuilder()
    batch: list[ChunkRow] = []
    text_bytes = 0
    strategy = StaticStrategy(document.chunk_tokens, document.overlap_tokens)
    pieces = extract_text(file, document.filename)
    for ordinal, chunk in enumerate(chunks(pieces, strategy, max_tokens=document.max_tokens)):
        builder.add(document.attachment, ordinal, terms(chunk.text))
        text_bytes += len(chunk.text[chunk.overlap :].encode())
        batch.append(ChunkRow(chunk.text, chunk.overlap, chunk.tokens))
        if len(batch) == CHUNKS_PER_FRAME:
            yield CHUNKS + _encoder.encode(batch)
            batch = []
    if batch:
        yield CHUNKS + _encoder.encode(batch)
    segment = builder.build()
    counts = segment.counts
    parts = SegmentParts(text_bytes, counts.chunks, counts.length, counts.postings, segment.buckets, segment.documents)
    yield SEGMENT + _encoder.encode(parts)
