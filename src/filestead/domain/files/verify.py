"""`verify`: checks the invariants on stored data. Only reads, and may run while servers work.

Each finding is confirmed by a second look, since files come and go meanwhile.
"""

import hashlib
from collections.abc import AsyncIterator, Callable

from filestead.domain.blobs import BlobState, BlobStore
from filestead.domain.errors import BlobNotFound
from filestead.domain.files.interfaces import FileRepository
from filestead.domain.files.model import ContentPart, File
from filestead.domain.integrity import VerifyReport, Violation

PAGE = 1_000
RESTORE = "restore the blob from the backup, or delete the file"
Progress = Callable[[VerifyReport], None]


async def verify(
    repository: FileRepository, blobs: BlobStore, *, deep: bool, progress: Progress = lambda report: None
) -> VerifyReport:
    """Check every row and every blob; `deep` also reads and hashes all content. Calls `progress` after each page."""
    report = VerifyReport()
    report.violations += await repository.check()
    report.violations += blobs.inspect()
    after = ""
    while page := await repository.scan_files(after, PAGE):
        for file in page:
            finding = await _check_file(repository, blobs, file, deep=deep)
            if finding is not None and await _is_live(repository, file.blob_key):
                report.violations.append(finding)
            report.files += 1
            report.bytes += file.bytes
        progress(report)
        after = page[-1].id
    async for keys, orphans in _pages_of_orphans(repository, blobs):
        report.blobs += len(keys)
        report.violations += [
            Violation("I-04", "B", key, "the blob has no row in the database", "run `filestead sweep --orphans`")
            for key in orphans
        ]
        progress(report)
    return report


async def find_orphans(repository: FileRepository, blobs: BlobStore) -> list[str]:
    """Return blobs without a row. There are none, unless the database was restored from an older backup."""
    return [key async for _, orphans in _pages_of_orphans(repository, blobs) for key in orphans]


async def _is_live(repository: FileRepository, key: str) -> bool:
    return (await repository.blob_states([key])).get(key) is BlobState.LIVE


async def _pages_of_orphans(repository: FileRepository, blobs: BlobStore) -> AsyncIterator[tuple[list[str], list[str]]]:
    """Yield pages of stored keys, each with those that have no row."""
    page: list[str] = []
    async for key in blobs.stored_keys():
        page.append(key)
        if len(page) == PAGE:
            yield page, await _orphans_of(repository, blobs, page)
            page = []
    yield page, await _orphans_of(repository, blobs, page)


async def _orphans_of(repository: FileRepository, blobs: BlobStore, keys: list[str]) -> list[str]:
    suspects = set(keys) - set(await repository.blob_states(keys))
    # A blob that is gone by now was being deleted; a new one has its row by now.
    return [
        key for key in sorted(suspects) if key not in await repository.blob_states([key]) and await blobs.exists(key)
    ]


async def _check_file(repository: FileRepository, blobs: BlobStore, file: File, *, deep: bool) -> Violation | None:
    """Check the content. A file in parts may lack the digest of the whole; its parts have theirs."""
    parts = [ContentPart(file.blob_key, file.bytes, file.sha256)]
    if file.parts is not None:
        parts = await repository.content_parts(file.blob_key)
    whole = hashlib.sha256()
    for part in parts:
        finding = await check_part(blobs, file.id, part, whole if deep else None)
        if finding is not None:
            return finding
    if deep and file.parts is not None and file.sha256 not in ("", whole.hexdigest()):
        return Violation("I-03", "A", file.id, "the SHA-256 of the content is not the recorded one", RESTORE)
    return None


async def check_part(blobs: BlobStore, name: str, part: ContentPart, whole: "hashlib._Hash | None") -> Violation | None:
    """Check the blob of a file or of a part; with `whole`, its content, too, which is added to that digest."""
    size = await blobs.size(part.blob_key)
    if size is None:
        return Violation("I-02", "A", name, "the blob is missing", RESTORE)
    if size != part.bytes:
        return Violation("I-02", "A", name, f"the blob has {size} bytes instead of {part.bytes}", RESTORE)
    if whole is not None and await _digest(blobs, part.blob_key, whole) not in (None, part.sha256):
        return Violation("I-03", "A", name, "the blob's SHA-256 is not that of the upload", RESTORE)
    return None


async def _digest(blobs: BlobStore, key: str, whole: "hashlib._Hash") -> str | None:
    digest = hashlib.sha256()
    try:
        async for block in blobs.read(key):
            digest.update(block)
            whole.update(block)
    except BlobNotFound:
        return None  # deleted meanwhile
    return digest.hexdigest()
