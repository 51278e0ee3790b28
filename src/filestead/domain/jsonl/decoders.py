"""The interface of the decoders of lines. Each accepts bytes and raises ValueError or RecursionError.

What a typed decoder returns is well formed as far as its type states; it rejects every other line. It reads JSON
strictly, and skips members that no check reads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from filestead.domain.jsonl.members import JsonObject

Decode = Callable[[bytes], Any]


class Undecided(ValueError):
    """A decoded line may have a fault, which the checks by member find."""


@dataclass(frozen=True, slots=True)
class Decoders:
    """Typed decoders of each kind of file, and one for any object."""

    batch: tuple[Decode, ...]
    training: tuple[Decode, ...]
    evals: tuple[Decode, ...]
    members: Callable[[bytes], JsonObject]
    """Returns the members of an object that the checks read."""
