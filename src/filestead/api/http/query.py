"""Values of query parameters; integers are written alike in form fields."""

import re

from filestead.api.http.errors import bad_request

INTEGER = re.compile(r"[ \t]*([+-]?)([0-9]+)(?:\.0+)?[ \t]*")
MAX_DIGITS = 64
"""More digits than any limit has, and few enough to be repeated in a message."""


def parse_integer(text: str, name: str, param: str | None = None) -> int:
    """Parse an integer, also written as ` 5`, `+5` or `5.0`. Digits after the first `MAX_DIGITS` are dropped.

    Raises `ApiError` (400) with `param` for any other text. The caller checks the bounds.
    """
    match = INTEGER.fullmatch(text)
    if match is None:
        raise bad_request(f"{text[:64]!r} is not of type 'integer' - '{name}'", param)
    return int(match[1] + (match[2].lstrip("0")[:MAX_DIGITS] or "0"))
