"""Error responses to requests with an unknown path or method."""

from collections.abc import Iterator

from starlette.types import Scope

from filestead.api.http.errors import ErrorResponse
from filestead.api.http.router import Router, RoutingError

MAX_SHOWN_PATH = 200
PREFIXES = ("v1", "openai", "api")
"""Path segments that clients put in front of ours, also twice, because of a wrong base URL."""

NO_MODELS = (
    "It runs no models: there are no chat completions, responses, embeddings or images here, unless its operator sets "
    "FILESTEAD_UPSTREAM_URL to an OpenAI-compatible server that does."
)


def routing_error_response(error: RoutingError, scope: Scope) -> ErrorResponse:
    """Return the 404 for an unknown path, or the 405 for a method that the path does not support.

    Many clients report any 404 as an unknown model and show our message below their own.
    """
    method, path = scope["method"], scope["path"]
    shown = path[:MAX_SHOWN_PATH]
    if error.status == 405:
        hint = "(HINT: Perhaps you meant to use a different HTTP method?)"
        return ErrorResponse(
            405, f"Not allowed to {method} on {shown}. {hint}", headers={"allow": ", ".join(error.allowed)}
        )
    router: Router = scope["router"]
    models = "" if router.has("/v1/models") else NO_MODELS
    sentences = [f"Invalid URL ({method} {shown}).", _suggest_path(path, router), _list_resources(router), models]
    return ErrorResponse(404, " ".join(filter(None, sentences)), code="unknown_url")


def _suggest_path(path: str, router: Router) -> str:
    """Suggest the existing path that was probably meant; empty if there is none."""
    for candidate in _candidate_paths(path):
        if router.has(candidate):
            if candidate == f"/v1{path}":
                return f"Did you forget /v1? There is {candidate[:MAX_SHOWN_PATH]} here."
            return f"Did you mean {candidate[:MAX_SHOWN_PATH]}?"
    return ""


def _candidate_paths(path: str) -> Iterator[str]:
    """Yield the path without empty segments and prefixes: with /v1 and without it."""
    segments = [segment for segment in path.split("/") if segment]
    while segments and segments[0] in PREFIXES:
        segments.pop(0)
    if segments:
        rest = "/".join(segments)
        yield f"/v1/{rest}"
        yield f"/{rest}"


def _list_resources(router: Router) -> str:
    """List the resources under /v1 for the message."""
    paths = [route.path for route in router.routes if route.path.startswith("/v1/")]
    resources = sorted({f"/v1/{path.split('/')[2]}" for path in paths if path != "/v1/"})
    if not resources:
        return "This server is Filestead, without the API; /openapi.json describes what it serves."
    listed = " and ".join(filter(None, [", ".join(resources[:-1]), resources[-1]]))
    return f"This server is Filestead: it serves {listed}, as /openapi.json describes."
