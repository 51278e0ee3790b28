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


_YAML_NUMBER = re.compile(
    r"([+-]?)(?:0x([0-9a-fA-F]+)|0o([0-7]+)|0b([01]+)|0([0-7]+)|([0-9]+)|((?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))"
)
_INFINITE = {".inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}


def parse_yaml_number(text: str) -> int | float | None:
    """A number of the YAML that the official client reads; None for a text.

    Without a dot there is no exponent (`1e3` is a text), and what does not fit into 64 bits is a text.
    """
    if text.lower() in _INFINITE and text[-3:] in {"inf", "Inf", "INF", "nan", "NaN", "NAN"}:
        return _INFINITE[text.lower()]
    match = None if text.startswith("_") else _YAML_NUMBER.fullmatch(text.replace("_", ""))
    if match is None:
        return None
    sign, *digits, real = match.groups()
    if real is not None:
        value = float(sign + real)
        return value if math.isfinite(value) else None
    base, word = next((base, word) for base, word in zip((16, 8, 2, 8, 10), digits, strict=True) if word is not None)
    if base == 10 and len(word) > 1 and word[0] == "0":
        return None  # Octal, but for its digits.
    number = int(sign + word, base)
    return number if -(2**63) <= number < 2**64 else None


def format_scalar(value: Any) -> str:
    """Format a scalar for a form field or query parameter."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
        return _without_exponent(value)
    return str(value)


def format_json_float(value: float) -> str:
    """A finite float as Go spells it in JSON: with an exponent below 1e-6, and from 1e21 on."""
    return _with_exponent(value) if value and not 1e-6 <= abs(value) < 1e21 else _without_exponent(value)


def format_float(value: float) -> str:
    """A finite float as Go prints it: with an exponent of at least two digits below 1e-4, and from 1e6 on."""
    if not value or 1e-4 <= abs(value) < 1e6:
        return _without_exponent(value)
    mantissa, _, exponent = _with_exponent(value).partition("e")
    return f"{mantissa}e{exponent[0]}{exponent[1:]:0>2}"


def _without_exponent(value: float) -> str:
    from decimal import Decimal  # noqa: PLC0415 - rarely needed

    return f"{Decimal(repr(value)):f}".removesuffix(".0")


def _with_exponent(value: float) -> str:
    from decimal import Decimal  # noqa: PLC0415 - rarely needed

    return f"{Decimal(repr(value)).normalize():e}"
