"""Document blocks: which attachment and ordinal each chunk number of a segment is, and how long the chunk is.

Payload of a block with R rows: attachment int64[R], ordinal int32[R], length in terms uint16[R]. Every block but the
last has `BLOCK_ROWS` rows; row n of a segment is row `n % BLOCK_ROWS` of block `n // BLOCK_ROWS`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filestead.search.encoding import DOCUMENTS, HEADER_BYTES, DamagedSegment, check, seal
from filestead.search.postings import Lengths

BLOCK_ROWS = 1_024
"""Rows of a block: 14 KiB, about as much as a bucket, because a search reads a block for each of its best chunks."""

_ROW_BYTES = 14


@dataclass(frozen=True, slots=True)
class Documents:
    """Rows of chunks, by chunk number."""

    attachments: NDArray[np.int64]
    ordinals: NDArray[np.int32]
    lengths: Lengths

    def blocks(self) -> list[bytes]:
        """The rows as document blocks."""
        return [
            seal(
                DOCUMENTS,
                self.attachments[first : first + BLOCK_ROWS].astype("<i8").tobytes()
                + self.ordinals[first : first + BLOCK_ROWS].astype("<i4").tobytes()
                + self.lengths[first : first + BLOCK_ROWS].astype("<u2").tobytes(),
            )
            for first in range(0, len(self.attachments), BLOCK_ROWS)
        ]


def decode_block(data: bytes) -> Documents:
    """The rows of a block. Raises `DamagedSegment` if it is not whole."""
    check(DOCUMENTS, data)
    rows, rest = divmod(len(data) - HEADER_BYTES, _ROW_BYTES)
    if rest:
        raise DamagedSegment(f"a document block of {len(data)} bytes")
    return Documents(
        np.frombuffer(data, "<i8", rows, HEADER_BYTES),
        np.frombuffer(data, "<i4", rows, HEADER_BYTES + 8 * rows),
        np.frombuffer(data, "<u2", rows, HEADER_BYTES + 12 * rows),
    )


def decode_blocks(blocks: Sequence[bytes]) -> Documents:
    """The rows of all blocks of a segment, in their order."""
    decoded = [decode_block(block) for block in blocks]
    if any(len(block.attachments) != BLOCK_ROWS for block in decoded[:-1]):
        raise DamagedSegment("a document block before the last is not full")
    none = Documents(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.uint16))
    return Documents(
        np.concatenate([none.attachments, *(block.attachments for block in decoded)]),
        np.concatenate([none.ordinals, *(block.ordinals for block in decoded)]),
        np.concatenate([none.lengths, *(block.lengths for block in decoded)]),
    )
