"""The router: finds the route of a path, and sends the response of its endpoint.

A path is looked up in tables, so that the number of routes costs a request nothing. Routes are tried in their order.
"""

import re
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from starlette.types import Receive, Scope, Send

from filestead.api.http.messages import Request, Response

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
Lifespan: TypeAlias = Callable[[], AbstractAsyncContextManager[None]]

_PARAMETER = re.compile(r"{([a-z_]+)(:path)?}")
KEY_SEGMENTS = 3
"""Routes with parameters are found by so many pieces of a path: the empty one before it, and its first two segments."""


class RoutingError(Exception):
    """No route has this path (404), or none of its routes has this method (405, with the methods that there are)."""

    def __init__(self, status: int, allowed: Iterable[str] = ()) -> None:
        super().__init__(status)
        self.status = status
        self.allowed = sorted(allowed)


class Route:
    """A path, and its endpoints by method. `{name}` stands for a segment, `{name:path}` for any number of them."""

    def __init__(self, path: str, endpoints: Mapping[str, Endpoint]) -> None:
        """A HEAD request is served by the endpoint for GET."""
        self.path = path
        self.endpoints = dict(endpoints)
        if "GET" in endpoints:
            self.endpoints.setdefault("HEAD", endpoints["GET"])
        literals = _PARAMETER.split(path)
        pattern = re.escape(literals[0])
        for name, kind, literal in zip(literals[1::3], literals[2::3], literals[3::3], strict=True):
            pattern += f"(?P<{name}>{'.*' if kind else '[^/]+'}){re.escape(literal)}"
        self._pattern = re.compile(pattern)
        self.prefix: str | None = literals[0] if len(literals) > 1 else None
        """What stands before the first parameter; None without parameters."""

    def match(self, path: str) -> dict[str, str] | None:
        """Return the parameters, or None if the path is another one."""
        if self.prefix is None:
            return {} if path == self.path else None
        found = self._pattern.fullmatch(path)
        return None if found is None else found.groupdict()


class Router:
    """An ASGI application."""

    def __init__(self, routes: Iterable[Route], lifespan: Lifespan) -> None:
        self.routes = [*routes]
        self._lifespan = lifespan
        templates = [route for route in self.routes if route.prefix is not None]
        keys = {_key(route.prefix or "") for route in templates}
        self._templates = {
            key: [each for each in templates if _key(each.prefix or "") in (key, None)] for key in keys if key
        }
        self._others = [route for route in templates if _key(route.prefix or "") is None]
        literal = {route.path for route in self.routes if route.prefix is None}
        self._literal = {path: [each for each in self.routes if each.match(path) is not None] for path in literal}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or the lifespan."""
        if scope["type"] != "http":
            await self._run_lifespan(receive, send)
            return
        scope["router"] = self
        endpoint, parameters = self.find(scope["method"], scope["path"])
        response = await endpoint(Request(scope, receive, parameters))
        await response(scope, receive, send)

    def find(self, method: str, path: str) -> tuple[Endpoint, Mapping[str, str]]:
        """Return the endpoint and the parameters of the path. Raises `RoutingError`."""
        allowed: Iterable[str] = ()
        for route in self._candidates(path):
            parameters = route.match(path)
            if parameters is not None:
                endpoint = route.endpoints.get(method)
                if endpoint is not None:
                    return endpoint, parameters
                allowed = allowed or route.endpoints
        raise RoutingError(405 if allowed else 404, allowed)

    def _candidates(self, path: str) -> list[Route]:
        found = self._literal.get(path)
        return found if found is not None else self._templates.get(_key(path) or "", self._others)

    def has(self, path: str) -> bool:
        """Whether there is a route of this path."""
        return any(route.match(path) is not None for route in self._candidates(path))

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        state = "startup"
        await receive()
        try:
            async with self._lifespan():
                await send({"type": "lifespan.startup.complete"})
                state = "shutdown"
                await receive()
        except BaseException:
            await send({"type": f"lifespan.{state}.failed", "message": traceback.format_exc()})
            raise
        await send({"type": "lifespan.shutdown.complete"})


def _key(path: str) -> str | None:
    """The beginning of a path by which it is looked up; None if it is too short for one."""
    pieces = path.split("/", KEY_SEGMENTS)
    return "/".join(pieces[:KEY_SEGMENTS]) if len(pieces) > KEY_SEGMENTS else None
