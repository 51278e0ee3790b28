"""PPTX: the slides in the order of the presentation, each followed by its notes.

Kept: text of shapes and tables (a line for each paragraph, a line of cells separated by tabs for each row), also of
slides that are hidden in a show, which the editor lists like all others. Dropped: slide numbers, masters and layouts,
comments, charts and diagrams.
"""

from collections.abc import Iterator
from typing import BinaryIO

from filestead.extraction.errors import unparsable
from filestead.extraction.ooxml import xml
from filestead.extraction.ooxml.package import Package
from filestead.extraction.ooxml.text import TextHandler, text_of

MAX_SLIDES = 20_000


def extract(file: BinaryIO) -> Iterator[str]:
    """Yield the text in pieces. Raises `InvalidFile`."""
    package = Package(file)
    main = package.main_part("ppt/presentation.xml")
    for slide in _slides(package, main):
        yield from text_of(package, slide, _Handler())
        for kind, part in package.relationships(slide).values():
            if kind == "notesSlide" and part in package:
                yield from text_of(package, part, _Handler())


def _slides(package: Package, main: str) -> list[str]:
    order: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "sldId":
            order.append(attributes.get("r:id", ""))
            if len(order) > MAX_SLIDES:
                raise unparsable(f"more than {MAX_SLIDES} slides")

    xml.parse(package.read(main), start)
    related = package.relationships(main)
    return [related[key][1] for key in dict.fromkeys(order) if key in related]


class _Handler(TextHandler):
    """The elements of DrawingML in a slide, by their local names."""

    def __init__(self) -> None:
        super().__init__()
        self._cells = 0
        self._slide_number = False
        self._in_text = False

    def on_start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "t":
            self._in_text = not self._slide_number
        elif name == "fld":
            self._slide_number = attributes.get("type") == "slidenum"
        elif name == "br":
            self.lines.separate("\n")
        elif name == "tc":
            self._cells += 1

    def on_end(self, name: str) -> None:
        if name == "t":
            self._in_text = False
        elif name == "fld":
            self._slide_number = False
        elif name == "p":
            self.lines.separate(" " if self._cells else "\n")
        elif name == "tc":
            self._cells -= 1
            self.lines.separate("\t")
        elif name == "tr":
            self.lines.separate("\n")

    def on_text(self, data: str) -> None:
        if self._in_text:
            self.lines.append(data)
