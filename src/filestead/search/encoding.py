"""What the parts of a segment share as bytes: a header with version and checksum, and the stable hash of a term.

Header, 8 bytes: `version` uint8, `kind` uint8, two zero bytes, CRC-32 of the payload uint32. All numbers are
little-endian.
"""

import hashlib
import struct
import zlib

VERSION = 1
POSTINGS = 1
DOCUMENTS = 2

_HEADER = struct.Struct("<BBHI")
HEADER_BYTES = _HEADER.size
_HASH_BITS = 64


class DamagedSegment(Exception):
    """A bucket or a document block is not what was written, or was written by an unknown version."""


def seal(kind: int, payload: bytes) -> bytes:
    """The payload behind its header."""
    return _HEADER.pack(VERSION, kind, 0, zlib.crc32(payload)) + payload


def check(kind: int, data: bytes) -> None:
    """Verify the header of a sealed payload, which begins at `HEADER_BYTES`.

    Raises:
        DamagedSegment: the data is too short, of another version or kind, or does not match its checksum.
    """
    if len(data) < HEADER_BYTES:
        raise DamagedSegment(f"a part of an index segment has {len(data)} bytes, fewer than its header")
    version, found_kind, zero, checksum = _HEADER.unpack_from(data)
    if (version, found_kind, zero) != (VERSION, kind, 0):
        raise DamagedSegment(f"expected kind {kind} of version {VERSION}, found kind {found_kind} of version {version}")
    if zlib.crc32(memoryview(data)[HEADER_BYTES:]) != checksum:
        raise DamagedSegment(f"a part of an index segment ({len(data)} bytes) does not match its checksum")


def term_hash(term: str) -> int:
    """64 bits that stand for the term in a segment: the same in every process, version and machine.

    Two terms with one hash would be ranked as one term. Among ten million terms the probability is 3 in a million.
    """
    return int.from_bytes(hashlib.blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def bucket_of(hashed: int, buckets: int) -> int:
    """The bucket of a term, by its hash, in a segment with this number of buckets (a power of two).

    It is the leading bits of the hash, so that a bucket is a range of hashes: a bucket of a segment corresponds to
    two adjacent ones of a segment with twice as many, and merges run through both in one order.
    """
    return hashed * buckets >> _HASH_BITS
