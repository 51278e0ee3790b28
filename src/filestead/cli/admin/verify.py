"""`filestead verify`: checks an installation."""

import asyncio
import contextlib
import sys
from typing import Annotated

import msgspec
from cyclopts import Parameter

from filestead import installation, settings
from filestead.domain.audit.chain import find_broken
from filestead.domain.files.verify import verify as run_verify
from filestead.domain.integrity import VerifyReport
from filestead.domain.uploads.verify import find_damaged_parts
from filestead.installation import COMMAND_TIMEOUT_SECONDS

EXIT_STATUS = {"A": 3, "B": 2, "C": 1}
Flag = Annotated[bool, Parameter(negative="")]


def verify(*, deep: Flag = False, json: Flag = False, data_dir: str | None = None) -> int:
    """Check that every file has its content, and that there is no garbage. Read-only; a server may be running.

    Exit status: 0 no findings, 1 cosmetic findings, 2 leaks that a sweep repairs, 3 a violated guarantee (class A).

    Parameters
    ----------
    deep
        Also read all contents and compare their SHA-256.
    json
        Print one JSON object for each finding, and one with the totals at the end.
    data_dir
        The data directory (FILESTEAD_DATA_DIR).
    """

    def progress(report: VerifyReport) -> None:
        if sys.stderr.isatty():
            print(f"\r{report.files} files, {report.bytes} bytes, {report.blobs} blobs", end="", file=sys.stderr)

    async def run() -> VerifyReport:
        found = installation.from_settings(settings.load(data_dir=data_dir))
        with contextlib.closing(found.open(operation_timeout=COMMAND_TIMEOUT_SECONDS)) as backends:
            report = await run_verify(backends.files, backends.blobs, deep=deep, progress=progress)
            report.violations += await find_damaged_parts(backends.uploads, backends.files, backends.blobs, deep=deep)
            broken, _ = await find_broken(backends.audit)
            report.violations += [broken] if broken else []
            return report

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
    return max((EXIT_STATUS[finding.severity] for finding in report.violations), default=0)
