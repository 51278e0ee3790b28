"""What content is by its first bytes: the signatures of the MIME Sniffing Standard that Go knows."""

import codecs
import re

SNIFFED_BYTES = 512
"""More of the content is not looked at."""
_BINARY_BYTES = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_TAG = rb"(?i:<(?:!DOCTYPE HTML|HTML|HEAD|SCRIPT|IFRAME|H1|DIV|FONT|TABLE|A|STYLE|TITLE|BODY|BR|B|P|!--)[ >])"
_SIGNATURES = (
    (".html", rb"[\t\n\x0c\r ]*" + _TAG),
    (".xml", rb"[\t\n\x0c\r ]*<\?xml"),
    (".pdf", rb"%PDF-"),
    (".ps", rb"%!PS-Adobe-"),
    (".txt", rb"\xfe\xff|\xff\xfe|\xef\xbb\xbf"),
    (".ico", rb"\x00\x00[\x01\x02]\x00"),
    (".bmp", rb"BM"),
    (".gif", rb"GIF8[79]a"),
    (".webp", rb"RIFF.{4}WEBPVP"),
    (".png", rb"\x89PNG\r\n\x1a\n"),
    (".jpg", rb"\xff\xd8\xff"),
    (".aiff", rb"FORM.{4}AIFF"),
    (".mp3", rb"ID3"),
    (".ogg", rb"OggS\x00"),
    (".mid", rb"MThd\x00\x00\x00\x06"),
    (".avi", rb"RIFF.{4}AVI "),
    (".wav", rb"RIFF.{4}WAVE"),
    (".mp4", rb".{4}ftyp(?:mp4|.{8}(?:.{4})*?mp4)"),
    (".webm", rb"\x1aE\xdf\xa3"),
    (".eot", rb".{34}LP"),
    (".ttf", rb"\x00\x01\x00\x00"),
    (".otf", rb"OTTO"),
    (".ttc", rb"ttcf"),
    (".woff", rb"wOFF"),
    (".woff2", rb"wOF2"),
    (".gz", rb"\x1f\x8b\x08"),
    (".zip", rb"PK\x03\x04"),
    (".rar", rb"Rar!\x1a\x07(?:\x00|\x01\x00)"),
    (".wasm", rb"\x00asm"),
)
_COMPILED = tuple((extension, re.compile(pattern, re.DOTALL)) for extension, pattern in _SIGNATURES)
_TEXTS = {".html", ".xml", ".txt"}


def guess_extension(content: bytes) -> str:
    """The extension for content that begins with these bytes; `.bin` if they say nothing."""
    return _signature(content) or (".txt" if is_text(content) else ".bin")


def is_text(content: bytes) -> bool:
    """Whether content that begins with these bytes is text in UTF-8; its last character may be incomplete."""
    found = _signature(content)
    if found not in _TEXTS and (found or _BINARY_BYTES.search(content[:SNIFFED_BYTES])):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content)
    except UnicodeDecodeError:
        return False
    return True


def _signature(content: bytes) -> str | None:
    start = content[:SNIFFED_BYTES]
    return next((extension for extension, pattern in _COMPILED if pattern.match(start)), None)
