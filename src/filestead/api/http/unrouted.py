"""Requests for a path or method that the server does not have."""

from collections.abc import Iterator, Sequence

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from filestead.api.http.errors import Answer

SHOWN_CHARACTERS = 200
PREFIXES = ("v1", "openai", "api")
"""What base URLs of clients begin with, rightly or not, also twice."""

NO_MODELS = "It runs no models: there are no chat completions, responses, embeddings or images here."


def unrouted(error: HTTPException, scope: Scope) -> Answer:
    """The answer to an unknown path or a method that the path does not have.

    Many clients take any 404 for an unknown model, and show our sentence below their own guess.
    """
    method, path = scope["method"], scope["path"]
    shown = path[:SHOWN_CHARACTERS]
    if error.status_code == 405:
        hint = "(HINT: Perhaps you meant to use a different HTTP method?)"
        return Answer(405, f"Not allowed to {method} on {shown}. {hint}", headers=error.headers or {})
    routes: Sequence[BaseRoute] = scope["router"].routes
    sentences = [f"Invalid URL ({method} {shown}).", _hint(path, routes), _served(routes), NO_MODELS]
    return Answer(404, " ".join(filter(None, sentences)), code="unknown_url")


def _hint(path: str, routes: Sequence[BaseRoute]) -> str:
    """A path of ours that was probably meant; empty if there is none."""
    for meant in _candidates(path):
        if any(isinstance(route, Route) and route.path_regex.match(meant) for route in routes):
            if meant == f"/v1{path}":
                return f"Did you forget /v1? There is {meant[:SHOWN_CHARACTERS]} here."
            return f"Did you mean {meant[:SHOWN_CHARACTERS]}?"
    return ""


def _candidates(path: str) -> Iterator[str]:
    """Without slashes too many, with /v1 once, and without what else a base URL may have begun with."""
    segments = [segment for segment in path.split("/") if segment]
    while segments and segments[0] in PREFIXES:
        segments.pop(0)
    if segments:
        rest = "/".join(segments)
        yield f"/v1/{rest}"
        yield f"/{rest}"


def _served(routes: Sequence[BaseRoute]) -> str:
    """The operations under /v1, as the route table has them."""
    operations = [
        f"{'/'.join(sorted((route.methods or set()) - {'HEAD'}))} {route.path}"
        for route in routes
        if isinstance(route, Route) and route.path.startswith("/v1/") and route.path != "/v1/"
    ]
    return f"This server is Filestead and stores files: it serves {', '.join(operations)}."
