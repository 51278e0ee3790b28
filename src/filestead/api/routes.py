"""The routes: each reads a request, calls the domain once, and writes the answer."""

import asyncio
import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field
from functools import partial

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from filestead import wire
from filestead.api import openapi, pages
from filestead.api.about import ABOUT
from filestead.api.http import ranges
from filestead.api.http.body import BodyReadLimits, read_body
from filestead.api.http.client_address import ClientAddressResolver
from filestead.api.http.client_limits import UploadSlots, WrongKeyLimiter
from filestead.api.http.errors import IDEMPOTENCY_KEY_HEADER, ApiError, ErrorResponse, bad_request, rate_limit_headers
from filestead.api.http.forms import MultipartUploadSource
from filestead.api.http.query import parse_integer
from filestead.domain import access
from filestead.domain.access import Authenticator, Principal, Scope
from filestead.domain.blobs import DirectDownloads
from filestead.domain.errors import UnknownKey
from filestead.domain.fair_share import FairShare
from filestead.domain.files.model import SHORT_PAGE, File
from filestead.domain.files.service import Files

JSON = "application/json"
SMALL_BYTES = 1024 * 1024
MAX_LIMIT = 10_000
LINK_SECONDS = 300
WRONG_KEY_DELAY = 1.0
"""Seconds that the refusal of one wrong key too many takes."""
SINGULAR = frozenset(
    {*(b"authorization", b"content-type", b"content-encoding"), *(b"openai-organization", b"openai-project")}
)
LONG_PAGES = 2
"""Long pages that are read and encoded at once: one is read while the other is encoded."""
KEY_FORM = re.compile(openapi.KEY_PATTERN)
PUBLIC = ("/", "/v1", "/v1/", "/health", "/health/ready", "/openapi.json")
"""The only paths that need no key."""

Handler = Callable[[Request, Principal], Awaitable[Response]]
Readiness = Callable[[], Awaitable[str | None]]
"""Says what is wrong, or None when uploads can be taken."""


@dataclass(slots=True)
class Api:
    """The handlers and what they need."""

    files: Files
    authenticator: Authenticator
    body_limits: BodyReadLimits
    upload_slots: UploadSlots
    wrong_keys: WrongKeyLimiter
    client_addresses: ClientAddressResolver
    readiness: Readiness
    direct: DirectDownloads | None = None
    """Set if downloads are answered with a link to the store."""
    long_pages: FairShare = field(default_factory=lambda: FairShare(LONG_PAGES))

    def routes(self) -> list[Route]:
        """The route table: everything but `PUBLIC` asks for a key with a scope."""
        read, write = Scope.READ, Scope.WRITE
        one = "/v1/files/{file_id}"
        return [
            self._guarded("/v1/files", GET=(read, self.list), POST=(write, self.create)),
            self._guarded(one, GET=(read, self.retrieve), DELETE=(write, self.delete)),
            self._guarded(f"{one}/content", GET=(read, self.content)),
            *(Route(path, self.about, methods=["GET"]) for path in ("/", "/v1", "/v1/")),
            Route("/health", self.health, methods=["GET"]),
            Route("/health/ready", self.ready, methods=["GET"]),
            Route("/openapi.json", self.description, methods=["GET"]),
        ]

    def _guarded(self, path: str, **methods: tuple[Scope, Handler]) -> Route:
        async def endpoint(request: Request) -> Response:
            scope, handler = methods["GET" if request.method == "HEAD" else request.method]
            _refuse_contradictions(request)
            principal = await self._authenticate(request)
            request.state.principal = principal
            access.require(principal, scope)
            return await handler(request, principal)

        return Route(path, endpoint, methods=list(methods))

    async def _authenticate(self, request: Request) -> Principal:
        try:
            return await self.authenticator.authenticate(
                _key_of(request),
                organization=request.headers.get("openai-organization"),
                project=request.headers.get("openai-project"),
            )
        except UnknownKey:
            refusal = self.wrong_keys.record(self.client_addresses.resolve(request))
            if refusal is None:
                raise
            await asyncio.sleep(WRONG_KEY_DELAY)
            raise ApiError(refusal) from None

    # --- files --------------------------------------------------------------------------------------------------

    async def create(self, request: Request, principal: Principal) -> Response:
        """POST /v1/files."""
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise ApiError(ErrorResponse(415, "Compressed request bodies are not accepted; send the file as it is."))
        idempotency_key = _idempotency_key(request)
        length = request.headers.get("content-length")
        with self.upload_slots.acquire(principal.project_id):
            async with aclosing(read_body(request.receive, self.body_limits)) as body:
                source = MultipartUploadSource(
                    request.headers.get("content-type", ""), int(length) if length else None, body
                )
                created = await self.files.create(principal, source, idempotency_key=idempotency_key)
        headers = rate_limit_headers(created.rate)
        if created.replayed:
            headers["idempotent-replayed"] = "true"
        return Response(wire.encode(_shape(created.file)), 200, headers, JSON)

    async def list(self, request: Request, principal: Principal) -> Response:
        """GET /v1/files."""
        query = _query(request, ("purpose", "limit", "order", "after"))
        listing = partial(
            self.files.list,
            principal,
            purpose=query.get("purpose") or None,
            after=query.get("after") or None,
            newest_first=_newest_first(query.get("order")),
        )
        limit = _limit(query.get("limit"))
        if request.method == "HEAD":
            await listing(limit=1)  # what GET refuses is refused
            return _without_length()
        turn = self.long_pages.place(principal.project_id) if limit > SHORT_PAGE else nullcontext()
        async with turn:
            body = await pages.encode_page(await listing(limit=limit), _shape)
        return Response(body, media_type=JSON)

    async def retrieve(self, request: Request, principal: Principal) -> Response:
        """GET /v1/files/{file_id}."""
        file = await self.files.get(principal, request.path_params["file_id"])
        return Response(wire.encode(_shape(file)), media_type=JSON)

    async def delete(self, request: Request, principal: Principal) -> Response:
        """DELETE /v1/files/{file_id}. The bytes go after the answer."""
        file = await self.files.delete(principal, request.path_params["file_id"])
        removal = BackgroundTask(self.files.delete_content, file)
        return Response(wire.encode(wire.FileDeleted(id=file.id)), media_type=JSON, background=removal)

    async def content(self, request: Request, principal: Principal) -> Response:
        """GET and HEAD /v1/files/{file_id}/content."""
        file = await self.files.get_for_download(principal, request.path_params["file_id"])
        selection = ranges.evaluate_preconditions_and_range(file, request.headers, ranges=request.method == "GET")
        headers = selection.headers
        if selection.status == 304:
            return Response(status_code=304, headers=headers)
        if self.direct is not None and request.method == "GET":
            disposition = headers["content-disposition"]
            link = self.direct.presigned(file.blob_key, disposition=disposition, seconds=LINK_SECONDS)
            if link is not None:
                return Response(status_code=302, headers={"location": link, "cache-control": "no-store"})
        length = selection.end - selection.start
        headers["content-length"] = str(length)
        if request.method == "HEAD":
            return Response(status_code=selection.status, headers=headers)
        blocks = self.files.read(file, selection.start, selection.end)
        if length <= SMALL_BYTES:
            return Response(b"".join([block async for block in blocks]), selection.status, headers)
        return StreamingResponse(await ranges.with_first_block_read(blocks), selection.status, headers)

    # --- operations ---------------------------------------------------------------------------------------------

    async def about(self, request: Request) -> Response:
        """GET / and /v1: what this is, for people and for tools that try a base URL."""
        return Response(wire.encode(ABOUT), media_type=JSON)

    async def health(self, request: Request) -> Response:
        """GET /health: the process answers."""
        return Response(b'{"status": "ok"}\n', media_type=JSON)

    async def ready(self, request: Request) -> Response:
        """GET /health/ready: uploads can be taken now; otherwise which part is in the way. Why, the log says.

        Anybody may ask, and a reason may name addresses.
        """
        if (part := await self.readiness()) is not None:
            message = f"Not ready: {part} does not work now. The server's log says why."
            return ErrorResponse(503, message, None, "not_ready", "server_error", {"retry-after": "2"}).to_response()
        return Response(b'{"status": "ok"}\n', media_type=JSON)

    async def description(self, request: Request) -> Response:
        """GET /openapi.json."""
        return Response(openapi.document(), media_type=JSON)


