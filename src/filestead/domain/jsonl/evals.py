"""Items of the data sources of evals."""

import sys
from typing import ClassVar

from filestead.domain.jsonl.decoders import Decode, Decoders
from filestead.domain.jsonl.members import JsonObject, check_present, require_object


class EvalsLines:
    """Items of an eval's data source."""

    max_lines: ClassVar[int] = sys.maxsize
    built: ClassVar[bool] = False
    check_decoded: ClassVar[None] = None

    def __init__(self, decoders: Decoders) -> None:
        self.decoders: tuple[Decode, ...] = decoders.evals

    def check(self, number: int, line: JsonObject) -> None:
        """Check one item, with or without a sample of a model."""
        require_object(line, "item")
        check_present(line, {"sample": require_object})
