"""`filestead copy`: from one machine to many nodes, and back."""

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from filestead import installation
from filestead import settings as table
from filestead.cli.terminal.progress import progress_bar
from filestead.domain.errors import CannotStart
from filestead.domain.files.verify import verify
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
    settings = table.load()
    here, there = _settings_for(settings, source), _settings_for(settings, target)
    if _location(here) == _location(there):
        raise CannotStart("--from and --to name the same installation")
    if here.database_url is None and not installation.is_made(here):
        raise CannotStart(f"{source} holds no installation: --from takes the data directory of one")
    return asyncio.run(_copy(here, there, watched=not no_progress))


def _settings_for(settings: Settings, name: str) -> Settings:
    if name == SHARED:
        if settings.database_url is None:
            raise CannotStart("`shared` is what FILESTEAD_DATABASE_URL names, and that is not set")
        return settings
    return settings.model_copy(update={"data_dir": Path(name), "database_url": None, "blob_url": None})


def _location(settings: Settings) -> Path | str:
    return SHARED if settings.database_url is not None else settings.data_dir.resolve()


async def _copy(source: Settings, target: Settings, *, watched: bool) -> int:
    with contextlib.ExitStack() as held:
        held.callback(installation.prepare(source))
        held.callback(installation.prepare(target))
        here, there = (installation.open_stores(place, patient=True) for place in (source, target))
        held.callback(here.close)
        held.callback(there.close)
        with progress_bar("copying", wanted=watched) as report:
            copied = await run_copy(here, there, **({"progress": report} if report else {}))
        checked = await verify(there.records, there.blobs, deep=False)
    print(f"{copied.files} files, {copied.bytes} bytes copied ({copied.skipped} were there)")
    for finding in checked.violations:
        print(f"{finding.invariant} ({finding.severity}) {finding.subject}: {finding.evidence}; {finding.remedy}")
    return 1 if checked.violations else 0