def _refuse_contradictions(request: Request) -> None:
    """Refuse two values of a header that has one: two readers of the request could each go by another."""
    seen: dict[bytes, bytes] = {}
    for name, value in request.scope["headers"]:
        if name in SINGULAR and seen.setdefault(name, value) != value:
            raise bad_request(f"The header '{name.decode()}' was given more than once; send one value", name.decode())


def _key_of(request: Request) -> str | None:
    """The key of a request: as Bearer token, or as the password of Basic authentication."""
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


def _idempotency_key(request: Request) -> str | None:
    """The key that the client has chosen for this upload; identical repeats are accepted, as in a query."""
    values = set(request.headers.getlist(IDEMPOTENCY_KEY_HEADER))
    if not values:
        return None
    if len(values) > 1:
        raise bad_request(
            f"'{IDEMPOTENCY_KEY_HEADER}' was given more than once; send one value", IDEMPOTENCY_KEY_HEADER
        )
    value = values.pop()
    if not KEY_FORM.fullmatch(value):
        raise bad_request(
            f"Invalid '{IDEMPOTENCY_KEY_HEADER}': send 1 to 255 visible ASCII characters without spaces, for example "
            "a UUID, or leave the header out",
            IDEMPOTENCY_KEY_HEADER,
        )
    return value


def _query(request: Request, names: tuple[str, ...]) -> dict[str, str]:
    """The named parameters. Unknown ones are ignored and identical repeats accepted, as the hosted service does."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in names and found.setdefault(name, value) != value:
            raise bad_request(f"'{name}' was given more than once", name)
    return found


def _limit(text: str | None) -> int:
    if text is None:
        return MAX_LIMIT
    limit = parse_integer(text, "limit")
    if limit < 1:
        raise bad_request(f"{limit} is less than the minimum of 1 - 'limit'")
    if limit > MAX_LIMIT:
        raise bad_request(f"{limit} is greater than the maximum of {MAX_LIMIT} - 'limit'")
    return limit


def _newest_first(order: str | None) -> bool:
    if order not in (None, "asc", "desc"):
        raise bad_request(f"{order[:64]!r} is not one of ['asc', 'desc'] - 'order'")
    return order != "asc"


def _shape(file: File) -> wire.FileObject:
    return wire.FileObject(
        id=file.id,
        purpose=file.purpose,
        filename=file.filename,
        bytes=file.bytes,
        created_at=file.created_at,
        expires_at=file.expires_at,
        status=file.status,
        status_details=file.status_details,
    )


def _without_length() -> Response:
    """The response to a HEAD whose body is not made, so that its length is not known."""
    response = Response(media_type=JSON)
    del response.headers["content-length"]
    return response
