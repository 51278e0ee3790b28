"""Scalars: whole numbers as Go reads them, and the text of any scalar in a form or query."""

import math
import re
from typing import Any

_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(0[0-7_]+)|0|[1-9][0-9_]*)")


def parse_integer(text: str) -> int:
    """A whole number of 64 bits; ValueError with the reason."""
    found = _INTEGER.fullmatch(text)
    try:
        value = int(text, 8 if found and found[1] else 0) if found else None
    except ValueError:  # Underscores where there may be none.
        value = None
    if value is None:
        raise ValueError(f'"{text}" is no whole number')
    if not -(2**63) <= value < 2**63:
        raise ValueError(f'"{text}" does not fit into 64 bits')
    return value


def format_scalar(value: Any) -> str:
    """A scalar as form and query spell it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)
