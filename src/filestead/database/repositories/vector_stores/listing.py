"""Pages of vector stores and attached files, after or before an item, in the order of creation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Dialect, bindparam, select

from filestead.database.engines.statements import Connection, Statement, int_param
from filestead.domain.errors import ItemCursorNotFound
from filestead.domain.vector_stores.model import ItemPage, PageRequest

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """A listing of one table; `scope` limits it, `seq` orders it and `item` identifies a row within the scope.

    `options` are further conditions, each applied where its parameter is given.
    """

    dialect: Dialect
    columns: Sequence[Any]
    seq: Any
    item: Any
    scope: ColumnElement[bool]
    visible: ColumnElement[bool] | None = None
    options: tuple[tuple[str, Any], ...] = ()

    def page(
        self,
        connection: Connection,
        request: PageRequest,
        convert: Callable[[list[tuple[Any, ...]]], list[T]],
        **values: Any,
    ) -> ItemPage[T]:
        """Return a page. Raises `ItemCursorNotFound` if `after` or `before` is not in the scope."""
        given = {name: value for name, value in values.items() if value is not None}
        names = [name for name, _ in self.options if name in given]
        for param, item in (("after", request.after), ("before", request.before)):
            if item is not None:
                given[param] = self._position(connection, param, item, given)
        # The page before an item is the one nearest to it, so it is read backwards.
        backwards = request.before is not None and request.after is None
        descending = request.newest_first != backwards
        names += [param for param in ("after", "before") if param in given]
        query = _compiled(self, tuple(names), request.newest_first, descending)
        rows = query(connection, **given, limit=request.limit + 1).fetchall()
        page = rows[: request.limit]
        return ItemPage(convert(page[::-1] if backwards else page), has_more=len(rows) > request.limit)

    def _position(self, connection: Connection, param: str, item: str, values: dict[str, Any]) -> int:
        row = _position_query(self)(connection, **values, item=item).fetchone()
        if row is None:
            raise ItemCursorNotFound(param, item)
        return int(row[0])


@cache
def _position_query(listing: Listing) -> Statement:
    return Statement(select(listing.seq).where(listing.scope, listing.item == bindparam("item")), listing.dialect)


@cache
def _compiled(listing: Listing, given: tuple[str, ...], newest_first: bool, descending: bool) -> Statement:
    query = select(*listing.columns).where(listing.scope)
    if listing.visible is not None:
        query = query.where(listing.visible)
    for name, condition in listing.options:
        if name in given:
            query = query.where(condition)
    for param, follows in (("after", newest_first), ("before", not newest_first)):
        if param in given:
            position = int_param(param)
            query = query.where(listing.seq < position if follows else listing.seq > position)
    order = listing.seq.desc() if descending else listing.seq.asc()
    return Statement(query.order_by(order).limit(int_param("limit")), listing.dialect)
