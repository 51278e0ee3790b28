"""`filestead keys`: create, list and revoke; on an installation, beside its server or without one, or over the API."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from filestead import installation, settings
from filestead.cli.admin.remote_keys import connected
from filestead.domain import access
from filestead.domain.access import Key, Scope
from filestead.domain.errors import CannotStart
from filestead.installation import Backends

keys = App(name="keys", help="Create, list and revoke API keys.")

ScopeName = Literal["files:read", "files:write", "files:system", "inference", "metrics", "admin"]


@keys.command
def create(
    *,
    project: str,
    organization: str | None = None,
    user: str | None = None,
    scope: Annotated[Sequence[ScopeName], Parameter(negative="")] = (
        "files:read",
        "files:write",
        "inference",
    ),
    expires_in: int | None = None,
    data_dir: str | None = None,
    base_url: str | None = None,
) -> None:
    """Create a key and print it, alone, on standard output. It is shown only this once.

    Its id, which `keys revoke` takes, goes to standard error.

    Example: export OPENAI_API_KEY=$(filestead keys create --project research)

    Parameters
    ----------
    project
        The project of the key; created if it does not exist.
    organization
        The organization of the project; created if it does not exist. Default: `default`.
    user
        The user of the key; the upload rate is limited per user. Default: a new user for this key.
    scope
        What the key may do; repeat for several. `files:system` may create output purposes (for batch runners and
        trainers); `metrics` may read `/metrics` and nothing else; `admin` manages the projects and keys of the
        organization.
    expires_in
        Seconds until the key stops working. Default: never.
    data_dir
        The data directory (FILESTEAD_DATA_DIR).
    base_url
        Address of a server, as in http://127.0.0.1:8085/v1, whose admin API is used instead of a data directory.
        OPENAI_ADMIN_KEY must hold a key with the scope `admin`, whose organization it is.
    """
    if base_url is not None:
        _refuse_beside_base_url(organization=organization, data_dir=data_dir)
        with connected(base_url) as server:
            _print_new(*server.create(project=project, user=user, scopes=scope, expires_in=expires_in))
        return
    secret = access.new_secret()

    async def run() -> Key:
        with _opened(data_dir, create=True) as backends:
            return await installation.create_key(
                backends.keys,
                secret,
                organization=installation.DEFAULT_NAME if organization is None else organization,
                project=project,
                user=user,
                scopes=frozenset(map(Scope, scope)),
                expires_after_seconds=expires_in,
            )

    _print_new(asyncio.run(run()), secret)


def _print_new(key: Key, secret: str) -> None:
    print(f"{key.id} for project {key.project} of organization {key.organization}", file=sys.stderr)
    print(secret)


def _refuse_beside_base_url(**values: str | None) -> None:
    for name, value in values.items():
        if value is not None:
            raise CannotStart(f"--{name.replace('_', '-')} and --base-url exclude each other")


@keys.command(name="list")
def list_(
    *,
    json: Annotated[bool, Parameter(negative="")] = False,
    data_dir: str | None = None,
    base_url: str | None = None,
) -> None:
    """List all keys, oldest first; those of the same second come in any order.

    The keys themselves are not stored; the hint shows their first and last characters. With --base-url, revoked keys
    are left out.

    Parameters
    ----------
    json
        Print one JSON object per line.
    data_dir
        The data directory (FILESTEAD_DATA_DIR).
    base_url
        Address of a server, as in http://127.0.0.1:8085/v1, whose admin API is used instead of a data directory.
        OPENAI_ADMIN_KEY must hold a key with the scope `admin`, whose organization it is.
    """

    async def run() -> list[Key]:
        with _opened(data_dir) as backends:
            return await backends.keys.list()

    if base_url is not None:
        _refuse_beside_base_url(data_dir=data_dir)
        with connected(base_url) as server:
            found = server.list()
    else:
        found = asyncio.run(run())
    if json:
        for key in found:
            print(msgspec.json.encode(key).decode())
        return
    rows = [("ID", "KEY", "ORGANIZATION", "PROJECT", "USER", "SCOPES", "STATE")]
    rows += [
        (key.id, key.hint, key.organization, key.project, key.user, " ".join(sorted(key.scopes)), _state(key))
        for key in found
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _opened(data_dir: str | None, *, create: bool = False) -> "contextlib.closing[Backends]":
    found = installation.from_settings(settings.load(data_dir=data_dir))
    return contextlib.closing(found.open_for_command(create=create))


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return f"revoked {_format_time(key.revoked_at)}"
    if key.expires_at is None:
        return "active"
    word = "active until" if key.expires_at > time.time() else "expired"
    return f"{word} {_format_time(key.expires_at)}"


def _format_time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


@keys.command
def revoke(key_id: str, /, *, data_dir: str | None = None, base_url: str | None = None) -> None:
    """Revoke a key; a running server refuses it within two seconds.

    Parameters
    ----------
    key_id
        The id that `keys list` shows.
    data_dir
        The data directory (FILESTEAD_DATA_DIR).
    base_url
        Address of a server, as in http://127.0.0.1:8085/v1, whose admin API is used instead of a data directory.
        OPENAI_ADMIN_KEY must hold a key with the scope `admin`, whose organization it is.
    """

    async def run() -> Key:
        with _opened(data_dir) as backends:
            return await backends.keys.revoke(key_id)

    if base_url is not None:
        _refuse_beside_base_url(data_dir=data_dir)
        with connected(base_url) as server:
            server.revoke(key_id)
    else:
        asyncio.run(run())
    print(f"{key_id} is revoked")
