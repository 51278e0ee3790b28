"""How much a read takes at once: each open read holds blocks of it in memory, and its client may be slow."""

LARGEST_BYTES = 1024 * 1024
SMALLEST_BYTES = 128 * 1024
TOTAL_BYTES = 16 * LARGEST_BYTES


def block_bytes(open_reads: int) -> int:
    """The size of a block, in bytes: more than 16 open reads take smaller ones."""
    return max(SMALLEST_BYTES, min(LARGEST_BYTES, TOTAL_BYTES // max(1, open_reads)))
