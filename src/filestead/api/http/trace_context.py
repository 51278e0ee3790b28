"""W3C Trace Context: a request that belongs to a trace continues it in requests to other servers.

Source: https://www.w3.org/TR/trace-context/ (level 1). A request without the header, or with an invalid one, belongs to
no trace of its client. `tracestate` is passed on unchanged, and only together with a valid `traceparent`.
"""

import re

from filestead.domain.observation import CallerSpan

_HEADER = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_VISIBLE = re.compile(r"[ -~]*")


def caller_span(headers: list[tuple[bytes, bytes]]) -> CallerSpan | None:
    """Return the span that the headers name as the parent of this request; None outside of a trace."""
    values = [value for name, value in headers if name == b"traceparent"]
    if len(values) != 1 or not (found := _HEADER.fullmatch(values[0])):
        return None
    version, trace, span, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more) or trace == b"0" * 32 or span == b"0" * 16:
        return None
    state = ",".join(value.decode("latin-1") for name, value in headers if name == b"tracestate")
    return CallerSpan(
        trace.decode(), span.decode(), bool(int(flags, 16) & 1), state if _VISIBLE.fullmatch(state) else ""
    )
