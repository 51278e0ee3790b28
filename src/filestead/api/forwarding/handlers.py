"""Requests for model servers: what is read of them, where they are sent, and how files in them are resolved."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import unquote

from filestead.api.forwarding.bodies import Body, is_form, read_form, read_json
from filestead.api.forwarding.headers import for_upstream
from filestead.api.forwarding.models import ModelList
from filestead.api.forwarding.relay import Departures, Relay
from filestead.api.http.body import BodyReadLimits, read_body
from filestead.api.http.client_limits import ProjectShares
from filestead.api.http.errors import ApiError, ErrorResponse, bad_request
from filestead.api.http.messages import Request, Response
from filestead.api.http.routing import JSON
from filestead.domain.access import Principal
from filestead.domain.errors import EndpointUnavailable, ResponseNotFound
from filestead.domain.forwarding.interfaces import (
    FileResolver,
    ForwardedRequest,
    ForwardedResponse,
    Forwarder,
    Target,
)

MAX_ATTEMPTS = 3
"""Model servers that are tried for one request, if they cannot be reached."""
NOT_FOUND = 404
EMPTY_BODIES = {b"", b"{", b"{}"}
"""What is left of a body without content, also in the middle of it."""

_PATH = re.compile(rb"/v1(?P<path>(?:/[A-Za-z0-9._~=:@+-]+)+)")
_QUERY = re.compile(rb"[!-~]*")


@dataclass(slots=True)
class ForwardingHandlers:
    """Handlers of the operations that are passed on."""

    forwarder: Forwarder
    files: FileResolver
    models_list: ModelList
    body_limits: BodyReadLimits
    slots: ProjectShares
    """Of requests that are passed on at a time; each is held until its response has ended."""
    memory: ProjectShares
    """Bytes of the bodies of requests."""
    departures: Departures = field(default_factory=Departures)

    async def models(self, request: Request, principal: Principal) -> Response:
        """GET /v1/models."""
        return Response(await self.models_list.encode(), media_type=JSON)

    async def model(self, request: Request, principal: Principal) -> Response:
        """GET /v1/models/{model}."""
        model = unquote(request.path_params["model"])  # an encoded slash is still encoded
        return Response(await self.models_list.find(model), media_type=JSON)

    async def create(self, request: Request, principal: Principal) -> Response:
        """POST a request that names a model."""
        self.slots.take(principal.project_id)
        try:
            return await self._create(request, principal)
        except BaseException:
            self.slots.give_back(principal.project_id)
            raise

    async def _create(self, request: Request, principal: Principal) -> Relay:
        path = _path_of(request)
        is_upload = is_form(request)
        memory, project_id = self.memory, principal.project_id
        if is_upload:
            needs_model = len(self.forwarder.all_targets()) > 1
            body = await read_form(request, self.body_limits, memory, project_id, needs_model=needs_model)
        else:
            body = await read_json(request, self.body_limits, memory, project_id)
        exchange = _Exchange(self, request, principal, path, body)
        if not is_upload:
            exchange.body_read.set()
        note = exchange.note if path.startswith("/responses") else None
        return Relay(
            exchange.open, self.departures, exchange.body_read, partial(self.slots.give_back, project_id), note
        )

    async def stored(self, request: Request, principal: Principal) -> Response:
        """An operation on a stored response: it is sent to the model server that made it."""
        path = _path_of(request)
        await _skip_body(request, self.body_limits)
        body_read = asyncio.Event()
        body_read.set()
        outgoing = ForwardedRequest(request.method, path, for_upstream(request.scope["headers"]))
        open_response = self._opener(outgoing, principal, request.path_params["response_id"])
        self.slots.take(principal.project_id)
        return Relay(open_response, self.departures, body_read, partial(self.slots.give_back, principal.project_id))

    def _opener(
        self, outgoing: ForwardedRequest, principal: Principal, response_id: str
    ) -> Callable[[], Awaitable[ForwardedResponse]]:
        async def open_response() -> ForwardedResponse:
            target = self.forwarder.recall(principal.project_id, response_id)
            if target is not None:
                return await target.send(outgoing)
            return await self._ask_all(outgoing, response_id)

        return open_response

    async def _ask_all(self, outgoing: ForwardedRequest, response_id: str) -> ForwardedResponse:
        """Ask one after the other; the first that knows the response, or the last one's 404."""
        failure: EndpointUnavailable | None = None
        found: ForwardedResponse | None = None
        for target in self.forwarder.all_targets():
            if found is not None:
                found.close()
            try:
                found = await target.send(outgoing)
            except EndpointUnavailable as error:
                failure, found = error, None
                continue
            if found.status != NOT_FOUND:
                return found
        if failure is not None:
            if found is not None:
                found.close()
            raise failure
        if found is None:
            raise ResponseNotFound(response_id)
        return found


