"""A network of its own for a process: two cables lead to it, one for its clients and one for its servers."""

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.nodes.fleet import pump
from tests.support.servers import Server

_numbers = itertools.count()
ADDRESSES = "198.18"
"""Addresses for measurements between networks (RFC 2544), which no machine has."""


class Namespace:
    """A network namespace; what goes through a cable that is cut is lost, and nobody is told."""

    def __init__(self) -> None:
        self.name = f"fs{os.getpid()}-{next(_numbers)}"
        subnet = os.getpid() % 250 + 1
        self.client_address, self.server_address = f"{ADDRESSES}.{subnet}.2", f"{ADDRESSES}.{subnet}.5"
        self.outside_address = f"{ADDRESSES}.{subnet}.1"
        """Where its clients are. What is there can be reached also when the other cable is cut."""
        _run("netns", "add", self.name)
        _run("-n", self.name, "link", "set", "lo", "up")
        # Names of interfaces have at most 15 characters.
        self._cables = [f"fs{os.getpid()}{end}" for end in "cs"]
        addresses = [(self.outside_address, self.client_address), (self.server_address, f"{ADDRESSES}.{subnet}.6")]
        for cable, (outside, inside) in zip(self._cables, addresses, strict=True):
            _run("link", "add", cable, "type", "veth", "peer", "name", "inside", "netns", self.name)
            _run("-n", self.name, "link", "set", "inside", "name", f"in{cable}")
            _run("addr", "add", f"{outside}/30", "dev", cable)
            _run("link", "set", cable, "up")
            _run("-n", self.name, "addr", "add", f"{inside}/30", "dev", f"in{cable}")
            _run("-n", self.name, "link", "set", f"in{cable}", "up")

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """Cut the cable to the servers, and mend it."""
        _run("link", "set", self._cables[1], "down")
        try:
            yield
        finally:
            _run("link", "set", self._cables[1], "up")

    def close(self) -> None:
        """Remove it, with its cables."""
        _run("netns", "del", self.name)


def _run(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """A namespace; the test is skipped where this account may make none."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("only root with the program ip makes networks: NO PARTITION IS TESTED")
    try:
        made = Namespace()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the system makes no network: {error.stderr.strip()}: NO PARTITION IS TESTED")
    try:
        yield made
    finally:
        made.close()


class NamespaceServer(Server):
    """A server in a namespace."""

    network: Namespace

    def _start(self, arguments: list[str], environment: dict[str, str]) -> Any:
        entered = ["ip", "netns", "exec", self.network.name]
        return self._spawn([*entered, *self._command(arguments)], environment)


class Relay:
    """An address that leads to a port of loopback."""

    def __init__(self, address: str, port: int) -> None:
        self._target = port
        self._listener = socket.create_server((address, 0), backlog=100)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
