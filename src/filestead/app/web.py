"""The ASGI application: routes and middleware around the domain services."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from time import monotonic, time

from starlette.types import ASGIApp

from filestead import __version__
from filestead.api.batches.handlers import BatchHandlers
from filestead.api.batches.results import ResultResponses
from filestead.api.console import routes as console
from filestead.api.files import FileHandlers
from filestead.api.forwarding.bodies import body_memory
from filestead.api.forwarding.handlers import ForwardingHandlers
from filestead.api.forwarding.models import ModelList
from filestead.api.http import cors
from filestead.api.http.activity import ActivityMiddleware
from filestead.api.http.body import BodyReadLimits
from filestead.api.http.client_address import ClientAddressResolver
from filestead.api.http.client_limits import ProjectShares, WrongKeyLimiter
from filestead.api.http.credentials import RequestAuthenticator
from filestead.api.http.errors import ErrorResponse
from filestead.api.http.middleware import RequestMiddleware
from filestead.api.http.requests import new_request_id
from filestead.api.http.router import Router
from filestead.api.http.routing import PUBLIC, build_routes
from filestead.api.organization.handlers import OrganizationHandlers
from filestead.api.routes import FORWARDED, OPERATIONS, Handlers, build_openapi, undocumented
from filestead.api.service import ServiceHandlers
from filestead.api.uploads.handlers import UploadHandlers
from filestead.api.vector_stores.handlers import VectorStoreHandlers
from filestead.app.embedding import build_embedders
from filestead.app.metrics_port import MetricsPort
from filestead.app.services import Services
from filestead.app.signals import Signals
from filestead.domain.access import Scope
from filestead.installation import Backends
from filestead.settings import Settings

WORKER_ACCESS = (PUBLIC, Scope.METRICS)
"""What a server with the role `worker` serves."""


def build(settings: Settings, backends: Backends, signals: Signals, metrics_port: int | None = None) -> ASGIApp:
    """Build the application on open backends; it closes them when it shuts down.

    Requests that arrive at `metrics_port` get metrics only.
    """
    services = Services(settings, backends, signals.observer, signals.batch_observer, signals.forwarding_observer)
    collect_metrics = partial(signals.collect, backends.figures)
    body_limits = BodyReadLimits(settings.idle_seconds, settings.min_upload_rate, settings.max_upload_seconds)
    upload_slots = ProjectShares(settings.max_uploads, settings.uploads_per_project, "Too many concurrent uploads")
    handlers = Handlers(
        FileHandlers(
            services.files,
            body_limits,
            upload_slots,
            backends.direct_downloads if settings.download_redirect else None,
        ),
        UploadHandlers(services.uploads, body_limits, upload_slots, int(settings.max_upload_bytes)),
        VectorStoreHandlers(services.vector_stores, services.search, body_limits),
        OrganizationHandlers(services.administration, backends.audit, body_limits, time),
        BatchHandlers(
            services.batches,
            ResultResponses(services.batch_results),
            services.batch_retrying,
            body_limits,
        ),
        ServiceHandlers(
            services.find_unavailable_component,
            partial(build_openapi, forwards=settings.forwards),
            services.find_paused_upstreams,
            collect_metrics,
        ),
        _build_forwarding(settings, services, body_limits),
    )
    authenticator = RequestAuthenticator(
        services.authenticator,
        WrongKeyLimiter(settings.wrong_keys_per_minute, monotonic=monotonic),
        ClientAddressResolver(settings.proxy_networks),
        services.denials,
    )

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with signals.running(), services.running():
            yield

    operations = [*OPERATIONS]
    if settings.forwards:  # the most frequent requests first: routes are tried one after the other
        operations = [*FORWARDED, *OPERATIONS, *undocumented(settings.forwarded_paths)]
    served = [each for each in operations if settings.role != "worker" or each.access in WORKER_ACCESS]
    routes = build_routes(served, handlers, authenticator, signals.requests)
    if settings.console == "on" and settings.role != "worker":
        routes += console.build_routes((each.path for each in served), __version__)
    app: ASGIApp = RequestMiddleware(Router(routes, lifespan), signals.requests)
    if services.batch_runner is not None:
        app = ActivityMiddleware(app, services.batch_runner.throttle.request)
    if settings.allowed_origins:
        app = cors.allow_origins(app, settings.allowed_origins)
    return app if metrics_port is None else MetricsPort(app, metrics_port, collect_metrics)


def _build_forwarding(settings: Settings, services: Services, body_limits: BodyReadLimits) -> ForwardingHandlers | None:
    if not settings.forwards:
        return None
    models = ModelList(services.forwarder, monotonic)
    slots = ProjectShares(
        settings.model_requests, settings.model_requests_per_project, "Too many concurrent requests to models"
    )
    return ForwardingHandlers(services.forwarder, services.file_resolver, models, body_limits, slots, body_memory())


def require_packages(settings: Settings) -> None:
    """Raise `CannotStart` unless the packages are installed that the settings need."""
    build_embedders(settings)


def error_response(status: int, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Build headers and body of the response to a request that is rejected before it reaches the application."""
    response = ErrorResponse(status, message).to_response()
    return [*response.raw_headers, (b"x-request-id", new_request_id().encode())], response.body