class _Exchange:
    """One request with a body, and where it is sent."""

    def __init__(
        self, handlers: ForwardingHandlers, request: Request, principal: Principal, path: str, body: Body
    ) -> None:
        self.body_read = asyncio.Event()
        self._handlers = handlers
        self._method = request.method
        self._headers = for_upstream(request.scope["headers"])
        self._principal = principal
        self._path = path
        self._body = body
        self._target: Target | None = None

    def note(self, response_id: str) -> None:
        """Remember where a response is stored."""
        assert self._target is not None
        self._handlers.forwarder.remember(self._principal.project_id, response_id, self._target)

    async def open(self) -> ForwardedResponse:
        """Send the request to the best model server that can be reached."""
        try:
            return await self._try_targets()
        finally:
            self.body_read.set()
            self._handlers.memory.give_back(self._principal.project_id, self._body.held)
            self._body.held, self._body.content = 0, b""

    async def _try_targets(self) -> ForwardedResponse:
        targets = self._targets()[:MAX_ATTEMPTS]
        for number, target in enumerate(targets, 1):
            self._target = target
            try:
                return await target.send(await self._outgoing(target))
            except EndpointUnavailable as error:
                if number == len(targets) or error.timed_out or not error.unsent:
                    raise
                if not isinstance(self._body.content, bytes):
                    raise
        raise AssertionError("there is a target, or an error")

    def _targets(self) -> list[Target]:
        body, forwarder = self._body, self._handlers.forwarder
        if body.previous_response_id is not None:
            try:
                known = forwarder.recall(self._principal.project_id, body.previous_response_id)
            except ResponseNotFound:
                raise _previous_response_not_found(body.previous_response_id) from None
            if known is not None and (body.model is None or known.serves(body.model)):
                return [known]
        group = self._principal.project_id.encode() + body.group
        return list(forwarder.targets_for(body.model, group))

    async def _outgoing(self, target: Target) -> ForwardedRequest:
        content, length = self._body.content, self._body.length
        if isinstance(content, bytes) and self._handlers.files.concerns(content, target.files):
            content = await self._resolve(content, target)
            length = len(content)
        return ForwardedRequest(self._method, self._path, self._headers, content, length)

    async def _resolve(self, content: bytes, target: Target) -> bytes:
        resolved = await self._handlers.files.resolve(self._principal.project_id, content, target.files)
        if (more := len(resolved) - len(content)) > 0:
            self._handlers.memory.take(self._principal.project_id, more)
            self._body.held += more
        return resolved


def _previous_response_not_found(response_id: str) -> ApiError:
    return bad_request(
        f"Previous response with id '{response_id[:200]}' not found.",
        "previous_response_id",
        "previous_response_not_found",
    )


def _path_of(request: Request) -> str:
    """The path below the base URL with its query, exactly as it came. Raises for what could mean another path."""
    raw_path: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    matched = _PATH.fullmatch(raw_path)
    if matched is None or b"/../" in raw_path + b"/" or b"/./" in raw_path + b"/" or not _QUERY.fullmatch(query):
        shown = raw_path.decode("ascii", "replace")[:200]
        raise ApiError(ErrorResponse(404, f"Invalid URL ({request.method} {shown}).", code="unknown_url"))
    path = matched["path"].decode()
    return f"{path}?{query.decode()}" if query else path


async def _skip_body(request: Request, limits: BodyReadLimits) -> None:
    """Requests without a body may say so in several ways; a real body would be lost."""
    body = b""
    async with aclosing(read_body(request.receive, limits)) as chunks:
        async for chunk in chunks:
            body += chunk
            if body.strip() not in EMPTY_BODIES:
                raise bad_request("This operation takes no body.")
