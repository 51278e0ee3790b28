"""The decoders that the checks of lines are given. Each takes bytes and raises ValueError or RecursionError.

A typed decoder refuses each line that it cannot vouch for: what it gives is well formed as far as its type goes. It
reads JSON strictly, and looks at no more of a line than it must.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from filestead.domain.jsonl.members import JsonObject

Decode = Callable[[bytes], Any]


class Undecided(ValueError):
    """A decoded line may have a fault; the checks by members find out."""


@dataclass(frozen=True, slots=True)
class Decoders:
    """Typed decoders of each kind of file, and one that takes any object."""

    batch: tuple[Decode, ...]
    training: tuple[Decode, ...]
    evals: tuple[Decode, ...]
    members: Callable[[bytes], JsonObject]
    """The object's members, as far as the checks read them."""
