"""Tells others when the process serves requests."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from starlette.types import ASGIApp, Receive, Scope, Send


class ActivityMiddleware:
    """ASGI middleware that handles each request within a block."""

    def __init__(self, app: ASGIApp, request: Callable[[], AbstractContextManager[None]]) -> None:
        """`request` makes the block of a request."""
        self._app = app
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; pass other scopes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._request():
            await self._app(scope, receive, send)
