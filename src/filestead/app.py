"""The composition root: settings -> backends -> services -> ASGI app. The only file that knows everything."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

from starlette.routing import Router
from starlette.types import ASGIApp

from filestead.api.http import cors
from filestead.api.http.body import BodyReadLimits
from filestead.api.http.client_address import ClientAddressResolver
from filestead.api.http.client_limits import UploadSlots, WrongKeyLimiter
from filestead.api.http.middleware import RequestMiddleware
from filestead.api.routes import Api
from filestead.blobs.keys import new_key
from filestead.decoders import DECODERS
from filestead.domain.access import Authenticator
from filestead.domain.errors import DomainError
from filestead.domain.files.digester import RunInThread
from filestead.domain.files.model import Limits
from filestead.domain.files.service import LEASE_SECONDS, Files, UploadPolicy
from filestead.domain.files.sweep import Sweeper
from filestead.domain.quota import Quota
from filestead.installation import Backends, new_id
from filestead.settings import Settings

log = logging.getLogger("filestead")

HASH_THREADS = 4


def limits(settings: Settings) -> Limits:
    """The domain's limits, as configured."""
    return Limits(
        max_file_bytes=int(settings.max_file_bytes),
        max_batch_file_bytes=int(settings.max_batch_file_bytes),
        quota=Quota(settings.project_quota, settings.organization_quota),
        uploads_per_minute=settings.uploads_per_minute,
        batch_expiry_seconds=settings.batch_expiry_seconds or None,
    )


def build(settings: Settings, backends: Backends) -> ASGIApp:
    """The application on open backends; it closes them when it shuts down."""
    hashing = ThreadPoolExecutor(HASH_THREADS, thread_name_prefix="filestead-hash")

    lines = ThreadPoolExecutor(1, thread_name_prefix="filestead-lines")

    files = Files(
        backends.files,
        backends.blobs,
        UploadPolicy(limits(settings), settings.validation, settings.downloads == "openai"),
        new_file_id=lambda: new_id("file-"),
        new_blob_key=new_key,
        line_decoders=DECODERS,
        run_in_thread=_on(hashing),
        run_line_checks=_on(lines),
    )

    async def readiness() -> str | None:
        try:
            await backends.keys.find("")  # the cheapest question to the database
        except DomainError as error:
            log.warning("not ready: %s", error)
            return "the database"
        if (reason := await backends.blobs.unavailable_reason()) is not None:
            log.warning("not ready: %s", reason)
            return "the store of the files' bytes"
        return None

    sweeper = Sweeper(backends.files, backends.blobs)
    api = Api(
        files=files,
        authenticator=Authenticator(backends.keys, monotonic=monotonic),
        body_limits=BodyReadLimits(settings.idle_seconds, settings.min_upload_rate, settings.max_upload_seconds),
        upload_slots=UploadSlots(settings.max_uploads, settings.uploads_per_project),
        wrong_keys=WrongKeyLimiter(settings.wrong_keys_per_minute, monotonic=monotonic),
        client_addresses=ClientAddressResolver(settings.proxy_networks),
        readiness=readiness,
        direct=backends.direct_downloads if settings.download_redirect else None,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        chores = [
            asyncio.create_task(_every(settings.sweep_seconds, sweeper.sweep)),
            asyncio.create_task(_every(LEASE_SECONDS / 4, files.renew_leases)),
        ]
        try:
            yield
        finally:
            for chore in chores:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)
            hashing.shutdown()
            lines.shutdown()
            backends.close()

    app = RequestMiddleware(Router(api.routes(), redirect_slashes=False, lifespan=lifespan))
    return cors.allow_origins(app, settings.allowed_origins) if settings.allowed_origins else app


def _on(threads: ThreadPoolExecutor) -> RunInThread:
    """Run functions on these threads."""

    def submit(function: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        return asyncio.get_running_loop().run_in_executor(threads, function, *args)

    return submit


async def _every(seconds: float, chore: Callable[[], Awaitable[object]]) -> None:
    """Do a chore now and then, for ever; a failure is logged and the next turn tries again."""
    while True:
        try:
            await chore()
        except DomainError as error:
            log.error("%s failed: %s", chore.__qualname__, error)
        except Exception:
            log.exception("%s failed", chore.__qualname__)
        await asyncio.sleep(seconds)
