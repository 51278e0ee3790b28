"""Endpoints of a model server, and lines for them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from filestead.egress import Egress, origin_of
from filestead.inference.endpoints import EndpointConfig, Endpoints, Exchange, Lane
from tests.support.model_server import ModelServer

PATH = "/v1/chat/completions"


def body(text: str = "hello", model: str = "m", **more: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **more}).encode()


@contextlib.asynccontextmanager
async def running(*configs: EndpointConfig) -> AsyncIterator[Endpoints]:
    endpoints = Endpoints(configs, lambda url: Egress([origin_of(url)]))
    task = asyncio.create_task(endpoints.run())
    try:
        yield endpoints
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        endpoints.close()


def config(*servers: ModelServer, **options: Any) -> EndpointConfig:
    options.setdefault("timeout_seconds", 5)
    return EndpointConfig("gpu", tuple(server.url for server in servers), **options)


async def send(lane: Lane, content: bytes | None = None) -> Exchange:
    content = body(model=lane.model) if content is None else content
    async with asyncio.timeout(30):
        while not lane.try_acquire(len(content)):
            await lane.wait_ready()
        return await lane.send(PATH, content, idempotency_key="batch_req_1", model=lane.model)
