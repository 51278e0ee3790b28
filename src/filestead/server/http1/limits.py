"""The limits of a connection."""

from dataclasses import dataclass, field

from filestead.server.http1.lingering import LingeringLimits

FRAMING_BYTES_PER_BODY_BYTE = 8
"""Framing allowed for each byte of a chunked body. Chunks of one byte need six."""

MAX_SPLITS_PER_READ = 16
"""Blank lines of a small read that are examined as the possible end of a chunked body. The rest is parsed at once, as
large reads are, because searching for the end takes as long as parsing."""

MAX_PIPELINED = 1
"""Requests that may wait if they were parsed together with the end of a chunked body."""

MAX_PIPELINED_IN_LARGE_READS = 100
"""The same for large reads, which only happen when the application wants the body: the API key is valid then."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a peer may use before the application knows its request. `max_connections` applies to one process."""

    head_seconds: float = 10.0
    max_head_bytes: int = 32 * 1024
    max_headers: int = 100
    max_target_bytes: int = 8 * 1024
    send_stall_seconds: float = 60.0
    max_connections: int = 2048
    max_connections_per_address: int = 2048
    health_check_paths: frozenset[bytes] = frozenset({b"/health", b"/health/ready"})
    """Paths that are also served to connections above the limits."""

    lingering: LingeringLimits = field(default_factory=LingeringLimits)
