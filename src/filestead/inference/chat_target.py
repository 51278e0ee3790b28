"""Keeps the batches of one endpoint within a target for the time to first token (TTFT) of chats."""

import logging
from collections.abc import Callable, Iterable

from filestead.inference.chat_probe import ChatProbe
from filestead.inference.lanes import Lane
from filestead.inference.politeness import Politeness

log = logging.getLogger("filestead")


class ChatTarget:
    """Takes the measurements of chats, sends probes while there are none, and tells the lanes their bound."""

    def __init__(
        self,
        politeness: Politeness,
        probe: ChatProbe,
        lanes: Callable[[], Iterable[Lane]],
        report: Callable[[str], None],
    ) -> None:
        """`lanes` returns those of the endpoint; `report` is called with the outcome of each probe."""
        self._politeness = politeness
        self._probe = probe
        self._lanes = lanes
        self._report = report

    @property
    def bound(self) -> int | None:
        """How many requests of batches may be in flight for one model; None for any number."""
        return self._politeness.bound

    def p95(self) -> float | None:
        """The measure, in seconds; None without measurements."""
        return self._politeness.p95()

    def note_first_token(self, seconds: float) -> None:
        """Take the time to the first token of a chat that has come now."""
        lanes = list(self._lanes())
        self._politeness.add(
            seconds,
            in_flight=max((lane.in_flight for lane in lanes), default=0),
            limit=max((lane.limit for lane in lanes), default=0),
        )
        self._bind()

    async def measure(self) -> None:
        """Send a probe if batches run and nothing was measured for a while. Never raises."""
        self._bind()  # if the measurements have become too old
        busy = [lane for lane in self._lanes() if lane.in_flight]
        if not busy or self._politeness.seconds_to_probe() > 0:
            return
        model = max(busy, key=lambda lane: lane.in_flight).model
        if not self._probe.is_useful(model):
            return
        try:
            outcome, seconds = await self._probe.measure(model)
        except Exception:
            log.exception("a probe of the time to first token failed")
            return
        self._report(outcome)
        if outcome in {"ok", "timeout"}:
            self.note_first_token(seconds)

    def _bind(self) -> None:
        for lane in self._lanes():
            lane.bind(self._politeness.bound)
