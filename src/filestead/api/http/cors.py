"""Cross-origin requests: the origins that the operator names may use the API from a browser (the Fetch standard)."""

from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

METHODS = ("GET", "HEAD", "POST", "DELETE")
PREFLIGHT_SECONDS = 7200
"""How long a browser may remember the answer to a preflight; Chromium allows no more."""

EXPOSED = (
    *("x-request-id", "etag", "repr-digest", "content-disposition", "content-length", "content-range"),
    *("accept-ranges", "idempotent-replayed", "retry-after", "retry-after-ms", "x-should-retry", "www-authenticate"),
    *("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    *("openai-organization", "openai-project", "openai-processing-ms", "openai-version"),
)
"""The headers of answers that a page may read."""


def allowing(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """The app for pages of these origins, or of any if `*` is one; around everything, so that pages can read errors.

    A page may send any header, as SDKs have many of their own. Credentials of the browser (cookies) are never asked
    for: a key travels in a header that the page itself sets.
    """
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=("*",),
        expose_headers=EXPOSED,
        allow_private_network=True,
        max_age=PREFLIGHT_SECONDS,
    )
