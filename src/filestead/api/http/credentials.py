"""Credentials of a request: the API key becomes a principal, whose scope is checked."""

import asyncio
import base64
import binascii
from dataclasses import dataclass
from functools import partial

from filestead.api.http.client_address import ClientAddressResolver
from filestead.api.http.client_limits import WrongKeyLimiter
from filestead.api.http.errors import ApiError, bad_request
from filestead.api.http.messages import Request
from filestead.domain import access
from filestead.domain.access import Authenticator, Principal, Scope
from filestead.domain.audit.denials import (
    FOREIGN_ID,
    MAX_ID_CHARACTERS,
    MISSING_SCOPE,
    WRONG_KEY,
    Denial,
    DenialCounter,
)
from filestead.domain.audit.events import Origin, set_origin
from filestead.domain.errors import (
    BatchNotFound,
    DomainError,
    FileNotFound,
    MissingScope,
    UnknownKey,
    UploadNotFound,
    VectorStoreNotFound,
)

LIMITED_RESPONSE_DELAY = 1.0
"""Seconds before the error response to a wrong key that exceeds the limit."""

SINGLE_VALUE_HEADERS = frozenset(
    {*(b"authorization", b"content-type", b"content-encoding"), *(b"openai-organization", b"openai-project")}
)


NAMED = {
    FileNotFound: ("file", "file_id"),
    UploadNotFound: ("upload", "upload_id"),
    VectorStoreNotFound: ("vector_store", "store_id"),
    BatchNotFound: ("batch", "batch_id"),
}
"""Errors of ids that are unknown or of another project: the kind of the resource, and the attribute with the id."""


@dataclass(frozen=True, slots=True)
class RequestAuthenticator:
    """Authenticates requests and limits attempts with wrong keys."""

    authenticator: Authenticator
    wrong_keys: WrongKeyLimiter
    client_addresses: ClientAddressResolver
    denials: DenialCounter

    async def authenticate(self, request: Request, scope: Scope) -> Principal:
        """Return the principal, which is also stored in the request's state, and is the origin of what it changes.

        Raises a domain error if the key is missing or wrong or has not the scope, and `ApiError` (429) for too many
        wrong keys.
        """
        _reject_conflicting_headers(request)
        principal = await self._authenticate_key(request)
        request.scope["state"]["principal"] = principal
        set_origin(partial(self._origin, request, principal))
        try:
            access.require(principal, scope)
        except MissingScope:
            self._deny(MISSING_SCOPE, request, principal, scope.value)
            raise
        return principal

    def _origin(self, request: Request, principal: Principal) -> Origin:
        request_id = request.scope["state"]["request_id"]
        return Origin(principal.key_id, principal.user_id, request_id, self.client_addresses.resolve(request))

    def count_not_found(self, request: Request, principal: Principal, error: DomainError) -> None:
        """Count the error of an operation if it may be about an id of another project."""
        if type(error) in NAMED:
            kind, attribute = NAMED[type(error)]
            resource_id = getattr(error, attribute)
            if len(resource_id) <= MAX_ID_CHARACTERS:
                self._deny(FOREIGN_ID, request, principal, kind, resource_id)

    def _deny(
        self, reason: str, request: Request, principal: Principal, detail: str, resource_id: str | None = None
    ) -> None:
        ids = (principal.key_id, principal.user_id, principal.project_id, principal.organization_id)
        self.denials.add(Denial(reason, self.client_addresses.resolve(request), *ids, detail, resource_id))

    async def _authenticate_key(self, request: Request) -> Principal:
        try:
            return await self.authenticator.authenticate(
                _extract_key(request),
                organization=request.headers.get("openai-organization"),
                project=request.headers.get("openai-project"),
            )
        except UnknownKey:
            address = self.client_addresses.resolve(request)
            self.denials.add(Denial(WRONG_KEY, address))
            limit_exceeded = self.wrong_keys.record(address)
            if limit_exceeded is None:
                raise
            await asyncio.sleep(LIMITED_RESPONSE_DELAY)
            raise ApiError(limit_exceeded) from None


def _reject_conflicting_headers(request: Request) -> None:
    """Reject two values of a single-value header, since a proxy in front could use a different one than we do."""
    seen: dict[bytes, bytes] = {}
    for name, value in request.scope["headers"]:
        if name in SINGLE_VALUE_HEADERS and seen.setdefault(name, value) != value:
            raise bad_request(f"The header '{name.decode()}' was given more than once; send one value", name.decode())


def _extract_key(request: Request) -> str | None:
    """Return the key: the Bearer token, or the password of Basic authentication."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value or None
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2] or None
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None
