"""`verify`: does what is stored keep the invariants? Reads only, and may run beside a working server.

A finding is looked at twice before it is reported, since a file may come or go between two looks.
"""

import hashlib
from collections.abc import Callable

from filestead.domain.blobs import BlobStore
from filestead.domain.errors import BlobNotFound
from filestead.domain.files.interfaces import FileRecords
from filestead.domain.files.model import File
from filestead.domain.integrity import VerifyReport, Violation

PAGE = 1_000
RESTORE = "restore the blob from the backup, or delete the file"
Progress = Callable[[VerifyReport], None]


async def verify(
    records: FileRecords, blobs: BlobStore, *, deep: bool, progress: Progress = lambda report: None
) -> VerifyReport:
    """Check every row and every blob; `deep` also reads and hashes every byte. `progress` is called now and then."""
    report = VerifyReport()
    report.violations += await records.check()
    report.violations += blobs.inspect()
    after = ""
    while page := await records.survey(after, PAGE):
        for file in page:
            finding = await _check_file(blobs, file, deep=deep)
            if finding is not None and (await records.states([file.blob_key])).get(file.blob_key) == "live":
                report.violations.append(finding)
            report.files += 1
            report.bytes += file.bytes
        progress(report)
        after = page[-1].id
    waiting: list[str] = []
    async for key in blobs.stored_keys():
        waiting.append(key)
        if len(waiting) == PAGE:
            await _check_blobs(records, blobs, waiting, report)
            progress(report)
            waiting.clear()
    await _check_blobs(records, blobs, waiting, report)
    return report


async def _check_file(blobs: BlobStore, file: File, *, deep: bool) -> Violation | None:
    size = await blobs.size(file.blob_key)
    if size is None:
        return Violation("I-02", "A", file.id, "the blob is missing", RESTORE)
    if size != file.bytes:
        return Violation("I-02", "A", file.id, f"the blob has {size} bytes instead of {file.bytes}", RESTORE)
    if deep and await _digest(blobs, file.blob_key) not in (None, file.sha256):
        return Violation("I-03", "A", file.id, "the blob's SHA-256 is not that of the upload", RESTORE)
    return None


async def _digest(blobs: BlobStore, key: str) -> str | None:
    digest = hashlib.sha256()
    try:
        async for block in blobs.read(key):
            digest.update(block)
    except BlobNotFound:
        return None  # deleted just now
    return digest.hexdigest()


async def _check_blobs(records: FileRecords, blobs: BlobStore, keys: list[str], report: VerifyReport) -> None:
    report.blobs += len(keys)
    orphans = set(keys) - set(await records.states(keys))
    for key in sorted(orphans):
        # A blob that has gone since was being removed; one that is new has its row by now.
        if key not in await records.states([key]) and await blobs.exists(key):
            report.violations.append(
                Violation("I-04", "B", key, "no row of the ledger knows this blob", "run `filestead sweep --orphans`")
            )


async def orphans(records: FileRecords, blobs: BlobStore) -> list[str]:
    """Blobs that the ledger does not know. There are none, unless the database was restored from an older backup."""
    report = VerifyReport()
    keys = [key async for key in blobs.stored_keys()]
    for start in range(0, len(keys), PAGE):
        await _check_blobs(records, blobs, keys[start : start + PAGE], report)
    return [violation.subject for violation in report.violations]
