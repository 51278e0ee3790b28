"""Explanations of why a line is not a JSON object, for its author.

The typed decoders only reject a line. Python's JSON parser locates the fault in the first invalid line, unless that is
too long. Its messages are replaced by ours and never reach a user.
"""

import json
import re
from typing import NoReturn

from filestead.domain.jsonl.limits import EXCERPT, LARGE, MAX_DIGITS
from filestead.domain.jsonl.lines import is_utf8

_UNFINISHED = "it ends before its object does"
TOO_DEEP = "it is nested too deeply"
LONG_INTEGER = f"it has an integer of more than {MAX_DIGITS:,} digits"
NO_OBJECT = "it is not a JSON object"
NOT_UTF8 = "it is not valid JSON (it is not UTF-8)"
START = 4 * EXCERPT + 1
"""Bytes that are kept of a line that does not begin as an object: the excerpt, and one byte to show that it goes on."""
BOM = b"\xef\xbb\xbf"

_MAGIC = {
    b"\x1f\x8b": "compressed with gzip",
    b"PK\x03\x04": "a ZIP archive (or an Office document)",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"PAR1": "a Parquet file",
    b"%PDF-": "a PDF document",
}
_WIDE = {
    "UTF-32": re.compile(rb"\xff\xfe\0\0|\0\0\xfe\xff|(?:[^\0]\0\0\0){2}|(?:\0\0\0[^\0]){2}"),
    "UTF-16": re.compile(rb"\xff\xfe|\xfe\xff|(?:[^\0]\0){2}|(?:\0[^\0]){2}"),
}
_ARRAY = re.compile(rb"\[\s*(?:\{(?!.*\]\s*\Z)|\Z)", re.DOTALL)
_CSV = re.compile(rb'[\w" .-]+(?:[,;\t][\w" .-]+)+[,;\t]?\s*\Z')
_WORDS = {
    **dict.fromkeys(("NaN", "Infinity", "-Infinity"), "which JSON does not have; write null or a string"),
    **dict.fromkeys(("None", "True", "False"), "as in Python; JSON writes null, true, false"),
    "undefined": "as in JavaScript; JSON writes null",
}
_WORD = re.compile(r"-?[A-Za-z_]+")
_TRAILING_COMMA = re.compile(r",\s*([}\]])")


class _Constant(Exception):
    """Python's parser has found NaN or Infinity."""


def explain(number: int, line: bytes, fault: str, *, lines: int) -> str:
    """One sentence on the first invalid line, with the remedy if the line shows it; the file has so many `lines`."""
    whole = _explain_file(line, lines) if number == 1 else None
    if whole is None and fault == NO_OBJECT:
        return f"Line {number}: {fault}. Each line must be one, in braces."
    if whole is None and fault.endswith(f"({_UNFINISHED})") and lines > 1:
        return f"Line {number} ends before its object does: write each object on one line, not over several."
    return whole or f"Line {number}: {fault}."


def _explain_file(head: bytes, lines: int) -> str | None:
    """What the file is instead of JSONL, by its first line, and the remedy; None if the line does not show it."""
    if head.startswith(BOM):
        return "The file starts with a byte order mark (BOM); save it as UTF-8 without one."
    for name, start in _WIDE.items():
        if start.match(head):
            return f"The file is {name}; save it as UTF-8."
    for mark, what in _MAGIC.items():
        if head.startswith(mark):
            return f"The file is {what}; upload the JSONL file itself."
    if _ARRAY.match(head) or (head.startswith(b"[") and lines == 1):
        return "The file is one JSON array; write each of its members on a line of its own, without the brackets."
    if _CSV.match(head):
        return "The file looks like CSV; write each row as a JSON object on a line of its own."
    return None


def excerpt(line: bytes) -> str:
    """The printable start of a line."""
    text = line[: 4 * EXCERPT].decode("utf-8", "replace")[:EXCERPT].rstrip(" \t\r")
    escaped = (letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    return "".join(escaped)[:EXCERPT]


def fault_of(line: bytes) -> str:
    """Why a line that no decoder accepts is not a JSON object; completes the sentence "Line 1: ..."."""
    if line.startswith(BOM):
        return "it starts with a byte order mark"
    if not line.startswith(b"{"):
        return NO_OBJECT
    return f"it is not valid JSON ({_reason(line)})"


def _reason(line: bytes) -> str:
    if len(line) > LARGE:
        return "it is too long to say where" if is_utf8(line) else "it is not UTF-8"
    try:
        text = line.decode().rstrip(" \t\r")
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} of it is not UTF-8; save the file as UTF-8"
    return _strict_reason(text)


def _strict_reason(text: str) -> str:
    try:
        json.loads(text, parse_constant=_refuse, parse_int=float)
    except json.JSONDecodeError as error:
        if _is_unfinished(text, error):
            return _UNFINISHED
        # For a trailing comma, some versions of the parser report its position, others the one after it.
        comma = _TRAILING_COMMA.match(text, text.rfind(",", 0, error.pos + 1))
        if comma and comma.end() > error.pos:
            return _at(text, comma.start(), f"a comma before '{comma[1]}'; remove it")
        return _at(text, error.pos, _explained(text, error))
    except _Constant as constant:
        return _explained_constant(text, str(constant))
    except RecursionError:
        return TOO_DEEP
    return "it is not strictly JSON"


def _is_unfinished(text: str, error: json.JSONDecodeError) -> bool:
    if error.msg.startswith("Invalid \\u"):
        return '"' not in text[error.pos :]
    return error.pos >= len(text) or error.msg.startswith("Unterminated string")


def _refuse(constant: str) -> NoReturn:
    raise _Constant(constant)


def _at(text: str, position: int, reason: str) -> str:
    return f"column {min(position, len(text)) + 1}: {reason}"


def _explained_constant(text: str, constant: str) -> str:
    # Python's parser does not report the position: find the first one outside of a string.
    outside = re.sub(r'"(?:[^"\\]|\\.)*+"', lambda string: " " * len(string[0]), text)
    return _at(text, outside.find(constant), f"{constant}, {_WORDS[constant]}")


def _explained(text: str, error: json.JSONDecodeError) -> str:
    position = error.pos
    before, found = text[:position], text[position : position + 1]
    word = _WORD.match(text, position)
    if word and word[0] in _WORDS:
        return f"{word[0]}, {_WORDS[word[0]]}"
    for start, explanation in _BY_MESSAGE.items():
        if error.msg.startswith(start):
            return explanation
    return _unexpected(before, found, error.msg)


def _unexpected(before: str, found: str, message: str) -> str:
    if message.startswith("Extra data"):
        return "a comma after the object; remove it" if found == "," else "more than one value; write one on each line"
    if found in "+." or (before[-1:].isdigit() and (found == "." or found.isalnum())):
        return "a number in a form that JSON does not have"
    if found == "'":
        return "single quotes; JSON writes double quotes"
    if message.startswith("Expecting property name") and (found.isalnum() or found in "_$"):
        return "a name without double quotes"
    shown = found if found.isprintable() else found.encode("unicode_escape").decode()
    expected = {"Expecting ',' delimiter": "a comma", "Expecting ':' delimiter": "a colon"}.get(message, "a value")
    return f"'{shown}' instead of {expected}"


_BY_MESSAGE = {
    "Invalid control character": "a control character inside of a string; write it as an escape such as \\n",
    "Invalid \\escape": "a backslash that begins no escape; double it",
    "Invalid \\u": "an incomplete \\u escape",
}
"""Beginnings of the parser's messages, and the text that replaces them."""
