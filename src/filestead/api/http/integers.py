"""Whole numbers in queries and form fields."""

import re

from filestead.api.http.errors import bad_request

INTEGER = re.compile(r"[ \t]*([+-]?)([0-9]+)(?:\.0+)?[ \t]*")
MAX_DIGITS = 64
"""More than any bound has, and little enough to be repeated in a message."""


def integer(text: str, name: str, param: str | None = None) -> int:
    """The number that `text` is, also written as ` 5`, `+5` or `5.0`; of longer ones the first `MAX_DIGITS` digits.

    Raises `RequestError` (400) for anything else, with `param`. Bounds are the caller's.
    """
    found = INTEGER.fullmatch(text)
    if found is None:
        raise bad_request(f"{text[:64]!r} is not of type 'integer' - '{name}'", param)
    return int(found[1] + (found[2].lstrip("0")[:MAX_DIGITS] or "0"))
