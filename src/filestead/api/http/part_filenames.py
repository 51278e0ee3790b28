"""The name of a file part, decoded from the parameters `filename` and `filename*`: pure functions, no I/O.

RFC 7578 forbids `filename*` and browsers never send it, so `filename` takes precedence. Clients that send both mean the
extended one (RFC 6266); their `filename` is then often only a substitute: see `_is_substitute`.
"""

import re
import unicodedata
from email.errors import HeaderParseError
from email.header import decode_header
from encodings import normalize_encoding
from encodings.aliases import aliases
from urllib.parse import unquote, unquote_plus, unquote_to_bytes

_ENCODED_WORD = r"=\?[^?\s]+\?[BbQq]\?[^?\s]*\?="
_ENCODED_WORDS = re.compile(rf"{_ENCODED_WORD}(?:\s*{_ENCODED_WORD})*")
_EXTENDED_VALUE = re.compile(r"(?ai)(utf-8|iso-8859-1)'[0-9a-z-]*'((?:[!-$&-~]|%[0-9a-f]{2})+)")
_REPLACEMENTS = "_?\ufffd "
"""Characters that clients write in place of those that they cannot encode."""

_IGNORED = str.maketrans("", "", _REPLACEMENTS + '-*.#"\\%/')
"""Ignored when names are compared: replacements, and characters that clients cannot quote."""

# Codecs of text, as Python's modules are called. Those written in Python are excluded: slow, or not text encodings
# (`punycode`, `unicode_escape`).
_CODECS = re.compile(
    r"utf_8|ascii|latin_1|iso8859_[0-9]{1,2}|cp125[0-8]|koi8_[rut]|gb2312|gbk|gb18030|big5|shift_jis|cp932|euc_jp"
    r"|iso2022_jp|euc_kr"
)
_MOJIBAKE_CHARSETS = ("utf-8", "gb18030", "shift_jis", "big5", "euc_kr", "cp1251")
"""Charsets whose bytes programs mistake for ISO-8859-1 or Windows-1252."""


def decode_part_filename(plain: str | None, extended: str | None) -> str | None:
    """Decode the filename of a part, before it is sanitized; None if it has none.

    Bytes in `plain` that are not UTF-8 are surrogates, and stay so in the result. A valid `extended` is used if
    `plain` is missing or only its substitute; of two different names `plain` is used. Raises `ValueError` if
    there is only `extended` and it is invalid.
    """
    name = None if extended is None else _decode_extended_value(extended)
    if plain is None:
        if extended is not None and name is None:
            raise ValueError
        return name
    if name is not None and _is_substitute(plain, name):
        return name
    return _decode_encoded_words(plain) or percent_decode(plain)


def percent_decode(value: str) -> str:
    """Decode the three characters that the HTML standard encodes; any other percent sign belongs to the name."""
    return value.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


def _decode_extended_value(value: str) -> str | None:
    """Decode an RFC 8187 value such as `utf-8''na%C3%AFve.txt`; None if it is invalid."""
    match = _EXTENDED_VALUE.fullmatch(value)
    if match is None:
        return None
    try:
        return unquote_to_bytes(match[2]).decode(match[1])
    except UnicodeDecodeError:
        return None


def _is_substitute(plain: str, name: str) -> bool:
    """Whether `plain` is only a lossy encoding of `name`."""
    return (
        not plain.strip()
        or _ENCODED_WORDS.fullmatch(plain.strip()) is not None  # .NET, Spring
        or _is_illegible(plain)  # Symfony, OkHttp
        or (plain != name and name in (unquote(plain), unquote_plus(plain)))  # axios
        or (not name.isascii() and (_is_ascii_fallback(plain, name) or _is_mojibake(plain, name)))
    )


def _is_illegible(plain: str) -> bool:
    """Whether only replacement characters are left of a name, apart from its extension."""
    stem, _, extension = plain.partition(".")
    extension = extension.replace(".", "")
    return bool(stem) and not stem.strip(_REPLACEMENTS) and (not extension or extension.isalnum())


def _is_ascii_fallback(plain: str, name: str) -> bool:
    """Whether `plain` is `name` in ASCII, with other characters replaced, omitted or stripped of accents."""
    kept = "".join(character for character in name if character.isascii())
    unaccented = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return plain.translate(_IGNORED) in (kept.translate(_IGNORED), unaccented.translate(_IGNORED))


def _is_mojibake(plain: str, name: str) -> bool:
    """Whether `plain` is undecodable, or the bytes of `name` decoded in a wrong charset."""
    if "\ufffd" in plain or any("\ud800" <= c <= "\udfff" for c in plain):
        return True
    for wrong_charset in ("latin-1", "cp1252"):
        for charset in _MOJIBAKE_CHARSETS:
            try:
                if plain.encode(wrong_charset).decode(charset) == name:
                    return True
            except UnicodeError:
                continue
    return False


def _decode_encoded_words(plain: str) -> str | None:
    """Decode a name that consists of encoded words (RFC 2047); None for any other name, or if it is invalid."""
    if not _ENCODED_WORDS.fullmatch(plain.strip()):
        return None
    try:
        return "".join(_decode_word(raw, charset) for raw, charset in decode_header(plain.strip()))
    except (HeaderParseError, LookupError, ValueError):
        return None


def _decode_word(raw: bytes | str, charset: str | None) -> str:
    if isinstance(raw, str):
        return raw
    charset = (charset or "ascii").partition("*")[0]  # `*` starts a language tag (RFC 2231)
    name = normalize_encoding(charset).lower()
    codec = aliases.get(name) or aliases.get(name.replace(".", "_"), name)
    # Before it is looked up: Python remembers each name that it has not found.
    if not _CODECS.fullmatch(codec):
        raise LookupError(charset)
    return raw.decode(codec)
