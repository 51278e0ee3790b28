"""The ASGI application: routes and middleware around the domain services."""

import contextlib
from collections.abc import AsyncIterator
from time import monotonic

from starlette.routing import Router
from starlette.types import ASGIApp

from filestead.api.batches.handlers import BatchHandlers
from filestead.api.batches.results import ResultResponses
from filestead.api.files import FileHandlers
from filestead.api.http import cors
from filestead.api.http.body import BodyReadLimits
from filestead.api.http.client_address import ClientAddressResolver
from filestead.api.http.client_limits import UploadSlots, WrongKeyLimiter
from filestead.api.http.credentials import RequestAuthenticator
from filestead.api.http.errors import ErrorResponse
from filestead.api.http.middleware import RequestMiddleware, new_request_id
from filestead.api.http.routing import PUBLIC, build_routes
from filestead.api.routes import OPERATIONS, Handlers, build_openapi
from filestead.api.service import ServiceHandlers
from filestead.api.uploads.handlers import UploadHandlers
from filestead.api.vector_stores.handlers import VectorStoreHandlers
from filestead.app.embedding import build_embedders
from filestead.app.services import Services
from filestead.installation import Backends
from filestead.settings import Settings


def build(settings: Settings, backends: Backends) -> ASGIApp:
    """Build the application on open backends; it closes them when it shuts down."""
    services = Services(settings, backends)
    body_limits = BodyReadLimits(settings.idle_seconds, settings.min_upload_rate, settings.max_upload_seconds)
    upload_slots = UploadSlots(settings.max_uploads, settings.uploads_per_project)
    handlers = Handlers(
        FileHandlers(
            services.files,
            body_limits,
            upload_slots,
            backends.direct_downloads if settings.download_redirect else None,
        ),
        UploadHandlers(services.uploads, body_limits, upload_slots, int(settings.max_upload_bytes)),
        VectorStoreHandlers(services.vector_stores, services.search, body_limits),
        BatchHandlers(
            services.batches,
            ResultResponses(services.batch_results),
            services.batch_retrying,
            body_limits,
            services.find_paused_upstreams,
        ),
        ServiceHandlers(services.find_unavailable_component, build_openapi, services.find_paused_upstreams),
    )
    authenticator = RequestAuthenticator(
        services.authenticator,
        WrongKeyLimiter(settings.wrong_keys_per_minute, monotonic=monotonic),
        ClientAddressResolver(settings.proxy_networks),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with services.running():
            yield

    served = [each for each in OPERATIONS if settings.role != "worker" or each.access == PUBLIC]
    routes = build_routes(served, handlers, authenticator)
    app = RequestMiddleware(Router(routes, redirect_slashes=False, lifespan=lifespan))
    return cors.allow_origins(app, settings.allowed_origins) if settings.allowed_origins else app


def require_packages(settings: Settings) -> None:
    """Raise `CannotStart` unless the packages are installed that the settings need."""
    build_embedders(settings)


def error_response(status: int, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Build headers and body of the response to a request that is rejected before it reaches the application."""
    response = ErrorResponse(status, message).to_response()
    return [*response.raw_headers, (b"x-request-id", new_request_id().encode())], bytes(response.body)
