"""The API keys that an installation starts with: the first key, or a bootstrap key from the settings."""

import contextlib
import logging
import os
from pathlib import Path

from filestead.blobs.disk import sync_directory
from filestead.domain import access
from filestead.domain.access import DEFAULT_SCOPES, Key, KeyRepository, Scope
from filestead.installation.backends import new_id
from filestead.settings import Settings

log = logging.getLogger("filestead")

DEFAULT_NAME = "default"
"""The organization and the project of a key for which no other is named."""

FIRST_KEY_FILE = "first-key"
"""In the data directory (mode 0600), for a server whose standard output is not a terminal."""


async def create_key(
    keys: KeyRepository,
    secret: str,
    *,
    organization: str = DEFAULT_NAME,
    project: str = DEFAULT_NAME,
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


async def create_initial_key(keys: KeyRepository, settings: Settings, key_file: Path | None) -> str | None:
    """Create the bootstrap key of the settings or, in an installation without keys, the first key.

    Return the secret if a key was created. A first key is written to `key_file` before it is stored, so no stored key
    is ever unknown to its owner. If writing fails, no key is created, and the log says how to create one.
    """
    if settings.bootstrap_key is not None:
        return await _add_bootstrap_key(keys, settings.bootstrap_key.get_secret_value())
    return await _add_first_key(keys, key_file)


async def _add_first_key(keys: KeyRepository, file: Path | None) -> str | None:
    if await keys.list():
        return None
    secret = access.new_secret()
    if file is not None:
        try:
            _write_key_file(file, secret)
        except OSError as error:
            log.warning(
                "no first key was created: cannot write %s (%s): create one with `filestead keys create --project %s`, "
                "or start with FILESTEAD_PRINT_KEY=true",
                *(file, error.strerror, DEFAULT_NAME),
            )
            return None
    await create_key(keys, secret)
    return secret


async def _add_bootstrap_key(keys: KeyRepository, secret: str) -> str | None:
    known = {key.id for key in await keys.list()}
    key = await create_key(keys, secret)
    if key.id not in known:
        log.info(
            "the bootstrap key was added to %s installation as %s of project %s: it stays valid, also without the "
            "setting, until `filestead keys revoke %s`",
            *("this existing" if known else "the new", key.id, key.project, key.id),
        )
        return secret
    if key.revoked_at is not None:
        log.warning("the bootstrap key (%s) was revoked and is not valid: choose another one, or unset it", key.id)
    return None


def _write_key_file(path: Path, secret: str) -> None:
    """Write the key and a newline to a new file, durably. Raises `OSError`.

    An existing file is left over from a first start that was interrupted before it stored its key. It is replaced, and
    a symbolic link is not followed.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secret}\n")
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    sync_directory(path.parent)
