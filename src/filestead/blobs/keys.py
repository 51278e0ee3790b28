"""Keys of blobs: random, ours, and never derived from a name that a user chose."""

import re
import secrets

from filestead.domain.blobs import INLINE_PREFIX
from filestead.domain.random_bits import random_bits

KEY = re.compile(r"[0-9a-z]{32}")


def new_key() -> str:
    """A fresh key: two characters of shard and 120 more random bits."""
    return secrets.token_hex(16)


def new_inline_key(now_ms: int) -> str:
    """A fresh key of an inline blob: the time, and 76 random bits.

    Keys of one moment are neighbours in the indexes, so that a group of uploads changes few pages of them.
    """
    return f"{INLINE_PREFIX}{now_ms:012x}{random_bits(76):019x}"
