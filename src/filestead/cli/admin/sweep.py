"""`filestead sweep`: deletes contents that no file refers to."""

import asyncio
import contextlib
from typing import Annotated

import msgspec
from cyclopts import Parameter

from filestead import installation, settings
from filestead.installation import upkeep


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
        the findings of `verify` first; `verify --repair --yes` does the same.
    json
        Print the count as JSON.
    data_dir
        The data directory (FILESTEAD_DATA_DIR).
    """

    async def run() -> int:
        found = installation.from_settings(settings.load(data_dir=data_dir))
        with contextlib.closing(found.open_for_command()) as backends:
            return await upkeep.sweep(backends, orphans=orphans)

    removed = asyncio.run(run())
    print(msgspec.json.encode({"removed": removed}).decode() if json else f"{removed} blobs removed")
    return 0
