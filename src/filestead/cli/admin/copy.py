"""`filestead copy`: copies an installation from one machine to many nodes, or back."""

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from filestead import settings
from filestead.cli.terminal.progress import progress_bar
from filestead.domain.errors import CannotStart
from filestead.domain.files.verify import verify
from filestead.installation import (
    COMMAND_TIMEOUT_SECONDS,
    EmbeddedInstallation,
    Installation,
    SharedInstallation,
)
from filestead.installation.copy import copy as run_copy
from filestead.settings import Settings

SHARED = "shared"


def copy(
    *,
    source: Annotated[str, Parameter(name="--from")],
    target: Annotated[str, Parameter(name="--to")],
    no_progress: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Copy an installation: rows, keys and file contents. IDs and keys stay valid. Stop the servers of both before.

    If the copy is interrupted, run the command again to continue it. If it is complete, the command copies what has
    changed in the source since. All contents are compared with the digests of their uploads, and the target is
    verified at the end. Expired files are not copied.

    Parameters
    ----------
    source
        A data directory, or `shared` for the installation that FILESTEAD_DATABASE_URL and FILESTEAD_BLOB_URL name.
    target
        The same. A data directory is created; a database must have been migrated (`filestead migrate`).
    no_progress
        Do not show a progress bar.
    """
    loaded = settings.load()
    here, there = _installation(loaded, source), _installation(loaded, target)
    if here.location == there.location:
        raise CannotStart("--from and --to name the same installation")
    return asyncio.run(_copy(here, there, watched=not no_progress))


def _installation(loaded: Settings, name: str) -> Installation:
    if name == SHARED:
        return SharedInstallation(loaded)
    return EmbeddedInstallation(loaded.model_copy(update={"data_dir": Path(name), "blob_url": None}))


async def _copy(source: Installation, target: Installation, *, watched: bool) -> int:
    with contextlib.ExitStack() as stack:
        stack.enter_context(source.prepare(create=False))
        stack.enter_context(target.prepare())
        here, there = (
            stack.enter_context(contextlib.closing(place.open(operation_timeout=COMMAND_TIMEOUT_SECONDS)))
            for place in (source, target)
        )
        with progress_bar("copying", enabled=watched) as report:
            copied = await run_copy(here, there, progress=report or (lambda done, total: None))
        checked = await verify(there.files, there.blobs, deep=False)
    print(f"{copied.files} files, {copied.bytes} bytes copied ({copied.skipped} were there)")
    for finding in checked.violations:
        print(f"{finding.invariant} ({finding.severity}) {finding.subject}: {finding.evidence}; {finding.remedy}")
    return 1 if checked.violations else 0
