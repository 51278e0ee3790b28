"""The results of a task on their way to the parent: frames of a kind (1 byte), a length (4 bytes) and a payload."""

import os
import struct
from enum import IntEnum

_HEADER = struct.Struct("!BI")
HEADER_BYTES = _HEADER.size
MESSAGE_CHARACTERS = 1_000
"""Of an error."""


class Kind(IntEnum):
    """What a frame says. A task has any number of `DATA` and one of the others, at the end."""

    DATA = 0
    END = 1
    REJECTED = 2
    """The payload is the kind, a newline, and the message."""
    FAILED = 3
    """The payload is a value of `Failure`, a newline, and details."""


class BadFrame(ValueError):
    """The bytes are not a frame within the limits."""


def frame(kind: Kind, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return _HEADER.pack(kind, len(payload)) + payload


def message(kind: Kind, word: str, text: str) -> bytes:
    """Return a frame with a word and a text, of which the beginning is kept."""
    return frame(kind, f"{word[:100]}\n{text[:MESSAGE_CHARACTERS]}".encode(errors="replace"))


def parse_header(header: bytes, limit: int) -> tuple[Kind, int]:
    """Return the kind and length of a frame whose payload may have `limit` bytes. Raises `BadFrame`."""
    kind, length = _HEADER.unpack(header)
    if length > limit:
        raise BadFrame(f"a frame of {length} bytes")
    try:
        return Kind(kind), length
    except ValueError:
        raise BadFrame(f"a frame of kind {kind}") from None


def parse_message(payload: bytes) -> tuple[str, str]:
    """Return the word and the text of a message."""
    word, _, text = payload.decode(errors="replace").partition("\n")
    return word, text


def write(descriptor: int, data: bytes) -> None:
    """Write all bytes to a blocking descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
