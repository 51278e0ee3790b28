"""Tells others when the process serves requests."""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send


class ActivityMiddleware:
    """ASGI middleware that calls a function at the beginning of each request, and another at its end."""

    def __init__(self, app: ASGIApp, began: Callable[[], None], ended: Callable[[], None]) -> None:
        self._app = app
        self._began = began
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; pass other scopes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._began()
        try:
            await self._app(scope, receive, send)
        finally:
            self._ended()
