"""The journal of a batch: blocks of whole lines, by kind and offset, within the caller's transaction.

A block is identified by its first line, since a line has one result: so appending it again changes nothing.
"""

import sys
from array import array
from collections.abc import Sequence
from functools import partial

from sqlalchemy import (
    Dialect,
    Integer,
    LargeBinary,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    select,
    tuple_,
    update,
)

from filestead.database.engines.statements import Connection, Statement, int_array_param, int_param, json_array
from filestead.database.repositories.batches.rows import table
from filestead.database.tables import batch_results, batches
from filestead.domain.batches.model import ResultBlock, ResultKind

results = batch_results.c

SIZES = {ResultKind.OUTPUT: table.output_size, ResultKind.ERROR: table.error_size}
"""How much of each kind there is in a row of `batches`."""


class Journal:
    """Statements on the results of batches; `batch` is the number of a batch, `seq`."""

    def __init__(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        in_batch = results.batch == int_param("batch")
        of_kind = (in_batch, results.kind == bindparam("kind"))
        self._known = compiled(
            select(results.first_line).where(in_batch, results.first_line.in_(int_array_param("lines")))
        )
        self._insert = compiled(
            insert(batch_results).values(
                batch=int_param("batch"),
                kind=bindparam("kind"),
                offset_start=int_param("offset_start"),
                first_line=int_param("first_line"),
                lines=bindparam("lines", type_=LargeBinary),
                data=bindparam("data", type_=LargeBinary),
            )
        )
        # From the block with the first byte on, and of each block only the bytes that are wanted.
        start, end = int_param("start"), int_param("end")
        first = select(func.max(results.offset_start)).where(*of_kind, results.offset_start <= start)
        skipped = case((results.offset_start < start, start - results.offset_start), else_=literal_column("0"))
        wanted = end - results.offset_start - skipped
        self._read = compiled(
            select(func.substr(results.data, cast(skipped + 1, Integer), cast(wanted, Integer), type_=LargeBinary))
            .where(*of_kind, results.offset_start >= first.scalar_subquery(), results.offset_start < end)
            .order_by(results.offset_start)
        )
        self._lines = compiled(select(results.lines).where(in_batch).order_by(results.kind, results.offset_start))
        self._ended = compiled(
            select(table.seq)
            .where(table.to_sweep == literal_column("1"))
            .order_by(table.seq)
            .limit(literal_column("1"))
        )
        some = select(results.kind, results.offset_start).where(in_batch).limit(int_param("limit"))
        self._delete = compiled(
            delete(batch_results).where(in_batch, tuple_(results.kind, results.offset_start).in_(some))
        )
        self._swept = compiled(
            update(batches).where(table.seq == int_param("batch")).values(to_sweep=literal_column("0"))
        )

    def new_blocks(self, connection: Connection, batch: int, blocks: Sequence[ResultBlock]) -> list[ResultBlock]:
        """Those blocks that are not in the journal yet; without the empty ones."""
        filled = [block for block in blocks if block.lines]
        lines = json_array(block.lines[0] for block in filled)
        known = {line for (line,) in self._known(connection, batch=batch, lines=lines).fetchall()}
        return [block for block in filled if block.lines[0] not in known]

    def append(
        self, connection: Connection, batch: int, sizes: dict[ResultKind, int], blocks: Sequence[ResultBlock]
    ) -> dict[ResultKind, int]:
        """Add blocks behind the `sizes` of each kind; returns the new sizes."""
        sizes = dict(sizes)
        for block in blocks:
            self._insert(
                connection,
                batch=batch,
                kind=block.kind.value,
                offset_start=sizes[block.kind],
                first_line=block.lines[0],
                lines=pack_lines(block.lines),
                data=block.data,
            )
            sizes[block.kind] += len(block.data)
        return sizes

    def read(self, connection: Connection, batch: int, kind: ResultKind, start: int, limit: int) -> bytes:
        """Up to `limit` bytes from the offset `start`; empty at the end."""
        rows = self._read(connection, batch=batch, kind=kind.value, start=start, end=start + limit).fetchall()
        return b"".join(bytes(data) for (data,) in rows)

    def lines(self, connection: Connection, batch: int) -> bytes:
        """The packed numbers of all lines that have a result."""
        return b"".join(bytes(packed) for (packed,) in self._lines(connection, batch=batch).fetchall())

    def is_to_be_swept(self, connection: Connection) -> bool:
        """Whether a batch has ended since the last sweep."""
        return self._ended(connection).fetchone() is not None

    def sweep(self, connection: Connection, limit: int) -> int:
        """Delete up to `limit` blocks of one batch that has ended; returns how many."""
        while (row := self._ended(connection).fetchone()) is not None:
            if deleted := self._delete(connection, batch=row[0], limit=limit).rowcount:
                return deleted
            self._swept(connection, batch=row[0])
        return 0


def pack_lines(lines: Sequence[int]) -> bytes:
    """Line numbers as little-endian unsigned integers of 4 bytes."""
    packed = array("I", lines)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack_lines(packed: bytes) -> Sequence[int]:
    """The line numbers of `pack_lines`."""
    lines = array("I", packed)
    if sys.byteorder == "big":
        lines.byteswap()
    return lines
