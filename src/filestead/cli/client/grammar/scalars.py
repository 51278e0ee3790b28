"""Scalars: numbers in the syntax of Go (`0x10`, `0o17`, `010`, `1_000`), and scalars as text for forms and queries."""

import math
import re
from typing import Any

_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(0[0-7_]+)|0|[1-9][0-9_]*)")

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def parse_integer(text: str) -> int:
    """Parse a 64-bit integer. Raises `ValueError` with the reason."""
    match = _INTEGER.fullmatch(text)
    try:
        value = int(text, 8 if match and match[1] else 0) if match else None
    except ValueError:  # Misplaced underscores.
        value = None
    if value is None:
        raise ValueError("not an integer")
    if not -(2**63) <= value < 2**63:
        raise ValueError("out of range for a 64-bit integer")
    return value


def parse_number(text: str) -> float:
    """Parse a decimal number of finite value. Raises `ValueError` with the reason."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("out of range for a 64-bit number")
    return value


def format_scalar(value: Any) -> str:
    """Format a scalar for a form field or query parameter."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)
