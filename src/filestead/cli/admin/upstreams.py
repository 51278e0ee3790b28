"""`filestead upstreams`: checks the model servers of the settings."""

import asyncio
import dataclasses
from typing import Annotated

import msgspec
from cyclopts import Parameter

from filestead import settings
from filestead.app.endpoints import build_endpoints
from filestead.cli.terminal.escaping import escape_line
from filestead.domain.errors import CannotStart
from filestead.inference.endpoint import Check, Endpoint

SHOWN_MODELS = 5


def upstreams(*, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Check the model servers that run batches: whether each can be used, its models, and whether it offers metrics.

    The servers are those of FILESTEAD_UPSTREAM_URL and of the tables [[upstreams]] in the file that FILESTEAD_CONFIG
    names. With metrics, batches notice sooner that a server is full.

    Exit status: 0 if all can be used, 1 if one cannot be reached or refuses the key, 78 if none is configured.

    Parameters
    ----------
    json
        Print one JSON object for each server.
    """
    endpoints = build_endpoints(settings.load())
    if not endpoints:
        raise CannotStart(
            "no model server is configured: set FILESTEAD_UPSTREAM_URL, or name servers as tables [[upstreams]] in the "
            "file that FILESTEAD_CONFIG names"
        )

    async def run() -> list[Check]:
        try:
            return await asyncio.gather(*(endpoint.check() for endpoint in endpoints.all))
        finally:
            endpoints.close()

    found = list(zip(endpoints.all, asyncio.run(run()), strict=True))
    for endpoint, check in found:
        print(_as_json(endpoint, check) if json else escape_line(_as_text(endpoint, check)))
    return 0 if all(check.usable for _, check in found) else 1


def _as_json(endpoint: Endpoint, check: Check) -> str:
    members = {"name": endpoint.name, "url": endpoint.url, **dataclasses.asdict(check)}
    return msgspec.json.encode(members).decode()


def _as_text(endpoint: Endpoint, check: Check) -> str:
    if not check.usable:
        return f"{endpoint.name}  {endpoint.url}  not usable: {check.detail}"
    models = check.models
    listed = check.detail if models is None else "models: " + (", ".join(models[:SHOWN_MODELS]) or "none")
    if models is not None and len(models) > SHOWN_MODELS:
        listed += f" and {len(models) - SHOWN_MODELS} more"
    return f"{endpoint.name}  {endpoint.url}  usable; {listed}; {'offers' if check.metrics else 'no'} metrics"
