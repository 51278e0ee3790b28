"""A relay of whole connections that counts the bytes of the client, and cuts or holds them; and files to send through it."""

import contextlib
import hashlib
import os
import socket
import threading
from pathlib import Path

MIB = 1024 * 1024


class Relay:
    """Passes connections on as they are. `passed` counts the bytes from clients, `cuts` the connections that were cut.

    Each connection is closed after `cut_after` bytes from its client. When `hold_after` bytes have passed in all, no
    more are passed on until `release` is called.
    """

    def __init__(self, port: int, *, cut_after: int | None = None, hold_after: int | None = None) -> None:
        self._port, self._cut_after, self._hold_after = port, cut_after, hold_after
        self._released = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._lock = threading.Lock()
        self._generation = 0
        self.held = threading.Event()
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self.passed = self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def release(self) -> None:
        """Cut the connections so far, hold nothing any more, and count from 0 again."""
        with self._lock:
            self._generation += 1
            self._hold_after = None
            self.passed = 0
        self._released.set()

    def close(self) -> None:
        """Accept no more connections."""
        self._released.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            for source, target, counted in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._relay, args=(source, target, counted), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        of_connection, generation = 0, self._generation
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if counted:
                    self._wait_if_held()
                target.sendall(data)
                if counted:
                    of_connection += len(data)
                    with self._lock:
                        # What a killed client has left in the buffers is none of the next one's bytes.
                        if self._generation != generation:
                            break
                        self.passed += len(data)
                    if self._cut_after is not None and of_connection > self._cut_after:
                        self.cuts += 1
                        break
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _wait_if_held(self) -> None:
        if self._hold_after is not None and self.passed >= self._hold_after:
            self.held.set()
            self._released.wait(60)
            raise ConnectionAbortedError


def write_random(path: Path, size: int) -> str:
    """Write a file in which no two parts are equal. Return its SHA-256."""
    digest, block = hashlib.sha256(), os.urandom(MIB)
    with path.open("wb") as file:
        for number in range(0, size, MIB):
            data = (number.to_bytes(8, "big") + block[8:])[: size - number]
            file.write(data)
            digest.update(data)
    return digest.hexdigest()


def write_sparse(path: Path, size: int) -> str:
    """Write a file of zeros in which each MiB begins with its place, so that no two parts are equal. Return its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        file.truncate(size)
        for place in range(0, size, MIB):
            mark = place.to_bytes(8, "big")[: size - place]
            file.seek(place)
            file.write(mark)
            digest.update(mark + bytes(min(MIB, size - place) - len(mark)))
    return digest.hexdigest()
