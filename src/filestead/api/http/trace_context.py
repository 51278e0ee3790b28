"""W3C Trace Context: a request that belongs to a trace continues it in requests to other servers.

Source: https://www.w3.org/TR/trace-context/ (level 1). A request without the header, or with an invalid one, belongs to
no trace; `tracestate` is not passed on, which the recommendation allows to a server that does not know its vendors.
"""

import random
import re

_HEADER = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def continued_trace(headers: list[tuple[bytes, bytes]]) -> str | None:
    """Return the `traceparent` of this server's part of the trace, with a new parent id; None outside of a trace."""
    values = [value for name, value in headers if name == b"traceparent"]
    if len(values) != 1 or not (found := _HEADER.fullmatch(values[0])):
        return None
    version, trace, parent, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more) or trace == b"0" * 32 or parent == b"0" * 16:
        return None
    own = random.getrandbits(64) or 1
    return f"00-{trace.decode()}-{own:016x}-{int(flags, 16) & 1:02x}"
