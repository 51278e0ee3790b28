"""The text of one part, by a handler that knows the elements of its format."""

from collections.abc import Iterator

from filestead.extraction.lines import Lines
from filestead.extraction.ooxml import xml
from filestead.extraction.ooxml.package import Package


class TextHandler:
    """Callbacks of the parser that collect text in `lines`; a subclass knows the elements of its format.

    Of alternative contents (`mc:AlternateContent`), the fallback is dropped; the elements `dropped` with all they hold.
    """

    dropped: frozenset[str] = frozenset({"Fallback"})

    def __init__(self) -> None:
        self.lines = Lines()
        self._dropped_depth = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Handle the start of an element."""
        if self._dropped_depth or name in self.dropped:
            self._dropped_depth += 1
        else:
            self.on_start(name, attributes)

    def end(self, name: str) -> None:
        """Handle the end of an element."""
        if self._dropped_depth:
            self._dropped_depth -= 1
        else:
            self.on_end(name)

    def text(self, data: str) -> None:
        """Handle text within an element."""
        if not self._dropped_depth:
            self.on_text(data)

    def on_start(self, name: str, attributes: dict[str, str]) -> None:
        """Handle the start of an element that is not dropped."""
        raise NotImplementedError

    def on_end(self, name: str) -> None:
        """Handle its end."""
        raise NotImplementedError

    def on_text(self, data: str) -> None:
        """Handle text within it."""
        raise NotImplementedError


def text_of(package: Package, part: str, handler: TextHandler) -> Iterator[str]:
    """Yield the text that the handler collects from one part, with a newline at its end."""
    for _ in xml.events(package.read(part), handler.start, handler.end, handler.text):
        yield handler.lines.take()
    yield handler.lines.close()
