"""API keys of any kind beside a running server, made at once: `filestead keys create` takes half a second for each."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from filestead import installation, settings
from filestead.domain.access import Scope, new_secret
from filestead.installation import Backends
from tests.support import canaries
from tests.support.servers import Server


@dataclass(frozen=True)
class Wanted:
    """Whose key it is, and in which state."""

    project: str
    organization: str = installation.DEFAULT_NAME
    scopes: frozenset[Scope] = frozenset(Scope)
    expired: bool = False
    revoked: bool = False


@contextlib.contextmanager
def opened(server: Server) -> Iterator[Backends]:
    """The installation of a server, as a command opens it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.place.variables().items():
            patch.setenv(name, value)
        backends = installation.from_settings(settings.load(data_dir=str(server.data_dir))).open_for_command()
    try:
        yield backends
    finally:
        backends.close()


def make_keys(server: Server, wanted: Mapping[str, Wanted]) -> dict[str, str]:
    """The secrets by the names of what is wanted."""
    secrets = {name: new_secret() for name in wanted}

    async def make(backends: Backends) -> None:
        for name, want in wanted.items():
            key = await installation.create_key(
                backends.keys,
                secrets[name],
                organization=want.organization,
                project=want.project,
                user=None,
                scopes=want.scopes,
                expires_after_seconds=3600 if want.expired else None,
            )
            if want.expired:
                server.place.sql("UPDATE keys SET expires_at = 1 WHERE id = ?", key.id)
            if want.revoked:
                await backends.keys.revoke(key.id)

    with opened(server) as backends:
        asyncio.run(make(backends))
    for secret in secrets.values():
        canaries.plant(server.data_dir, secret)
    return secrets


def make_keys_over_http(server: Server) -> list[str]:
    """The secrets of an administrator, and of what it makes: a key, a service account, another key of that account."""
    admin = make_keys(server, {"admin": Wanted(installation.DEFAULT_NAME)})["admin"]
    project = server.client.get("/files").headers["openai-project"]

    def make(path: str, **members: str) -> Any:
        headers = {"authorization": f"Bearer {admin}"}
        response = server.client.post(f"/organization/projects/{project}/{path}", headers=headers, json=members)
        assert response.status_code == 200, response.text
        return response.json()

    account = make("service_accounts", name="b")
    keys = make("api_keys", name="a"), account["api_key"], make(f"service_accounts/{account['id']}/api_keys")
    return [admin, *(key["value"] for key in keys)]
