"""Keys of a server by its admin API, for `filestead keys --base-url`: the installation may be on another machine."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from filestead import __version__
from filestead.client._transport.requests import Pairs, Request, escape_path_segment
from filestead.client._transport.responses import decode
from filestead.client._transport.session import Session
from filestead.client.config import configure
from filestead.client.errors import ConfigurationError, FilesteadError, NotFoundError
from filestead.domain.access import Key, Scope
from filestead.domain.errors import CannotStart, DomainError, KeyNotFound
from filestead.wire import organization as wire

Shape = TypeVar("Shape", bound=msgspec.Struct)
Page = TypeVar("Page", wire.ListProjects, wire.ListProjectApiKeys)

ADMIN_KEY = "OPENAI_ADMIN_KEY"
"""The variable that the official clients read."""

PROJECTS = "organization/projects"
ITEMS_PER_PAGE = "100"


@contextlib.contextmanager
def connected(base_url: str) -> "Iterator[RemoteKeys]":
    """The keys that the admin key in the environment manages.

    Raises `CannotStart` for a missing key or a bad address, `DomainError` for what the server refuses.
    """
    admin_key = os.environ.get(ADMIN_KEY)
    if not admin_key:
        raise CannotStart(f"--base-url needs a key with the scope admin: set {ADMIN_KEY}")
    # The other variables of clients are about another key.
    environ = {name: value for name, value in os.environ.items() if name == "OPENAI_CUSTOM_HEADERS"}
    headers = {"User-Agent": f"filestead-cli/{__version__}"}
    try:
        config = configure(api_key=admin_key, base_url=base_url, default_headers=headers, environ=environ)
    except ConfigurationError as error:
        raise CannotStart(str(error).replace("base_url", "--base-url", 1)) from None
    with contextlib.closing(Session(config)) as session:
        try:
            yield RemoteKeys(session)
        except FilesteadError as error:
            raise DomainError(str(error)) from None


class RemoteKeys:
    """The keys of one organization: that of the admin key."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._organization = ""
        """As the last response named it."""

    def create(
        self, *, project: str, user: str | None, scopes: Sequence[str], expires_in: int | None
    ) -> tuple[Key, str]:
        """Create a key in the project of this name or id, creating the project if needed; returns its secret, too."""
        found = next((each for each in self._projects() if project in (each.name, each.id)), None)
        found = found or self._send(wire.Project, "POST", PROJECTS, {"name": project})
        members: dict[str, object] = {"name": user, "scopes": list(scopes), "expires_in": expires_in}
        made = self._send(wire.NewProjectApiKey, "POST", f"{PROJECTS}/{found.id}/api_keys", members)
        return self._key(found, made), made.value

    def list(self) -> list[Key]:
        """The keys of all projects, without those that are revoked; oldest first."""
        found = []
        for project in self._projects():
            pages = self._pages(wire.ListProjectApiKeys, f"{PROJECTS}/{project.id}/api_keys")
            found += [self._key(project, key) for page in pages for key in page.data]
        return sorted(found, key=lambda key: (key.created_at, key.id))

    def revoke(self, key_id: str) -> None:
        """Revoke a key of any project. Raises `KeyNotFound`."""
        for project in self._projects():
            path = f"{PROJECTS}/{project.id}/api_keys/{escape_path_segment(key_id)}"
            with contextlib.suppress(NotFoundError):
                self._send(wire.ProjectApiKeyDeleted, "DELETE", path)
                return
        raise KeyNotFound(key_id)

    def _projects(self) -> Iterator[wire.Project]:
        for page in self._pages(wire.ListProjects, PROJECTS):
            yield from page.data

    def _pages(self, shape: type[Page], path: str) -> Iterator[Page]:
        after: Pairs = ()
        while True:
            page = self._send(shape, "GET", path, query=(("limit", ITEMS_PER_PAGE), *after))
            yield page
            if not page.has_more or page.last_id is None:
                return
            after = (("after", page.last_id),)

    def _send(
        self, shape: type[Shape], method: str, path: str, body: dict[str, object] | None = None, *, query: Pairs = ()
    ) -> Shape:
        """Send a request and decode the response. Only what creates nothing is repeated after a lost connection."""
        content = None if body is None else json.dumps(body).encode()
        request = Request(method, path, query, body=content, retryable=body is None)
        with contextlib.closing(self._session.send(request)) as response:
            data = response.read()
            self._organization = response.head.headers.get("openai-organization", "")
            return decode(shape, response.head, data)

    def _key(self, project: wire.Project, key: wire.ProjectApiKey) -> Key:
        return Key(
            *(key.id, key.redacted_value, self._organization, project.name, key.name),
            *(frozenset(map(Scope, key.scopes)), key.created_at, key.expires_at),
            revoked_at=None,
        )
