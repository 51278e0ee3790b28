"""`filestead scrub`: finds damaged contents beside running servers, at a bounded rate."""

import asyncio
import contextlib
from time import monotonic, time
from typing import Annotated

import msgspec
from cyclopts import Parameter, validators

from filestead import installation, settings
from filestead.cli.terminal.progress import ProgressCallback, progress_bar
from filestead.domain.blobs import ContentOwner
from filestead.domain.scrub import Damage, Pace, Scrub, ScrubPosition, ScrubReport
from filestead.installation import Backends
from filestead.installation.copy import total_bytes
from filestead.installation.scrub_state import ScrubState, open_scrub_state

MIB = 1024 * 1024
DAMAGED = 3
SAVE_SECONDS = 2.0
REMEDIES = {
    ContentOwner.FILE: "restore the blob from the backup, or delete the file",
    ContentOwner.UPLOAD: "cancel the upload, and send the file again",
    ContentOwner.BATCH: "restore the blob from the backup, or cancel the batch",
}
Flag = Annotated[bool, Parameter(negative="")]
Number = Annotated[float, Parameter(validator=validators.Number(gte=0))]


def scrub(
    *,
    rate: Number = 10.0,
    max_seconds: Number | None = None,
    restart: Flag = False,
    json: Flag = False,
    no_progress: Flag = False,
    data_dir: str | None = None,
) -> int:
    """Read all contents and compare them with the digests of their uploads. Servers may run.

    A run that is interrupted, or ends by --max-seconds, is continued by the next one; the position is in the file
    `scrub.json` of the data directory. A run after a whole pass begins a new one. Damaged contents are named by each
    run, until they are intact or deleted. Nothing but the position is changed.

    Exit status: 0 if no damage is known, 3 if a content is damaged.

    Parameters
    ----------
    rate
        Mebibytes to read in a second, on average; 0 means no limit. A blob counts as at least half of one.
    max_seconds
        Stop after so many seconds, when the current blob has been read.
    restart
        Begin a new pass, instead of continuing one.
    json
        Print one JSON object for each damaged content, and one with the totals at the end.
    no_progress
        Do not show a progress bar.
    data_dir
        The data directory (FILESTEAD_DATA_DIR).
    """
    loaded = settings.load(data_dir=data_dir)
    found = installation.from_settings(loaded)

    with (
        contextlib.closing(found.open_for_command()) as backends,
        open_scrub_state(loaded.data_dir, loaded.storage_location) as state,
    ):
        position = state.load()
        if restart:
            position = ScrubPosition(damaged=position.damaged, finished_at=position.finished_at)
        with progress_bar("scrubbing", enabled=not (no_progress or json)) as bar:
            report = asyncio.run(_run(backends, state, position, rate=rate, max_seconds=max_seconds, bar=bar))
    _print(report, position, json=json)
    return DAMAGED if report.damages else 0


async def _run(
    backends: Backends,
    state: ScrubState,
    position: ScrubPosition,
    *,
    rate: float,
    max_seconds: float | None,
    bar: ProgressCallback | None,
) -> ScrubReport:
    """Change the position, and save it now and then and at the end."""
    total, saved_at = await total_bytes(backends), monotonic()

    def report(position: ScrubPosition) -> None:
        nonlocal saved_at
        if bar is not None:
            bar(position.bytes, total)
        if monotonic() > saved_at + SAVE_SECONDS:
            state.save(position)
            saved_at = monotonic()

    work = Scrub(backends.contents, backends.blobs, Pace(rate * MIB, monotonic), now=monotonic, time=time)
    try:
        return await work.run(position, seconds=max_seconds, progress=report)
    finally:
        state.save(position)


def _print(report: ScrubReport, position: ScrubPosition, *, json: bool) -> None:
    for damage in report.damages:
        print(msgspec.json.encode(_fields(damage)).decode() if json else _sentence(damage))
    if json:
        sums = {"blobs": report.blobs, "bytes": report.bytes, "damaged": len(report.damages)}
        print(msgspec.json.encode(sums | {"complete": report.is_complete}).decode())
        return
    print(f"{report.blobs} blobs, {report.bytes} bytes read, {len(report.damages)} damaged; ", end="")
    if report.is_complete:
        print("the pass is complete")
    else:
        print(f"{position.blobs} blobs of this pass have been read, and the next run continues it")


def _fields(damage: Damage) -> dict[str, str]:
    content = damage.content
    return {
        "id": content.owner_id,
        "kind": content.kind.value,
        "project_id": content.project_id,
        "blob_key": content.key,
        "evidence": damage.evidence,
    }


def _sentence(damage: Damage) -> str:
    content = damage.content
    return (
        f"{content.owner_id} of project {content.project_id}: {damage.evidence} (blob {content.key}); "
        f"{REMEDIES[content.kind]}"
    )
