"""An installation: rows and bytes, opened, made or refused. Embedded in a data directory, or shared by nodes."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from filestead.domain import access
from filestead.domain.access import DEFAULT_SCOPES, Key, KeyRepository, Scope
from filestead.installation import embedded, first_key, shared
from filestead.installation.embedded import DATABASE, is_made
from filestead.installation.first_key import FIRST_KEY
from filestead.installation.stores import Stores, new_id
from filestead.settings import Settings

__all__ = [
    "DATABASE",
    "DEFAULT",
    "FIRST_KEY",
    "Stores",
    "begin",
    "create_key",
    "is_made",
    "is_served",
    "migrate",
    "new_id",
    "open_stores",
    "opened",
    "prepare",
]

log = logging.getLogger("filestead")

DEFAULT = "default"

Release = Callable[[], None]


def prepare(settings: Settings) -> Release:
    """Make or check the installation before it is served; call what is returned when it no longer is.

    `CannotStart` says what to do.
    """
    if settings.database_url is not None:
        shared.prepare(settings)
        return lambda: None
    return embedded.prepare(settings).release


def migrate(settings: Settings, *, wait_seconds: float = 0) -> str:
    """Bring the database to this version's schema; returns a sentence that says what it is at."""
    if settings.database_url is not None:
        return shared.migrate(settings, wait_seconds=wait_seconds)
    embedded.prepare(settings).release()
    return f"the embedded installation in {settings.data_dir} is at this version's schema"


def open_stores(settings: Settings, *, patient: bool = False) -> Stores:
    """The stores of an installation that has been prepared; `patient` for a command that may ask for everything."""
    if settings.database_url is not None:
        return shared.open_stores(settings, patient=patient)
    return embedded.open_stores(settings)


@contextlib.asynccontextmanager
async def opened(settings: Settings, *, make: bool = False, unchecked: bool = False) -> AsyncIterator[Stores]:
    """The stores for a command, beside running servers or without any.

    `make` makes an embedded installation that is not there. `unchecked` opens also what a server would refuse to serve,
    for a command that only looks.
    """
    if not unchecked and (
        settings.database_url is not None or ((make or is_made(settings)) and not embedded.is_served(settings))
    ):
        prepare(settings)()
    stores = open_stores(settings, patient=True)
    try:
        yield stores
    finally:
        stores.close()


async def create_key(
    keys: KeyRepository,
    secret: str,
    *,
    organization: str = DEFAULT,
    project: str = DEFAULT,
    user: str | None = None,
    scopes: frozenset[Scope] = DEFAULT_SCOPES,
    expires_after_seconds: int | None = None,
) -> Key:
    """Store a key under a fresh id. Raises `BadName`."""
    for what, name in (("organization", organization), ("project", project), ("user", user)):
        if name is not None:
            access.require_name(what, name)
    return await keys.create(
        key_id=new_id("key_"),
        digest=access.digest_of(secret),
        hint=access.hint_of(secret),
        organization=organization,
        project=project,
        user=user,
        scopes=scopes,
        expires_after_seconds=expires_after_seconds,
    )


def is_served(settings: Settings) -> bool:
    """Whether a server owns the data directory of an embedded installation now."""
    return settings.database_url is None and is_made(settings) and embedded.is_served(settings)


def begin(settings: Settings, *, key_file: Path | None = None) -> str | None:
    """What a server does once before it serves. Returns the key that it has made: the first, or a new bootstrap key.

    A first key is written to `key_file` before it is stored, so that there is never a key that nobody has. If that
    fails, none is made, and the log says how to make one.

    In an embedded installation it is alone, and no upload can be alive now: what an earlier process left half done is
    free for the sweep. In a shared one other nodes may be serving, and leases run out by themselves; of nodes that
    start at once, one makes the key.
    """

    async def first_steps() -> str | None:
        stores = open_stores(settings)
        try:
            if settings.database_url is None:
                await stores.records.release_leases()
            if settings.bootstrap_key is not None:
                return await _add_bootstrap_key(stores.keys, settings.bootstrap_key.get_secret_value())
            return await _add_first_key(stores.keys, key_file)
        finally:
            stores.close()

    with shared.starting(settings) if settings.database_url is not None else contextlib.nullcontext():
        return asyncio.run(first_steps())


async def _add_first_key(keys: KeyRepository, file: Path | None) -> str | None:
    if await keys.list():
        return None
    secret = access.new_secret()
    if file is not None:
        try:
            first_key.write(file, secret)
        except OSError as error:
            log.warning(
                "no first key is made, since %s cannot be written (%s): make one with `filestead keys create --project "
                "%s`, or start with FILESTEAD_PRINT_KEY=true",
                *(file, error.strerror, DEFAULT),
            )
            return None
    await create_key(keys, secret)
    return secret


async def _add_bootstrap_key(keys: KeyRepository, secret: str) -> str | None:
    known = {key.id for key in await keys.list()}
    key = await create_key(keys, secret)
    if key.id not in known:
        log.info(
            "the bootstrap key is added to %s installation as %s of project %s: it stays valid, also without the "
            "setting, until `filestead keys revoke %s`",
            *("this existing" if known else "the new", key.id, key.project, key.id),
        )
        return secret
    if key.revoked_at is not None:
        log.warning("the bootstrap key (%s) was revoked and is not valid: choose another one, or unset it", key.id)
    return None
