"""A chat of one token, which measures the time to first token (TTFT) of an endpoint while nobody else does."""

import math
from collections.abc import Callable
from typing import Literal

import msgspec

from filestead.http_client.client import Client
from filestead.http_client.errors import EndpointFailure, EndpointTimeout

PROBE_TIMEOUT_SECONDS = 10.0
REFUSED_SECONDS = 300.0
"""After which a model that takes no chats is asked again."""

Outcome = Literal["ok", "timeout", "failed", "refused"]


class ChatProbe:
    """Probes of one endpoint."""

    def __init__(self, client: Client, clock: Callable[[], float]) -> None:
        """`clock` returns seconds."""
        self._client = client
        self._clock = clock
        self._refused: dict[str, float] = {}
        """Models that take no chats, with the time until which they are not asked."""

    def is_useful(self, model: str) -> bool:
        """Whether the model may take chats."""
        return self._refused.get(model, -math.inf) <= self._clock()

    async def measure(self, model: str) -> tuple[Outcome, float]:
        """Ask for a token. Returns the seconds until it came; of a timeout, those that passed."""
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "."}],
            "max_tokens": 1,
            "stream": True,
        }
        headers = {"Content-Type": "application/json"}
        began = self._clock()
        try:
            response = await self._client.open(
                "POST",
                "/chat/completions",
                msgspec.json.encode(body),
                headers=headers,
                seconds=PROBE_TIMEOUT_SECONDS,
            )
        except EndpointTimeout:
            return "timeout", self._clock() - began
        except EndpointFailure:
            return "failed", 0.0
        try:
            outcome = self._judge(response.status, model)
            if outcome == "ok" and not await response.read():
                outcome = "failed"
        except EndpointTimeout:
            outcome = "timeout"
        except EndpointFailure:
            outcome = "failed"
        finally:
            response.close()
        return outcome, self._clock() - began

    def _judge(self, status: int, model: str) -> Outcome:
        if status == 200:
            return "ok"
        if status in {429, 503, 529} or status >= 500:
            return "failed"
        self._refused = {name: until for name, until in self._refused.items() if until > self._clock()}
        self._refused[model] = self._clock() + REFUSED_SECONDS
        return "refused"
