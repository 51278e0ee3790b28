"""`filestead verify` and `filestead sweep`: looking after an installation."""

import asyncio
import sys
from typing import Annotated

import msgspec
from cyclopts import Parameter

from filestead import installation
from filestead import settings as table
from filestead.domain.files.sweep import Sweeper
from filestead.domain.files.verify import orphans as find_orphans
from filestead.domain.files.verify import verify as run_verify
from filestead.domain.integrity import VerifyReport

EXIT = {"A": 3, "B": 2, "C": 1}
Flag = Annotated[bool, Parameter(negative="")]


def verify(*, deep: Flag = False, json: Flag = False, data_dir: str | None = None) -> int:
    """Check that every file has its bytes and that nothing is left over. Changes nothing; a server may be running.

    Exit status: 0 all is well, 1 cosmetic findings, 2 leaks that a sweep mends, 3 a broken promise (class A).

    Parameters
    ----------
    deep
        Also read every byte and compare its SHA-256.
    json
        One JSON object a finding, and one with the sums at the end.
    data_dir
        The data directory (FILESTEAD_DATA_DIR).
    """

    def progress(report: VerifyReport) -> None:
        if sys.stderr.isatty():
            print(f"\r{report.files} files, {report.bytes} bytes, {report.blobs} blobs", end="", file=sys.stderr)

    async def run() -> VerifyReport:
        async with installation.opened(table.load(data_dir=data_dir), unchecked=True) as stores:
            return await run_verify(stores.records, stores.blobs, deep=deep, progress=progress)

    report = asyncio.run(run())
    if sys.stderr.isatty():
        print(file=sys.stderr)
    for finding in report.violations:
        if json:
            print(msgspec.json.encode(finding).decode())
        else:
            print(f"{finding.invariant} ({finding.severity}) {finding.subject}: {finding.evidence}; {finding.remedy}")
    sums = {"files": report.files, "bytes": report.bytes, "blobs": report.blobs, "findings": len(report.violations)}
    print(msgspec.json.encode(sums).decode() if json else ", ".join(f"{count} {name}" for name, count in sums.items()))
    return max((EXIT[finding.severity] for finding in report.violations), default=0)


def sweep(*, orphans: Flag = False, json: Flag = False, data_dir: str | None = None) -> int:
    """Remove the bytes of expired files, deleted files and broken uploads now. A running server does so by itself.

    Parameters
    ----------
    orphans
        Also remove blobs that the database does not know, as after restoring an older database. Look at what `verify`
        lists first.
    json
        Print the count as JSON.
    data_dir
        The data directory (FILESTEAD_DATA_DIR).
    """

    async def run() -> int:
        async with installation.opened(table.load(data_dir=data_dir)) as stores:
            removed = await Sweeper(stores.records, stores.blobs).sweep()
            for key in await find_orphans(stores.records, stores.blobs) if orphans else []:
                await stores.blobs.delete(key)
                removed += 1
            return removed

    removed = asyncio.run(run())
    print(msgspec.json.encode({"removed": removed}).decode() if json else f"{removed} blobs removed")
    return 0
