"""The name of a file part, from `filename` and `filename*` as clients write them: pure functions, no I/O.

RFC 7578 forbids `filename*` and browsers never send it, so `filename` is the name. Clients that do send both mean the
extended one (RFC 6266), and what they put into `filename` is then often only its stand-in: see `_stands_in`.
"""

import codecs
import re
import unicodedata
from email.errors import HeaderParseError
from email.header import decode_header
from urllib.parse import unquote, unquote_plus, unquote_to_bytes

_ENCODED_WORD = r"=\?[^?\s]+\?[BbQq]\?[^?\s]*\?="
_ENCODED_WORDS = re.compile(rf"{_ENCODED_WORD}(?:\s*{_ENCODED_WORD})*")
_EXTENDED_VALUE = re.compile(r"(?ai)(utf-8|iso-8859-1)'[0-9a-z-]*'((?:[!-$&-~]|%[0-9a-f]{2})+)")
_LOST = "_?\ufffd "
"""What stands for characters that a client could not write."""

_DROPPED = str.maketrans("", "", _LOST + '-*.#"\\%/')
"""With these go the characters that clients cannot quote, and those that they put in their place."""

# Text encodings of people; not those of Python's own that run for long or are no text (`punycode`, `unicode_escape`).
_CHARSETS = re.compile(
    r"utf-8|ascii|iso8859-[0-9]+|cp125[0-8]|koi8-[rut]|gb2312|gbk|gb18030|big5|shift_jis|cp932|euc_jp|iso2022_jp|euc_kr"
)
_MISREAD = ("utf-8", "gb18030", "shift_jis", "big5", "euc_kr", "cp1251")
"""Charsets of bytes that programs take for ISO-8859-1 or Windows-1252."""


def part_filename(plain: str | None, extended: str | None) -> str | None:
    """The name that a part's parameters mean, before it is cleaned; None if it has none.

    Bytes in `plain` that are no UTF-8 are surrogates, and stay so in the result. A readable `extended` wins where
    `plain` is missing or only its stand-in; of two different readable names `plain` wins. Raises `ValueError` if
    `extended` alone is there and cannot be read.
    """
    name = None if extended is None else _extended_value(extended)
    if plain is None:
        if extended is not None and name is None:
            raise ValueError
        return name
    if name is not None and _stands_in(plain, name):
        return name
    return _decoded_words(plain) or percent_decoded(plain)


def percent_decoded(value: str) -> str:
    """Undo what the HTML standard encodes in names. Everything else with a percent sign is part of the name."""
    return value.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


def _extended_value(value: str) -> str | None:
    """An RFC 8187 value such as `utf-8''na%C3%AFve.txt`, or None if it cannot be read."""
    found = _EXTENDED_VALUE.fullmatch(value)
    if found is None:
        return None
    try:
        return unquote_to_bytes(found[2]).decode(found[1])
    except UnicodeDecodeError:
        return None


def _stands_in(plain: str, name: str) -> bool:
    """Whether `plain` is nothing but what a client could not say of `name`."""
    return (
        not plain.strip()
        or _ENCODED_WORDS.fullmatch(plain.strip()) is not None  # .NET, Spring
        or _is_illegible(plain)  # Symfony, OkHttp
        or (plain != name and name in (unquote(plain), unquote_plus(plain)))  # axios
        or (not name.isascii() and (_is_fallback(plain, name) or _is_misread(plain, name)))
    )


def _is_illegible(plain: str) -> bool:
    """Whether nothing of a name is left but perhaps its extension."""
    stem, _, extension = plain.partition(".")
    extension = extension.replace(".", "")
    return bool(stem) and not stem.strip(_LOST) and (not extension or extension.isalnum())


def _is_fallback(plain: str, name: str) -> bool:
    """Whether `plain` is `name` in ASCII: characters beyond it replaced, left out, or without their accents."""
    kept = "".join(character for character in name if character.isascii())
    unaccented = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return plain.translate(_DROPPED) in (kept.translate(_DROPPED), unaccented.translate(_DROPPED))


def _is_misread(plain: str, name: str) -> bool:
    """Whether `plain` is broken text, or what the bytes of `name` look like in another charset."""
    if "\ufffd" in plain or any("\ud800" <= c <= "\udfff" for c in plain):
        return True
    for misread in ("latin-1", "cp1252"):
        for charset in _MISREAD:
            try:
                if plain.encode(misread).decode(charset) == name:
                    return True
            except UnicodeError:
                continue
    return False


def _decoded_words(plain: str) -> str | None:
    """What a name that consists of encoded words (RFC 2047) only says; None for any other, or if it cannot be read."""
    if not _ENCODED_WORDS.fullmatch(plain.strip()):
        return None
    try:
        return "".join(_text(raw, charset) for raw, charset in decode_header(plain.strip()))
    except (HeaderParseError, LookupError, ValueError):
        return None


def _text(raw: bytes | str, charset: str | None) -> str:
    if isinstance(raw, str):
        return raw
    name = codecs.lookup((charset or "ascii").partition("*")[0]).name  # `*` begins a language (RFC 2231)
    if not _CHARSETS.fullmatch(name):
        raise LookupError(name)
    return raw.decode(name)
