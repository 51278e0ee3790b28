"""Whether a received part is one that its upload has already: what a request that is sent again means.

Equal bytes are interchangeable, ids are not: a list of parts may not name one twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from filestead.domain.errors import PartKeyReused
from filestead.domain.uploads.model import Part, ReceivedPart


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A stored part of the upload."""

    part: Part
    blob_key: str
    bytes: int
    sha256: str
    first_copy_due: bool
    """It was sent again and stored when nothing equalled it, so the request that it repeats may still arrive."""


@dataclass(frozen=True, slots=True)
class SamePart:
    """The received part is this one, and gets its id."""

    part: Part


@dataclass(frozen=True, slots=True)
class SharedBytes:
    """The received part becomes a part of its own that shares the bytes of this one, and counts none."""

    stored: StoredPart


@dataclass(frozen=True, slots=True)
class NewBytes:
    """The received part has bytes of its own, and counts them."""

    first_copy_due: bool = False


Identity = SamePart | SharedBytes | NewBytes


def by_key(part: ReceivedPart, stored: StoredPart | None) -> Identity:
    """With an idempotency key: `stored` is the part with the same key. Raises `PartKeyReused` for other bytes."""
    if stored is None:
        return NewBytes()
    if (stored.bytes, stored.sha256) != (part.bytes, part.sha256):
        raise PartKeyReused(stored.part.id)
    return SamePart(stored.part)


def by_content(part: ReceivedPart, equal: Sequence[StoredPart], *, has_room: bool) -> Identity:
    """Without a key: `equal` are stored parts with the same bytes, the last ones first; two or more of several.

    - A part that is not `repeated` is never one that was sent before. It may come after its own repetition, when a
      proxy gave up waiting for it: then its bytes are counted already.
    - A repeated part that nothing equals has never been stored.
    - One that fits into what is left of the upload was stored, or was not and equals another part, as those of a disk
      image do. A part of its own is right in both cases.
    - One that does not fit was stored: it is the equal part if there is one, whose id the client expects. Of several,
      any may have an id that the client has for another part, so this one gets its own.
    """
    if not part.repeated:
        late = next((each for each in equal if each.first_copy_due), None)
        return NewBytes() if late is None else SharedBytes(late)
    if not equal:
        return NewBytes(first_copy_due=True)
    if len(equal) == 1 and not has_room:
        return SamePart(equal[0].part)
    return SharedBytes(equal[0])
