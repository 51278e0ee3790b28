"""Which connections are open in a process, by address, and which of them gives way when there are too many.

A connection waits while it has no request: nothing has come yet, or its head is incomplete, or its last answer is
written. Only those that wait give way, the one that has waited longest first. Requests in progress are never cut.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from filestead.domain.address_group import address_group

GRACE_SECONDS = 0.5
"""Nobody gives way before: a new connection's request may just not have been read yet."""

RESERVE = 32
"""Connections beyond a limit that are still read, since they may be questions about the server's health. Of those
that have not asked yet the oldest gives way to one more."""


class Room(Enum):
    """What there is for a new connection."""

    FREE = "free"
    RESERVED = "reserved"
    """Only for a question about the server's health."""

    NONE = "none"


class Connection(Protocol):
    """What a connection must be able to do here."""

    def give_way(self) -> None:
        """Close, with an answer if it had a reserved place."""


@dataclass(slots=True, eq=False)
class Address:
    """The connections of one address. `waiting` has the loop's time at which each began to wait, the oldest first."""

    name: str
    count: int = 0
    waiting: dict[Connection, float] = field(default_factory=dict)


class Crowd:
    """All connections of a process but those that linger. Belongs to one event loop."""

    def __init__(self, limit: int, limit_by_address: int) -> None:
        self._limit = limit
        self._limit_by_address = limit_by_address
        self._count = 0
        self._addresses: dict[str, Address] = {}
        self._waiting: dict[Connection, float] = {}
        self._reserved: dict[Connection, None] = {}  # those of `_waiting` that are beyond a limit

    def enter(self, connection: Connection, host: str, now: float) -> tuple[Address, Room]:
        """Count a new connection, which waits, and make room for it if there is none."""
        name = address_group(host)
        address = self._addresses.setdefault(name, Address(name))
        self._count += 1
        address.count += 1
        room = Room.FREE
        for count, limit, waiting in (
            (address.count, self._limit_by_address, address.waiting),
            (self._count, self._limit, self._waiting),
        ):
            if count > limit and not _make_room(waiting, now):
                room = Room.RESERVED
        if room is Room.RESERVED:
            self._reserved[connection] = None
            if len(self._reserved) > RESERVE:
                next(iter(self._reserved)).give_way()
            if self._count > self._limit + 2 * RESERVE or address.count > self._limit_by_address + 2 * RESERVE:
                room = Room.NONE
        self.wait(connection, address, now)
        return address, room

    def leave(self, connection: Connection, address: Address) -> None:
        """It has closed, lingers, or gives way."""
        self.work(connection, address)
        self._count -= 1
        address.count -= 1
        if not address.count:
            self._addresses.pop(address.name, None)

    def wait(self, connection: Connection, address: Address, now: float) -> None:
        """It has no request any more, or the first byte of the next one has come."""
        self._waiting.pop(connection, None)
        address.waiting.pop(connection, None)
        self._waiting[connection] = address.waiting[connection] = now

    def work(self, connection: Connection, address: Address) -> None:
        """It has a request."""
        self._reserved.pop(connection, None)
        self._waiting.pop(connection, None)
        address.waiting.pop(connection, None)


def _make_room(waiting: dict[Connection, float], now: float) -> bool:
    connection = next(iter(waiting), None)
    if connection is None or now - waiting[connection] < GRACE_SECONDS:
        return False
    connection.give_way()
    return True
