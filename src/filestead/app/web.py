"""The ASGI application: routes and middleware around the domain services."""

import contextlib
import functools
from collections.abc import AsyncIterator
from time import monotonic

from starlette.routing import Router
from starlette.types import ASGIApp

from filestead.api.batches.handlers import BatchHandlers
from filestead.api.batches.results import ResultResponses
from filestead.api.files import FileHandlers
from filestead.api.forwarding.handlers import ForwardingHandlers
from filestead.api.forwarding.models import ModelList
from filestead.api.http import cors
from filestead.api.http.body import BodyReadLimits
from filestead.api.http.client_address import ClientAddressResolver
from filestead.api.http.client_limits import UploadSlots, WrongKeyLimiter
from filestead.api.http.credentials import RequestAuthenticator
from filestead.api.http.errors import ErrorResponse
from filestead.api.http.middleware import RequestMiddleware, new_request_id
from filestead.api.http.routing import PUBLIC, build_routes
from filestead.api.routes import FORWARDED, OPERATIONS, Handlers, build_openapi, undocumented
from filestead.api.service import ServiceHandlers
from filestead.api.vector_stores.handlers import VectorStoreHandlers
from filestead.app.embedding import build_embedders
from filestead.app.services import Services
from filestead.installation import Backends
from filestead.settings import Settings


def build(settings: Settings, backends: Backends) -> ASGIApp:
    """Build the application on open backends; it closes them when it shuts down."""
    services = Services(settings, backends)
    body_limits = BodyReadLimits(settings.idle_seconds, settings.min_upload_rate, settings.max_upload_seconds)
    handlers = Handlers(
        FileHandlers(
            services.files,
            body_limits,
            UploadSlots(settings.max_uploads, settings.uploads_per_project),
            backends.direct_downloads if settings.download_redirect else None,
        ),
        VectorStoreHandlers(services.vector_stores, services.search, body_limits),
        BatchHandlers(services.batches, ResultResponses(services.batch_results), services.batch_retrying, body_limits),
        ServiceHandlers(
            services.find_unavailable_component,
            functools.partial(build_openapi, forwards=settings.forwards),
            services.find_paused_upstreams,
        ),
        _build_forwarding(settings, services, body_limits),
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

    operations = [*OPERATIONS]
    if settings.forwards:  # the most frequent requests first: routes are tried one after the other
        operations = [*FORWARDED, *OPERATIONS, *undocumented(settings.forwarded_paths)]
    served = [each for each in operations if settings.role != "worker" or each.access == PUBLIC]
    routes = build_routes(served, handlers, authenticator)
    app = RequestMiddleware(Router(routes, redirect_slashes=False, lifespan=lifespan))
    return cors.allow_origins(app, settings.allowed_origins) if settings.allowed_origins else app


def _build_forwarding(settings: Settings, services: Services, body_limits: BodyReadLimits) -> ForwardingHandlers | None:
    if not settings.forwards:
        return None
    models = ModelList(services.forwarder, monotonic)
    return ForwardingHandlers(services.forwarder, services.file_resolver, models, body_limits)


def require_packages(settings: Settings) -> None:
    """Raise `CannotStart` unless the packages are installed that the settings need."""
    build_embedders(settings)


def error_response(status: int, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Build headers and body of the response to a request that is rejected before it reaches the application."""
    response = ErrorResponse(status, message).to_response()
    return [*response.raw_headers, (b"x-request-id", new_request_id().encode())], bytes(response.body)
