"""XML as a stream of callbacks. Document types are refused, and with them every entity; depth and tags have limits."""

from collections.abc import Callable, Iterator
from xml.parsers import expat

from filestead.extraction.errors import unparsable

MAX_DEPTH = 1_000
SILENCE_BYTES = 1024 * 1024
"""Bytes without one event: a tag or comment of this size, which the parser scans again with every block."""

Start = Callable[[str, dict[str, str]], None]
"""Called with the local name of an element and its attributes by local name, with `r:` before those that refer to a
relationship."""
End = Callable[[str], None]
Text = Callable[[str], None]


def parse(blocks: Iterator[bytes], start: Start) -> None:
    """Parse one XML part and call `start` for each element. Raises `InvalidFile`."""
    for _ in events(blocks, start, lambda name: None, lambda data: None):
        pass


def events(blocks: Iterator[bytes], start: Start, end: End, text: Text) -> Iterator[None]:
    """Parse one XML part; yields after each block, so that a caller can take what its callbacks collected."""
    parser = _Parser(start, end, text)
    for block in blocks:
        parser.feed(block)
        yield
    parser.feed(b"", final=True)


class _Parser:
    """Expat without document types and namespaces prefixes, within a depth."""

    def __init__(self, start: Start, end: End, text: Text) -> None:
        self._start, self._end, self._text = start, end, text
        self._depth = 0
        self._silence = 0
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.EntityDeclHandler = self._refuse
        self._parser.StartElementHandler = self._on_start
        self._parser.EndElementHandler = self._on_end
        self._parser.CharacterDataHandler = self._on_text

    def feed(self, block: bytes, final: bool = False) -> None:
        self._silence += len(block)
        try:
            self._parser.Parse(block, final)
        except expat.ExpatError as error:
            raise unparsable(f"XML: {error}") from None
        if self._silence > SILENCE_BYTES:
            raise unparsable("XML: a tag or comment that is too long")

    def _refuse(self, *_: object) -> None:
        raise unparsable("XML: a document type")

    def _on_start(self, name: str, attributes: dict[str, str]) -> None:
        self._silence = 0
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise unparsable("XML: nested too deeply")
        self._start(_local(name), {_attribute(key): value for key, value in attributes.items()})

    def _on_end(self, name: str) -> None:
        self._silence = 0
        self._depth -= 1
        self._end(_local(name))

    def _on_text(self, data: str) -> None:
        self._silence = 0
        self._text(data)


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def _attribute(name: str) -> str:
    namespace, _, local = name.rpartition(" ")
    return f"r:{local}" if namespace.endswith("/relationships") else local
