"""Pieces of a text on their way out of the sandbox, each with the number of its tokens."""

COUNT_BYTES = 4


def frame(tokens: int, text: str) -> bytes:
    """A piece as bytes."""
    return tokens.to_bytes(COUNT_BYTES, "big") + text.encode()


def parse(data: bytes) -> tuple[int, str]:
    """The number of tokens, and the text. The process that made the bytes may have been under foreign control."""
    return int.from_bytes(data[:COUNT_BYTES], "big"), data[COUNT_BYTES:].decode(errors="replace")
