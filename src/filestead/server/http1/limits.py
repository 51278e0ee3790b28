"""The limits of a connection."""

from dataclasses import dataclass, field

from filestead.server.http1.lingering import LingeringLimits

FRAMING = 8
"""Bytes of a chunked body that may come with each byte of content. One-byte chunks need six."""

CUTS = 16
"""Blank lines in a small read at which a chunked body may end. What is behind the last of them is parsed in one go, as
large reads are, for looking for the end takes as long as parsing."""

PIPELINED = 1
"""Requests that may wait if they were parsed in one go with the end of a chunked body."""

PIPELINED_WITH_KEY = 100
"""The same in large reads, which only an application that wants the body makes: it knows the key."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a peer may cost before the app knows of its request; `connections` is per process."""

    head_seconds: float = 10.0
    head_bytes: int = 32 * 1024
    headers: int = 100
    target_bytes: int = 8 * 1024
    send_stall_seconds: float = 60.0
    connections: int = 2048
    connections_by_address: int = 2048
    health: frozenset[bytes] = frozenset({b"/health", b"/health/ready"})
    """Paths that are also served to connections beyond the limits."""

    lingering: LingeringLimits = field(default_factory=LingeringLimits)
