"""Requests of batch files: well formed if some server could run them in one batch.

The runner of the hosted service is stricter: it has eight endpoints and runs one model in a batch. The mode `hosted`
applies its rules.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from filestead.domain.jsonl.decoders import Decode, Decoders, Undecided
from filestead.domain.jsonl.members import (
    JsonObject,
    LineFault,
    is_present,
    require_object,
    require_one_of,
    require_text,
    shown,
    unexpected,
)

BATCH_ENDPOINTS = (
    *("/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/completions", "/v1/moderations"),
    *("/v1/images/generations", "/v1/images/edits", "/v1/videos"),
)
WITH_MODEL = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
"""The endpoints that require a model; a response may name a stored `prompt` instead."""
MAX_REQUESTS = 50_000

_CLEAN_PATH = re.compile(r"/v1(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~!$&'()*+,;=:@-]+)+", re.ASCII)
_PATH = "a path such as '/v1/chat/completions'"


class BatchLines:
    """Requests of one file: each with a unique id, all for one endpoint."""

    max_lines: ClassVar[int] = MAX_REQUESTS
    built: ClassVar[bool] = False

    def __init__(self, decoders: Decoders, *, hosted: bool = False) -> None:
        self.decoders: tuple[Decode, ...] = decoders.batch
        self._hosted = hosted
        # Hashes stand for the ids, which may be as long as a line; 50,000 of them collide once in 10**10 files.
        self._first_seen: dict[int, int] = {}
        self._url: str | None = None
        self._model: str | None = None

    def check_decoded(self, requests: Iterable[Any], number: Callable[[], int]) -> None:
        """Check decoded requests: the types of their members are correct, and they do not stream."""
        for request in requests:
            url, body = request.url, request.body
            if url != self._url and not self._is_endpoint(url):
                raise Undecided
            if not body.model and self._needs_model(url, prompt=body.has_prompt()):
                raise Undecided
            self._require_unique_id(number(), request.custom_id)
            self._require_same(url, body.model or None)

    def check(self, number: int, line: JsonObject) -> None:
        """Check one request, member by member."""
        custom_id = require_text(line, "custom_id")
        self._require_unique_id(number, custom_id)
        if line.get("method") != "POST":
            raise unexpected(line, "method", "'POST'")
        url = self._require_url(line)
        body = require_object(line, "body")
        try:
            model = self._require_model(body, url)
            if body.get("stream") is True:
                raise LineFault("stream", "is true; expected false, since no batch can stream")
        except LineFault as fault:
            raise fault.within("body") from None
        self._require_same(url, model)

    def _require_unique_id(self, number: int, custom_id: str) -> None:
        first_seen = self._first_seen.setdefault(hash(custom_id), number)
        if first_seen != number:
            raise LineFault("custom_id", f"is {shown(custom_id)}, as in line {first_seen}; expected one of its own")

    def _require_url(self, line: JsonObject) -> str:
        if self._hosted:
            return require_one_of(line, "url", BATCH_ENDPOINTS)
        url = line.get("url")
        if not isinstance(url, str) or not self._is_endpoint(url):
            raise unexpected(line, "url", _PATH)
        return url

    def _require_model(self, body: JsonObject, url: str) -> str | None:
        model = body.get("model")
        if isinstance(model, str) and model:
            return model
        if self._needs_model(url, prompt=is_present(body, "prompt")) or (
            model is not None and not isinstance(model, str)
        ):
            raise unexpected(body, "model", "a non-empty string")
        return None

    def _is_endpoint(self, url: str) -> bool:
        return url in BATCH_ENDPOINTS or (not self._hosted and _CLEAN_PATH.fullmatch(url) is not None)

    def _needs_model(self, url: str, *, prompt: bool) -> bool:
        if self._hosted:
            return True
        return url in WITH_MODEL and not (prompt and url == "/v1/responses")

    def _require_same(self, url: str, model: str | None) -> None:
        if self._url is None:
            self._url, self._model = url, model
        if url != self._url:
            raise _another("url", url, self._url)
        if self._hosted and model != self._model:
            raise _another("body.model", model, self._model)


def _another(member: str, value: str | None, first: str | None) -> LineFault:
    return LineFault(member, f"is {shown(value)}; expected {shown(first)}, as in the lines before")
