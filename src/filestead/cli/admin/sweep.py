"""`filestead sweep`: deletes contents that no file refers to."""

import asyncio
import contextlib
from typing import Annotated

import msgspec
from cyclopts import Parameter

from filestead import installation, settings
from filestead.domain.files.sweep import Sweeper
from filestead.domain.files.verify import find_orphans

DETACHED_PER_SWEEP = 1_000
BLOCKS_PER_SWEEP = 100


def sweep(
    *,
    orphans: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    data_dir: str | None = None,
) -> int:
    """Delete the contents of expired and deleted files and of interrupted uploads now. A running server does so itself.

    Parameters
    ----------
    orphans
        Also delete blobs without a row in the database, which an older database leaves after it was restored. Check
        the findings of `verify` first.
    json
        Print the count as JSON.
    data_dir
        The data directory (FILESTEAD_DATA_DIR).
    """

    async def run() -> int:
        found = installation.from_settings(settings.load(data_dir=data_dir))
        with contextlib.closing(found.open_for_command()) as backends:
            removed = await Sweeper(backends.files, backends.blobs).sweep()
            while await backends.index.delete_detached(DETACHED_PER_SWEEP):
                pass
            while await backends.batch_runs.delete_finished_journals(BLOCKS_PER_SWEEP):
                pass
            for key in await find_orphans(backends.files, backends.blobs) if orphans else []:
                await backends.blobs.delete(key)
                removed += 1
            return removed

    removed = asyncio.run(run())
    print(msgspec.json.encode({"removed": removed}).decode() if json else f"{removed} blobs removed")
    return 0
