"""What a well-formed item of an eval's data source is."""

import sys
from typing import ClassVar

from filestead.domain.jsonl.decoders import Decode, Decoders
from filestead.domain.jsonl.members import JsonObject, check_given, require_object


class EvalsLines:
    """Items of an eval's data source."""

    max_lines: ClassVar[int] = sys.maxsize
    built: ClassVar[bool] = False
    take: ClassVar[None] = None

    def __init__(self, decoders: Decoders) -> None:
        self.decoders: tuple[Decode, ...] = decoders.evals

    def check(self, number: int, line: JsonObject) -> None:
        """An item, perhaps with the sample of a model."""
        require_object(line, "item")
        check_given(line, {"sample": require_object})
