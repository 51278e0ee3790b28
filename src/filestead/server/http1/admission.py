"""Admission control: which connections are open in a process, by address, and which idle one is evicted for a new one.

A connection is idle while it has no request: nothing has arrived yet, its head is incomplete, or its last response has
been written. Only idle connections are evicted, the longest idle first. A request in progress is never interrupted.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from filestead.domain.address_group import address_group

MIN_IDLE_SECONDS = 0.5
"""Idle time before a connection may be evicted: the request of a new connection may not have been read yet."""

HEALTH_CHECK_RESERVE = 32
"""Connections above a limit that are still read, as they may be health checks. One more evicts the oldest of those
that have sent no request yet."""


class Admission(Enum):
    """The decision on a new connection."""

    ADMITTED = "admitted"
    HEALTH_CHECKS_ONLY = "health checks only"
    REJECTED = "rejected"


class Evictable(Protocol):
    """A connection that can be evicted."""

    def evict(self) -> None:
        """Close the connection, with a 503 response if it was admitted for health checks only."""


@dataclass(slots=True, eq=False)
class AddressEntry:
    """The connections of one address. `idle` maps each to the loop time since which it is idle, the longest first."""

    name: str
    count: int = 0
    idle: dict[Evictable, float] = field(default_factory=dict)


class AdmissionController:
    """All connections of one event loop, except lingering ones."""

    def __init__(self, max_connections: int, max_connections_per_address: int) -> None:
        self._max_connections = max_connections
        self._max_connections_per_address = max_connections_per_address
        self._count = 0
        self._addresses: dict[str, AddressEntry] = {}
        self._idle: dict[Evictable, float] = {}
        self._health_checks_only: dict[Evictable, None] = {}  # the idle ones that are above a limit

    def admit(self, connection: Evictable, host: str, now: float) -> tuple[AddressEntry, Admission]:
        """Register a new connection as idle, and evict another one if a limit is exceeded."""
        name = address_group(host)
        address = self._addresses.setdefault(name, AddressEntry(name))
        self._count += 1
        address.count += 1
        admission = Admission.ADMITTED
        for count, limit, idle in (
            (address.count, self._max_connections_per_address, address.idle),
            (self._count, self._max_connections, self._idle),
        ):
            if count > limit and not _evict_longest_idle(idle, now):
                admission = Admission.HEALTH_CHECKS_ONLY
        if admission is Admission.HEALTH_CHECKS_ONLY:
            self._health_checks_only[connection] = None
            if len(self._health_checks_only) > HEALTH_CHECK_RESERVE:
                next(iter(self._health_checks_only)).evict()
            excess = max(self._count - self._max_connections, address.count - self._max_connections_per_address)
            if excess > 2 * HEALTH_CHECK_RESERVE:
                admission = Admission.REJECTED
        self.mark_idle(connection, address, now)
        return address, admission

    def remove(self, connection: Evictable, address: AddressEntry) -> None:
        """Unregister a connection that is closed, lingers, or is being evicted."""
        self.mark_busy(connection, address)
        self._count -= 1
        address.count -= 1
        if not address.count:
            self._addresses.pop(address.name, None)

    def mark_idle(self, connection: Evictable, address: AddressEntry, now: float) -> None:
        """Restart the idle time: the last request is answered, or the first byte of the next one has arrived."""
        self._idle.pop(connection, None)
        address.idle.pop(connection, None)
        self._idle[connection] = address.idle[connection] = now

    def mark_busy(self, connection: Evictable, address: AddressEntry) -> None:
        """Protect the connection from eviction: it has a request."""
        self._health_checks_only.pop(connection, None)
        self._idle.pop(connection, None)
        address.idle.pop(connection, None)


def _evict_longest_idle(idle: dict[Evictable, float], now: float) -> bool:
    connection = next(iter(idle), None)
    if connection is None or now - idle[connection] < MIN_IDLE_SECONDS:
        return False
    connection.evict()
    return True
