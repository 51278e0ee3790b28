"""An installation: rows and bytes, opened, made or refused. Embedded in a data directory, or shared by nodes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from filestead.domain import auth
from filestead.domain.model import DEFAULT_SCOPES, Key, Scope
from filestead.domain.stores import KeyRecords
from filestead.installation import embedded, shared
from filestead.installation.embedded import DATABASE, is_made
from filestead.installation.stores import Stores, new_id
from filestead.settings import Settings

__all__ = [
    "DATABASE",
    "DEFAULT",
    "Stores",
    "begin",
    "create_key",
    "is_made",
    "migrate",
    "new_id",
    "open_stores",
    "opened",
    "prepare",
]

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
    keys: KeyRecords,
    secret: str,
    *,
    organization: str = DEFAULT,
    project: str = DEFAULT,
    user: str | None = None,
    scopes: frozenset[Scope] = DEFAULT_SCOPES,
    expires_after_seconds: int | None = None,
) -> Key:
    """Store a key under a fresh id."""
    return await keys.create(
        key_id=new_id("key_"),
        digest=auth.digest_of(secret),
        hint=auth.hint_of(secret),
        organization=organization,
        project=project,
        user=user,
        scopes=scopes,
        expires_after_seconds=expires_after_seconds,
    )


def begin(settings: Settings) -> str | None:
    """What a server does once before it serves. Returns the first key, if new.

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
                await create_key(stores.keys, settings.bootstrap_key.get_secret_value())
                return None
            if await stores.keys.list():
                return None
            secret = auth.new_secret()
            await create_key(stores.keys, secret)
            return secret
        finally:
            stores.close()

    with shared.starting(settings) if settings.database_url is not None else contextlib.nullcontext():
        return asyncio.run(first_steps())
