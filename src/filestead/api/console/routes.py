"""Routes and headers of the console. They are public: the page is the same for everyone, and asks for a key itself."""

import hashlib
from collections.abc import Iterable

from filestead.api.console.assets import Asset, Assets
from filestead.api.http.messages import Request, Response
from filestead.api.http.router import Route, RoutingError

CONTENT_SECURITY_POLICY = "; ".join(
    (
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"),
        "img-src 'self' data:",  # images of a preview are inside its document, which inherits this policy
        "frame-src blob:",  # previews, in a frame without any permission
        *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
        *("require-trusted-types-for 'script'", "trusted-types 'none'"),
    )
)
"""No inline script, no evaluation, no request to another host, and no page around this one."""

HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "vary": "accept-encoding",
    "x-frame-options": "DENY",
}
IMMUTABLE = "public, max-age=31536000, immutable"


def build_routes(paths: Iterable[str], version: str) -> list[Route]:
    """Build the routes of the console. `paths` are those of the operations that this server has."""
    assets = Assets(paths, version)

    async def page(request: Request) -> Response:
        """GET /console."""
        entity_tag = f'"{hashlib.sha256(assets.page.content).hexdigest()[:32]}"'
        caching = {"cache-control": "no-cache", "etag": entity_tag}
        if request.headers.get("if-none-match") == entity_tag:
            return Response(status_code=304, headers={**HEADERS, **caching})
        return _respond(request, assets.page, caching)

    async def file(request: Request) -> Response:
        """GET /console/{digest}/{name}: a file of this version; those of another version are not found."""
        asset = assets.files.get(request.path_params["name"])
        if asset is None or request.path_params["digest"] != assets.digest:
            raise RoutingError(404)
        return _respond(request, asset, {"cache-control": IMMUTABLE})

    return [
        Route("/console", {"GET": page}),
        Route("/console/", {"GET": page}),
        Route("/console/{digest}/{name:path}", {"GET": file}),
    ]


def _respond(request: Request, asset: Asset, caching: dict[str, str]) -> Response:
    headers = {**HEADERS, **caching}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.compressed, headers={**headers, "content-encoding": "gzip"}, media_type=asset.media_type)
    return Response(asset.content, headers=headers, media_type=asset.media_type)
