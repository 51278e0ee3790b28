"""Cross-origin requests (CORS): pages of the configured origins may call the API from a browser."""

from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

ALLOWED_METHODS = ("GET", "HEAD", "POST", "DELETE")
PREFLIGHT_MAX_AGE = 7200
"""Seconds for which a browser may cache a preflight response; the maximum of Chromium."""

EXPOSED_HEADERS = (
    *("x-request-id", "etag", "repr-digest", "content-disposition", "content-length", "content-range"),
    *("accept-ranges", "idempotent-replayed", "retry-after", "retry-after-ms", "x-should-retry", "www-authenticate"),
    *("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    *("openai-organization", "openai-project", "openai-processing-ms", "openai-version"),
)
"""Response headers that a page may read."""


def allow_origins(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """Wrap the application so that pages of these origins may call it; `*` allows every origin.

    It must be the outermost layer, so that pages can read error responses. Any request header is allowed, as SDKs add
    their own. Cookies are not enabled: the page itself sets the header with the key.
    """
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=ALLOWED_METHODS,
        allow_headers=("*",),
        expose_headers=EXPOSED_HEADERS,
        allow_private_network=True,
        max_age=PREFLIGHT_MAX_AGE,
    )
