"""`verify` of the parts that uploads in progress have stored."""

import hashlib

from filestead.domain.blobs import BlobState, BlobStore
from filestead.domain.files.interfaces import FileRepository
from filestead.domain.files.verify import PAGE, check_part
from filestead.domain.integrity import Violation
from filestead.domain.uploads.interfaces import UploadRepository


async def find_damaged_parts(
    uploads: UploadRepository, files: FileRepository, blobs: BlobStore, *, deep: bool
) -> list[Violation]:
    """Check every stored part of a pending upload; `deep` also reads and hashes its content."""
    found: list[Violation] = []
    after = 0
    while page := await uploads.scan_parts(after, PAGE):
        for part in page:
            finding = await check_part(blobs, part.id, part.content, hashlib.sha256() if deep else None)
            key = part.content.blob_key
            if finding is not None and (await files.blob_states([key])).get(key) is BlobState.LIVE:
                found.append(finding)
        after = page[-1].seq
    return found
