"""What every installation gives: its open stores, and fresh ids."""

import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass

from filestead.blobs.health import HealthCheckedBlobs
from filestead.database.repositories.transfer import SqlTransfer
from filestead.domain.access import KeyRepository
from filestead.domain.blobs import DirectDownloads
from filestead.domain.files.interfaces import FileRepository

ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Stores:
    """The open stores of an installation, and how to close them all."""

    records: FileRepository
    keys: KeyRepository
    blobs: HealthCheckedBlobs
    transfer: SqlTransfer
    close: Callable[[], None]
    direct: DirectDownloads | None = None
    """What signs links to the bytes, where the store can."""


def new_id(prefix: str) -> str:
    """A fresh id: the prefix and 22 characters with 131 random bits, in the form the hosted service uses."""
    # One call for randomness and not 22: each is a system call, and ids are made on the hot path.
    number = secrets.randbits(160)
    characters = []
    for _ in range(22):
        number, place = divmod(number, len(ALPHABET))
        characters.append(ALPHABET[place])
    return prefix + "".join(characters)
