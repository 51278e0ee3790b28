"""Query parameters; integers are parsed alike in form fields."""

import re

from filestead.api.http.errors import bad_request
from filestead.api.http.messages import Request

INTEGER = re.compile(r"[ \t]*([+-]?)([0-9]+)(?:\.0+)?[ \t]*")
MAX_DIGITS = 64
"""More digits than any limit has, and few enough to be repeated in a message."""


def parse_query(request: Request, names: tuple[str, ...]) -> dict[str, str]:
    """Return the named parameters. Others are ignored, and identical repeats accepted, as by the hosted service."""
    values: dict[str, str] = {}
    for name, value in request.query:
        if name in names and values.setdefault(name, value) != value:
            raise bad_request(f"'{name}' was given more than once", name)
    return values


def parse_integer(text: str, name: str, param: str | None = None) -> int:
    """Parse an integer, also written as ` 5`, `+5` or `5.0`. Digits after the first `MAX_DIGITS` are dropped.

    Raises `ApiError` (400) with `param` for any other text. The caller checks the bounds.
    """
    match = INTEGER.fullmatch(text)
    if match is None:
        raise bad_request(f"{text[:64]!r} is not of type 'integer' - '{name}'", param)
    return int(match[1] + (match[2].lstrip("0")[:MAX_DIGITS] or "0"))


def parse_limit(text: str | None, *, default: int, maximum: int) -> int:
    """Parse the page size `limit`."""
    if text is None:
        return default
    limit = parse_integer(text, "limit")
    if limit < 1:
        raise bad_request(f"{limit} is less than the minimum of 1 - 'limit'")
    if limit > maximum:
        raise bad_request(f"{limit} is greater than the maximum of {maximum} - 'limit'")
    return limit


def parse_newest_first(order: str | None) -> bool:
    """Parse the sort order `order`; descending is the default."""
    if order not in (None, "asc", "desc"):
        raise bad_request(f"{order[:64]!r} is not one of ['asc', 'desc'] - 'order'")
    return order != "asc"
