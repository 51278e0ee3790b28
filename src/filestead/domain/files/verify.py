"""`verify`: checks the invariants on stored data. Only reads, and may run while servers work.

Each finding is confirmed by a second look, since files come and go meanwhile.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator

from filestead.domain.blobs import BlobState, BlobStore
from filestead.domain.errors import BlobNotFound
from filestead.domain.files.interfaces import FileRepository
from filestead.domain.files.model import ContentPart, File
from filestead.domain.integrity import Repair, VerifyReport, Violation

PAGE = 1_000
RESTORE = "restore the blob from the backup, or delete the file"
Progress = Callable[[VerifyReport], None]


def ignore_progress(_report: VerifyReport) -> None:
    """Show nothing."""


async def verify(
    repository: FileRepository, blobs: BlobStore, *, deep: bool, progress: Progress = ignore_progress
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
    remains = await _find_remains(repository, blobs)
    async for keys, orphans in _pages_of_orphans(repository, blobs):
        report.blobs += len(keys)
        remains -= set(orphans)
        report.violations += [
            Violation(
                *("I-04", "B", key, "the blob has no row in the database", "run `filestead sweep --orphans`"),
                Repair.DELETE,
            )
            for key in orphans
        ]
        progress(report)
    report.violations += [
        Violation(
            *("I-07", "B", key, "an incomplete upload to the blob store that no upload continues"),
            *("run `filestead sweep`", Repair.SWEEP),
        )
        for key in sorted(remains)
    ]
    return report


async def delete_orphans(repository: FileRepository, blobs: BlobStore) -> int:
    """Delete blobs without a row, and return their number.

    There are none, unless the database was restored from an older backup.
    """
    orphans = [key async for _, found in _pages_of_orphans(repository, blobs) for key in found]
    for key in orphans:
        await blobs.delete(key)
    return len(orphans)


async def _find_remains(repository: FileRepository, blobs: BlobStore) -> set[str]:
    """Keys of incomplete puts whose blob is complete or gone: twice, as a put may end between a list and its states.

    Those of a blob that is marked for deletion go with it.
    """
    found: set[str] | None = None
    for _ in range(2):
        listed = {key async for key in blobs.list_incomplete()}
        found = listed if found is None else found & listed
        for page in _pages(sorted(found)):
            states = await repository.blob_states(page)
            found -= {key for key in page if states.get(key) in {BlobState.PENDING, BlobState.DELETED}}
        if not found:
            break
    return found or set()


def _pages(keys: list[str]) -> Iterator[list[str]]:
    return (keys[start : start + PAGE] for start in range(0, len(keys), PAGE))


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
