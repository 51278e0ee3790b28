"""`filestead copy`: from one machine to many nodes, and back."""

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
    """Copy an installation with its rows, keys and bytes; ids and keys stay valid. Nobody may serve either meanwhile.

    A copy that was cut off goes on where it was when the command is run again; one that is complete takes over what
    has changed in the source since. Every byte is compared with the digest of its upload, and the target is verified
    at the end. Files that have expired stay behind.

    Parameters
    ----------
    source
        A data directory, or `shared` for what FILESTEAD_DATABASE_URL and FILESTEAD_BLOB_URL name.
    target
        The same; a data directory is made, a database must have been migrated (`filestead migrate`).
    no_progress
        Draw no progress bar.
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
            copied = await run_copy(here, there, **({"progress": report} if report else {}))
        checked = await verify(there.files, there.blobs, deep=False)
    print(f"{copied.files} files, {copied.bytes} bytes copied ({copied.skipped} were there)")
    for finding in checked.violations:
        print(f"{finding.invariant} ({finding.severity}) {finding.subject}: {finding.evidence}; {finding.remedy}")
    return 1 if checked.violations else 0
