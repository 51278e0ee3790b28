"""Ports for servers that are told theirs, and keep it when they are started again."""

import os
import random
import socket
from pathlib import Path

FIRST = 10_000
GIVEN = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The ports that the system gives to connections, and to servers that ask for any."""


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens, and that the system gives to nobody else while their server is not up.

    Each process of pytest-xdist has ports of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    end = int(GIVEN.read_text().split()[0]) if GIVEN.exists() else 0
    candidates = list(range(FIRST + worker, end, workers))
    random.SystemRandom().shuffle(candidates)
    found: list[int] = []
    for port in [*candidates, *[0] * count]:  # any, where the system leaves none
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(int(probe.getsockname()[1]))
        if len(found) == count:
            break
    return found


def free_port() -> int:
    """One such port."""
    return free_ports(1)[0]
