"""Which parts make the file: the rules on the list of parts that completes an upload."""

import hashlib
import json
from collections.abc import Mapping, Sequence

from filestead.domain.errors import PartNotFound, PartRepeated, PartsDoNotAddUp
from filestead.domain.files.model import ContentPart

EMPTY_SHA256 = hashlib.sha256().hexdigest()


def arrange(
    upload_id: str, declared: int, stored: Mapping[str, ContentPart], part_ids: Sequence[str]
) -> list[ContentPart]:
    """The content of the file in order. The listed parts must exist, each once, and have the declared size in total.

    Raises `PartNotFound`, `PartRepeated` and `PartsDoNotAddUp`.
    """
    seen: set[str] = set()
    for part_id in part_ids:
        if part_id not in stored:
            raise PartNotFound(upload_id, part_id)
        if part_id in seen:
            raise PartRepeated(part_id)
        seen.add(part_id)
    parts = [stored[part_id] for part_id in part_ids]
    size = sum(part.bytes for part in parts)
    if size != declared:
        raise PartsDoNotAddUp(size, declared)
    return parts


def digest_of(part_ids: Sequence[str]) -> str:
    """A digest of the list, by which a repeated completion is recognized."""
    return hashlib.sha256(json.dumps(list(part_ids)).encode()).hexdigest()


def known_sha256(parts: Sequence[ContentPart]) -> str | None:
    """The SHA-256 of the whole content as far as it follows from the parts: of none or one."""
    if not parts:
        return EMPTY_SHA256
    return parts[0].sha256 if len(parts) == 1 else None
