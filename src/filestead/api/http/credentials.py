"""Credentials of a request: the API key becomes a principal, whose scope is checked."""

import asyncio
import base64
import binascii
from dataclasses import dataclass

from filestead.api.http.client_address import ClientAddressResolver
from filestead.api.http.client_limits import WrongKeyLimiter
from filestead.api.http.errors import ApiError, bad_request
from filestead.api.http.messages import Request
from filestead.domain import access
from filestead.domain.access import Authenticator, Principal, Scope
from filestead.domain.errors import UnknownKey

LIMITED_RESPONSE_DELAY = 1.0
"""Seconds before the error response to a wrong key that exceeds the limit."""

SINGLE_VALUE_HEADERS = frozenset(
    {*(b"authorization", b"content-type", b"content-encoding"), *(b"openai-organization", b"openai-project")}
)


@dataclass(frozen=True, slots=True)
class RequestAuthenticator:
    """Authenticates requests and limits attempts with wrong keys."""

    authenticator: Authenticator
    wrong_keys: WrongKeyLimiter
    client_addresses: ClientAddressResolver

    async def authenticate(self, request: Request, scope: Scope) -> Principal:
        """Return the principal, which is also stored in the request's state.

        Raises a domain error if the key is missing or wrong or has not the scope, and `ApiError` (429) for too many
        wrong keys.
        """
        _reject_conflicting_headers(request)
        principal = await self._authenticate_key(request)
        request.scope["state"]["principal"] = principal
        access.require(principal, scope)
        return principal

    async def _authenticate_key(self, request: Request) -> Principal:
        try:
            return await self.authenticator.authenticate(
                _extract_key(request),
                organization=request.headers.get("openai-organization"),
                project=request.headers.get("openai-project"),
            )
        except UnknownKey:
            limit_exceeded = self.wrong_keys.record(self.client_addresses.resolve(request))
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
