"""Keys of blobs: random, ours, and never derived from a name that a user chose."""

import re
import secrets

KEY = re.compile(r"[0-9a-z]{32}")


def new_key() -> str:
    """A fresh key: two characters of shard and 120 more random bits."""
    return secrets.token_hex(16)
