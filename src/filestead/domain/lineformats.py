"""What a well-formed line of a JSONL file is, and what the lines of one file must share or must not repeat."""

import sys
from collections.abc import Callable
from typing import ClassVar, Protocol

from filestead.domain.members import (
    JsonObject,
    LineFault,
    check_given,
    require_object,
    require_one_of,
    require_text,
    shown,
    unexpected,
)
from filestead.domain.purposes import Content
from filestead.domain.training import TrainingLines

BATCH_ENDPOINTS = (
    *("/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/completions", "/v1/moderations"),
    *("/v1/images/generations", "/v1/images/edits", "/v1/videos"),
)
MAX_REQUESTS = 50_000


class LineFormat(Protocol):
    """The check of one kind of file; it lives as long as the upload does."""

    max_lines: ClassVar[int]

    def check(self, number: int, line: JsonObject) -> None:
        """Raise `LineFault` unless the line, whose physical number is given, is well formed."""


class BatchLines:
    """Requests of a batch: each with an id of its own, all for one endpoint and one model."""

    max_lines: ClassVar[int] = MAX_REQUESTS

    def __init__(self) -> None:
        # Hashes stand for the ids, which may be as long as a line; 50,000 of them collide once in 10**10 files.
        self._first_seen: dict[int, int] = {}
        self._target: tuple[str, str] | None = None

    def check(self, number: int, line: JsonObject) -> None:
        """A request."""
        custom_id = require_text(line, "custom_id")
        first_seen = self._first_seen.setdefault(hash(custom_id), number)
        if first_seen != number:
            raise LineFault("custom_id", f"is {shown(custom_id)}, as in line {first_seen}; expected one of its own")
        if line.get("method") != "POST":
            raise unexpected(line, "method", "'POST'")
        url = require_one_of(line, "url", BATCH_ENDPOINTS)
        body = require_object(line, "body")
        model = body.get("model")
        if not model or not isinstance(model, str):
            raise unexpected(body, "model", "a non-empty string").within("body")
        target = url, model
        if self._target is None:
            self._target = target
        elif target != self._target:
            raise _another_target(target, self._target)


class EvalsLines:
    """Items of an eval's data source."""

    max_lines: ClassVar[int] = sys.maxsize

    def check(self, number: int, line: JsonObject) -> None:
        """An item, perhaps with the sample of a model."""
        require_object(line, "item")
        check_given(line, {"sample": require_object})


FORMATS: dict[Content, Callable[[], LineFormat]] = {
    Content.BATCH: BatchLines,
    Content.TRAINING: TrainingLines,
    Content.EVALS: EvalsLines,
}


def _another_target(target: tuple[str, str], first: tuple[str, str]) -> LineFault:
    index = 0 if target[0] != first[0] else 1
    member = ("url", "body.model")[index]
    return LineFault(member, f"is {shown(target[index])}; expected {shown(first[index])}, as in the lines before")
