"""Collects the words of a document with structure and puts white space between them where the structure asks for it."""

_STRENGTH = {"": 0, " ": 1, "\t": 2, "\n": 3}


class Lines:
    """Text with separators that are owed until the next text: the strongest one wins, none begins or ends the text."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._separator = ""
        self._begun = False

    def separate(self, separator: str) -> None:
        """Put a space, tab or newline before the next text, unless a stronger one is owed."""
        if _STRENGTH[separator] > _STRENGTH[self._separator]:
            self._separator = separator

    def append(self, text: str) -> None:
        """Add text as it is."""
        if self._begun and self._separator:
            self._pieces.append(self._separator)
        self._separator = ""
        self._begun = True
        self._pieces.append(text)

    def take(self) -> str:
        """Return the text that was collected since the last call."""
        text = "".join(self._pieces)
        self._pieces.clear()
        return text

    def close(self) -> str:
        """Return the rest of the text with a newline, or nothing if there was no text at all."""
        return self.take() + "\n" * self._begun
