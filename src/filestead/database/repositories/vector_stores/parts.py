"""Ids of chunks and of blocks: the number of the attachment or segment in the upper bits, and one of the part."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_

from filestead.database.engines.statements import int_param
from filestead.database.tables import PART_BITS
from filestead.domain.vector_stores.embeddings import VectorBlock


def part_id(whole: int, part: int) -> int:
    """The id of a chunk of an attachment, or of a block of a segment."""
    return (whole << PART_BITS) + part


def split_part_id(id_: int) -> tuple[int, int]:
    """The inverse of `part_id`."""
    return id_ >> PART_BITS, id_ & ((1 << PART_BITS) - 1)


def is_part_of(column: ColumnElement[int], whole: ColumnElement[int]) -> ColumnElement[bool]:
    """The condition that an id is of a part of a row's attachment or segment."""
    first = whole * (1 << PART_BITS)
    return column.between(first, first + ((1 << PART_BITS) - 1))


def in_range(column: ColumnElement[int]) -> ColumnElement[bool]:
    """The condition that an id is at least the parameter `first` and less than `end`."""
    return and_(column >= int_param("first"), column < int_param("end"))


def range_of(whole: int, start: int = 0) -> dict[str, int]:
    """The parameters of `in_range` for the parts of one whole, from the part `start` on."""
    return {"first": part_id(whole, start), "end": part_id(whole + 1, 0)}


def first_ordinals(vectors: Sequence[VectorBlock]) -> dict[int, int]:
    """By attachment, the ordinal of the first chunk in blocks that come in the order of attachments and ordinals."""
    starts: dict[int, int] = {}
    for block in vectors:
        starts.setdefault(block.attachment, block.first)
    return starts
