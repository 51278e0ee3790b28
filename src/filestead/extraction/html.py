"""HTML by the parser of the standard library, in the encodings of plain text.

Kept: the title, all text, also text hidden by attributes or styles (only a layout could tell), and the alternative
text of images. Dropped: scripts, styles, templates, comments and all other attributes. Blocks and `<br>` begin a
line, a table row is a line of cells separated by tabs, white space is collapsed except in `<pre>` and `<textarea>`.
"""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import BinaryIO

from filestead.extraction import plain
from filestead.extraction.errors import unparsable
from filestead.extraction.lines import Lines

PENDING_LIMIT = 1024 * 1024
"""Characters of one tag, comment or declaration. The parser scans an unfinished one again with every block."""
_DROPPED = frozenset({"script", "style", "template"})
_PREFORMATTED = frozenset({"pre", "textarea"})
_CELLS = frozenset({"td", "th"})
_ROWS = frozenset({"table", "tr"})
_BLOCKS = frozenset(
    {
        *(
            "address",
            "article",
            "aside",
            "blockquote",
            "body",
            "br",
            "caption",
            "center",
            "dd",
            "details",
            "dialog",
            "dir",
        ),
        *("div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6"),
        *("head", "header", "hgroup", "hr", "html", "legend", "li", "main", "menu", "nav", "ol", "optgroup", "option"),
        *(
            "p",
            "pre",
            "search",
            "section",
            "select",
            "summary",
            "table",
            "tbody",
            "textarea",
            "tfoot",
            "thead",
            "title",
        ),
        *("tr", "ul"),
    }
)
_WHITE_SPACE = re.compile(r"[ \t\n\r\f]+")


def extract(file: BinaryIO) -> Iterator[str]:
    """Yield the text, one piece for each block of the file. Raises `InvalidFile`."""
    parser = _TextParser()
    for block in plain.extract(file):
        parser.feed(block)
        if len(parser.rawdata) > PENDING_LIMIT:
            raise unparsable("HTML: a tag or comment without end")
        yield parser.lines.take()
    parser.close()
    yield parser.lines.close()


class _TextParser(HTMLParser):
    """Appends the text of what it is fed to `lines`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines = Lines()
        self._dropped = 0
        self._preformatted = 0
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            self._dropped += 1
        self._separate(tag)
        if tag in _CELLS:
            self._in_cell = True
        elif tag in _PREFORMATTED:
            self._preformatted += 1
        elif tag == "img":
            self.handle_data(f" {dict(attrs).get('alt') or ''} ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag in _DROPPED or tag in _PREFORMATTED:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _DROPPED:
            self._dropped = max(0, self._dropped - 1)
        elif tag in _PREFORMATTED:
            self._preformatted = max(0, self._preformatted - 1)
        if tag in _CELLS:
            self._in_cell = False
        else:
            self._separate(tag)

    def _separate(self, tag: str) -> None:
        if tag in _CELLS:
            self.lines.separate("\t")
        elif tag in _ROWS:
            self._in_cell = False
            self.lines.separate("\n")
        elif tag in _BLOCKS:
            self.lines.separate(" " if self._in_cell else "\n")

    def handle_data(self, data: str) -> None:
        if self._dropped:
            return
        if self._preformatted:
            self.lines.append(data)
            return
        text = _WHITE_SPACE.sub(" ", data)
        if text[:1] == " ":
            self.lines.separate(" ")
        if words := text.strip(" "):
            self.lines.append(words)
            if text[-1] == " ":
                self.lines.separate(" ")
