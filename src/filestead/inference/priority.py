"""The member `priority` of vLLM in the bodies of lines: whether a model of an endpoint takes it. No input or output.

vLLM runs requests with a lower number first; clients that send none have 0. A server without
`--scheduling-policy priority` refuses any other number with 400. SGLang has the member, too, but there the higher
number comes first: it is sent only where the configuration or the metrics say that the server is a vLLM.
"""

from typing import Literal

import msgspec

PriorityMode = Literal["auto", "on", "off"]
"""Whether the member is sent: where the server is a vLLM and takes it, where it takes it, or never."""

PRIORITY = 10
MAX_TRIALS = 3
"""Trials that may end without a result, because the line is refused in any case."""

REFUSED = {400, 422}
KEY_SUFFIX = "-priority"
"""Of the idempotency key of a trial: a gateway that remembers refusals must not return it for the line itself."""

_VLLM = "vllm"
_LEADING = b'{"priority":%d,' % PRIORITY


class _Members(msgspec.Struct):
    priority: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode = msgspec.json.Decoder(_Members).decode


def with_priority(body: bytes) -> bytes | None:
    """The body with the member; None if it has one of its own, or is no JSON object with members."""
    try:
        if _decode(body).priority is not msgspec.UNSET:
            return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    rest = body.lstrip(b" \t\r\n")[1:]
    return None if rest.lstrip(b" \t\r\n").startswith(b"}") else _LEADING + rest


class PriorityField:
    """What is known of one model of one endpoint. One line at a time tries it out, and is sent again if refused."""

    def __init__(self, mode: PriorityMode) -> None:
        self._mode = mode
        self._is_vllm = False
        self._takes: bool | None = False if mode == "off" else None
        self._trials = 0
        self._is_trying = False

    @property
    def takes(self) -> bool | None:
        """Whether the endpoint takes it; None while that is unknown."""
        return self._takes

    def note_server(self, server: str | None) -> None:
        """Take what kind of server the metrics show."""
        self._is_vllm = server == _VLLM

    def begin(self, body: bytes) -> tuple[bytes | None, bool]:
        """The body to send instead of this one, or None, and whether it is a trial. `end` must follow a trial."""
        if self._takes is False or (self._mode == "auto" and not self._is_vllm) or self._is_trying:
            return None, False
        changed = with_priority(body)
        self._is_trying = changed is not None and self._takes is None
        return changed, self._is_trying

    def end(self) -> None:
        """End a trial, whatever came of it."""
        self._is_trying = False

    def is_refused(self, status: int, body: bytes, *, is_trial: bool) -> bool:
        """Take the response to a body with the member. Returns whether the line must be sent again, without it."""
        if status in REFUSED:
            if is_trial:
                return True
            if b"priority" in body.lower():
                self._takes = False
                return True
        elif is_trial and 200 <= status < 300:
            self._takes = True
        return False

    def compare(self, status: int) -> None:
        """Take the response to the same line without the member, after a trial was refused."""
        self._trials += 1
        if 200 <= status < 300 or self._trials >= MAX_TRIALS:
            self._takes = False
