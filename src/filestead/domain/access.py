"""API keys: model and repository, and the principal that a key authenticates."""

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from filestead.domain.errors import (
    BadName,
    MissingKey,
    MissingScope,
    OrganizationMismatch,
    ProjectMismatch,
    UnknownKey,
)

CACHE_SECONDS = 2.0
"""How long a server caches a valid key; a revocation takes effect within this time."""

CACHE_KEYS = 10_000

MAX_SECRET_CHARACTERS = 7_000
"""Maximum length of a key. Proxies reject header lines over 8,000 bytes; Basic authentication adds a third."""

MAX_NAME_CHARACTERS = 255

# Control characters, lone surrogates, line and paragraph separators; then characters that reverse text.
_UNSHOWABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDIRECTIONAL = re.compile("[\u202a-\u202e\u2066-\u2069]")


class Scope(StrEnum):
    """A permission of a key."""

    READ = "files:read"
    WRITE = "files:write"
    SYSTEM = "files:system"
    METRICS = "metrics"
    """The metrics of the server, which cover all projects; no file of any."""
    ADMIN = "admin"
    """Projects, keys and usage of the organization; no file of any project."""
    INFERENCE = "inference"
    """Requests that are passed on to model servers."""


DEFAULT_SCOPES = frozenset({Scope.READ, Scope.WRITE, Scope.INFERENCE})


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated party: a key, and the user, project and organization it belongs to."""

    key_id: str
    user_id: str
    project_id: str
    project_name: str
    organization_id: str
    organization_name: str
    scopes: frozenset[Scope]
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """A key as `keys list` shows it. The secret is never stored."""

    id: str
    hint: str
    organization: str
    project: str
    user: str
    scopes: frozenset[Scope]
    created_at: int
    expires_at: int | None
    revoked_at: int | None


class KeyRepository(Protocol):
    """Keys and their owners."""

    async def create(
        self,
        *,
        key_id: str,
        digest: str,
        hint: str,
        organization: str,
        project: str,
        user: str | None,
        scopes: frozenset[Scope],
        expires_after_seconds: int | None,
    ) -> Key:
        """Store a key for the named project, creating organization, project and user as needed.

        A key whose `digest` is already stored is left as it is and returned.
        """

    async def find(self, digest: str) -> Principal | None:
        """The principal of a key that is neither revoked nor expired."""

    async def list(self) -> list[Key]:
        """Every key, oldest first; those of the same second come in any order."""

    async def revoke(self, key_id: str) -> Key:
        """Revoke a key, if it is not revoked yet. Raises `KeyNotFound`."""


def new_secret() -> str:
    """A key with 256 random bits, in the format that OpenAI tools expect."""
    return "sk-" + secrets.token_urlsafe(32)


def secret_fault(secret: str) -> str | None:
    """Why a key cannot be sent in an `Authorization` header, with the remedy; None if it can.

    RFC 9110 lets a field value hold blanks, but not at its ends, where every recipient removes them. Bytes beyond ASCII
    are allowed there and have no agreed encoding: the official Python client refuses to send them, Node's sends Latin-1
    or refuses. Such a key would work with some clients only.
    """
    if secret != secret.strip():
        return "the key begins or ends with a blank, which HTTP removes from a header; leave it out"
    if not secret:
        return "the key is empty"
    if not secret.isascii():
        return "the key has characters that are not ASCII, which the official clients cannot send in a header"
    if not secret.isprintable():
        return "the key has control characters (such as a tab or a line break), which a header cannot carry"
    if len(secret) > MAX_SECRET_CHARACTERS:
        return f"the key is longer than {MAX_SECRET_CHARACTERS} characters, and proxies refuse such a header"
    return None


def require_name(what: str, name: str) -> None:
    """Raise `BadName` for the name of an organization, project or user (`what`) that no header or list can show.

    The name of the organization is sent as a response header, and clients send names in `OpenAI-Organization` and
    `OpenAI-Project`, where blanks at the ends are lost.
    """
    if not name.strip():
        raise BadName(what, name, "is empty")
    if any(unicodedata.category(character) in _UNSHOWABLE for character in name) or _BIDIRECTIONAL.search(name):
        raise BadName(what, name, "has control characters, or is not UTF-8")
    if name != name.strip():
        raise BadName(what, name, "begins or ends with a blank, which HTTP removes from a header")
    if len(name) > MAX_NAME_CHARACTERS:
        raise BadName(what, name[:20] + "...", f"is longer than {MAX_NAME_CHARACTERS} characters")


def digest_of(secret: str) -> str:
    """The stored form of a key. SHA-256 suffices for 256 random bits, and allows a lookup by digest."""
    return hashlib.sha256(secret.encode()).hexdigest()


def mask(secret: str) -> str:
    """The displayable form of a key: its first eight and last four characters, as the hosted service shows it.

    Keys of 16 characters or fewer are masked completely.
    """
    if len(secret) <= 16:
        return "*" * len(secret)
    return f"{secret[:8]}{'*' * (len(secret) - 12)}{secret[-4:]}"


def hint_of(secret: str) -> str:
    """The short form that `keys list` shows."""
    return f"{secret[:5]}...{secret[-4:]}" if len(secret) > 16 else "..."


class Authenticator:
    """Authenticates keys. Caches valid keys for `CACHE_SECONDS`, and never invalid ones."""

    def __init__(self, keys: KeyRepository, *, monotonic: Callable[[], float]) -> None:
        self._keys = keys
        self._monotonic = monotonic
        self._cache: dict[str, tuple[Principal, float]] = {}

    async def authenticate(
        self, secret: str | None, *, organization: str | None = None, project: str | None = None
    ) -> Principal:
        """The principal of a key. Raises `MissingKey`, `UnknownKey`, `OrganizationMismatch`, `ProjectMismatch`.

        `organization` and `project` are those that the request names, by id or name; they must be the key's.
        """
        if not secret:
            raise MissingKey
        principal = await self._find(secret)
        if organization and organization not in (principal.organization_id, principal.organization_name):
            raise OrganizationMismatch
        if project and project not in (principal.project_id, principal.project_name):
            raise ProjectMismatch
        return principal

    async def _find(self, secret: str) -> Principal:
        digest = digest_of(secret)
        cached = self._cache.get(digest)
        now = self._monotonic()
        if cached is not None and cached[1] > now:
            return cached[0]
        principal = await self._keys.find(digest)
        if principal is None:
            self._cache.pop(digest, None)
            raise UnknownKey(mask(secret))
        if len(self._cache) >= CACHE_KEYS:
            self._cache.clear()
        self._cache[digest] = (principal, now + CACHE_SECONDS)
        return principal


def require(principal: Principal, scope: Scope) -> None:
    """Raise `MissingScope` unless the key has the scope."""
    if scope not in principal.scopes:
        raise MissingScope(scope)
