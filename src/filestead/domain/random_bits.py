"""Random numbers of the system, read in blocks: each read is a system call that lets go of the interpreter lock."""

import os
import threading

BLOCK_BYTES = 4096


class RandomBits:
    """A reader of the system's randomness, for any thread. Each byte is used once, also after a fork."""

    def __init__(self) -> None:
        self._start_afresh()
        os.register_at_fork(after_in_child=self._start_afresh)

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._block = b""
        self._position = 0

    def __call__(self, bits: int) -> int:
        """A random number of so many bits, at most 512."""
        size = (bits + 7) // 8
        with self._lock:
            if self._position + size > len(self._block):
                self._block, self._position = os.urandom(BLOCK_BYTES), 0
            start, self._position = self._position, self._position + size
            found = self._block[start : start + size]
        return int.from_bytes(found, "big") >> (size * 8 - bits)


random_bits = RandomBits()
