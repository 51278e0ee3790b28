"""The task of indexing documents, which runs in a sandbox: text, chunks, terms, and the index segment.

Results, each a frame that begins with its kind: batches of chunks while they come, each with its vectors if these are
wanted, and in the end the segment. Those of a group of documents begin with the number of the document, and each ends
with a frame of the kind `END` or `REJECTED`.
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
from filestead.search.dense import encode
from filestead.search.segments import SegmentBuilder

CHUNKS_PER_FRAME = 200


class ChunkRow(msgspec.Struct, array_like=True):
    """A chunk on its way to the worker."""

    text: str
    overlap: int
    tokens: int


class VectorRow(msgspec.Struct, array_like=True):
    """Vectors of consecutive chunks of the last frame of chunks; `search.dense` defines the formats."""

    first: int
    chunks: int
    values: bytes
    codes: bytes


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
    embed: bool = False
    """Whether to make vectors with the static vectors."""


CHUNKS, VECTORS, SEGMENT, END, REJECTED = b"c", b"v", b"s", b"e", b"r"
_encoder = msgspec.msgpack.Encoder()


def prepare() -> None:
    """Load what the task needs, once in the fork server: the task itself cannot import anything."""
    preload()
    _index_sample(embed=False)


def prepare_with_vectors() -> None:
    """As `prepare`, with the static vectors."""
    preload()
    _index_sample(embed=True)


def _index_sample(*, embed: bool) -> None:
    sample = Arguments(1, "sample.txt", 100, 50, 1_000, embed)
    text = b"A sample, of which each step loads what it needs. " * 50
    deque(index_document(io.BytesIO(text), asdict(sample)), maxlen=0)


@rejects(ExtractionError)
def index(file: BinaryIO, arguments: dict[str, Any]) -> Iterator[bytes]:
    """Index one document, or those of a `group`, whose contents follow each other in the file."""
    group = arguments.get("group")
    if group is None:
        yield from index_document(file, arguments)
        return
    for number, (size, document) in enumerate(group):
        for frame in _index_one(file.read(size), document):
            yield bytes([number]) + frame


def _index_one(content: bytes, arguments: dict[str, Any]) -> Iterator[bytes]:
    try:
        yield from index_document(io.BytesIO(content), arguments)
    except ExtractionError as error:
        yield REJECTED + _encoder.encode([error.kind, str(error)])
    else:
        yield END


def parse_rejection(frame: bytes) -> tuple[str, str]:
    """The kind and the message of a frame of the kind `REJECTED`."""
    kind, message = msgspec.msgpack.decode(frame[1:], type=tuple[str, str])
    return kind, message


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
            yield from _frames(batch, ordinal + 1 - len(batch), embed=document.embed)
            batch = []
    if batch:
        yield from _frames(batch, ordinal + 1 - len(batch), embed=document.embed)
    segment = builder.build()
    counts = segment.counts
    parts = SegmentParts(text_bytes, counts.chunks, counts.length, counts.postings, segment.buckets, segment.documents)
    yield SEGMENT + _encoder.encode(parts)


def _frames(batch: list[ChunkRow], first: int, *, embed: bool) -> Iterator[bytes]:
    """Frames of chunks, the first of which has the ordinal `first`, and of their vectors."""
    yield CHUNKS + _encoder.encode(batch)
    if embed:
        from filestead.embeddings import local  # noqa: PLC0415 - most servers make no vectors

        vectors = local.load().embed([row.text for row in batch])
        yield VECTORS + _encoder.encode([VectorRow(*block) for block in encode(vectors, first)])
