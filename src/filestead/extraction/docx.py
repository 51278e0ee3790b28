"""DOCX: body, then footnotes and endnotes, then the headers and footers, each different one once.

Kept: paragraphs (one line each), tables (a line for each row, cells separated by tabs), text boxes, formulas, inserted
text. Dropped: deleted and moved text, field codes, comments, and hidden runs, which a reader of the document is not
shown.
"""

from collections.abc import Iterator
from typing import BinaryIO

from filestead.extraction.ooxml.package import Package
from filestead.extraction.ooxml.text import TextHandler, text_of

_BREAKS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_NOTES = ("footnotes", "endnotes")
_MARGINS = ("header", "footer")
_MARGIN_CHARACTERS = 64 * 1024
"""Headers and footers are compared, so they are held in memory; a longer one is cut."""
_MAX_MARGINS = 1_000
_OFF = ("0", "false", "off", "none")


def extract(file: BinaryIO) -> Iterator[str]:
    """Yield the text in pieces. Raises `InvalidFile`."""
    package = Package(file)
    main = package.main_part("word/document.xml")
    yield from text_of(package, main, _Handler())
    related = [target for target in package.relationships(main).values() if target[1] in package]
    for kind, part in related:
        if kind in _NOTES:
            yield from text_of(package, part, _Handler())
    seen: set[str] = set()
    for part in [part for kind, part in related if kind in _MARGINS][:_MAX_MARGINS]:
        text = _beginning(text_of(package, part, _Handler()), _MARGIN_CHARACTERS)
        if text not in seen:
            seen.add(text)
            yield text


def _beginning(pieces: Iterator[str], limit: int) -> str:
    text = ""
    for piece in pieces:
        text += piece
        if len(text) > limit:
            break
    return text[:limit]


class _Handler(TextHandler):
    """The elements of WordprocessingML, by their local names."""

    dropped = frozenset({"Fallback", "del", "moveFrom", "rPrChange", "pPr"})

    def __init__(self) -> None:
        super().__init__()
        self._runs = 0
        self._cells = 0
        self._hidden = False
        self._in_text = False

    def on_start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "t":
            self._in_text = True
        elif name == "r":
            self._runs += 1
            self._hidden = False
        elif name == "vanish":
            self._hidden = attributes.get("val", "1") not in _OFF
        elif name == "tc":
            self._cells += 1
        elif name in _BREAKS and self._runs and not self._hidden:
            self.lines.append(_BREAKS[name])

    def on_end(self, name: str) -> None:
        if name == "t":
            self._in_text = False
        elif name == "r":
            self._runs -= 1
            self._hidden = False
        elif name == "p":
            self.lines.separate(" " if self._cells else "\n")
        elif name == "tc":
            self._cells -= 1
            self.lines.separate("\t")
        elif name == "tr":
            self.lines.separate("\n")

    def on_text(self, data: str) -> None:
        if self._in_text and not self._hidden:
            self.lines.append(data)
