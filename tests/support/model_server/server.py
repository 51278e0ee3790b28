"""The server: HTTP/1.1 on loopback, requests through the engine in scaled real time, scripted faults."""

import asyncio
import itertools
import json
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Self

import msgspec

from tests.support.model_server import responses
from tests.support.model_server.faults import Fault, Received
from tests.support.model_server.physics import Engine, Machine, Request
from tests.support.model_server.rates import RateLimit

REASONS = {200: "OK", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error"}
PATHS = {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"}


class ModelServer:
    """Responds to each request as `script` says, or the next of `faults`, or well."""

    def __init__(
        self,
        machine: Machine | None = None,
        *,
        speed: float = 1.0,
        instant: bool = False,
        key: str | None = None,
        models: Sequence[str] = ("m",),
        metrics: bool = True,
        script: Callable[[Received], Fault | None] | None = None,
        records: bool = True,
        port: int = 0,
        rate_limit: RateLimit | None = None,
        takes_priority: bool = False,
    ) -> None:
        """`speed` is virtual seconds per second; `instant` responds at once, without the engine."""
        self.engine = Engine(machine or Machine())
        self.speed = speed
        self.instant = instant
        self.key = key
        self.models = list(models)
        self.metrics = metrics
        self.script = script
        self.records = records
        self.rate_limit = rate_limit
        self.takes_priority = takes_priority
        self.priority_refusal = 400, "Got priority 10 but Priority scheduling is not enabled."
        self.refused_priorities: list[Received] = []
        """Requests that were refused because of their priority, and are not among the others."""
        self.slots: bytes | None = None
        """The body of `/slots`, as of llama.cpp."""
        self.faults: deque[Fault] = deque()
        """For the next requests to a model, one each."""
        self.requests: list[Received] = []
        """Requests to models, if `records`."""
        self.probes: list[Received] = []
        """Other requests."""
        self.aborted = 0
        """Requests whose client went away."""
        self.refused = 0
        self.reported_metrics: str | None = None
        """The text of `/metrics`, if not that of the engine."""
        self.max_in_flight = 0
        self.connections: set[_Connection] = set()
        self.numbers = itertools.count()
        self._port = port
        self._server: asyncio.Server | None = None
        self._waiting: dict[Request, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    async def start(self) -> None:
        """Listen; after `stop`, on the same port again."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self._port, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections, and reset those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            connection.reset()
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        if self._timer is not None:
            self._timer.cancel()

    def now(self) -> float:
        return asyncio.get_running_loop().time() * self.speed

    async def run(self, request: Request) -> bool:
        """Run a request in the engine. Returns False if it is refused."""
        self._collect()
        if not self.engine.submit(request, self.now()):
            return False
        self._waiting[request] = asyncio.get_running_loop().create_future()
        self.max_in_flight = max(self.max_in_flight, len(self._waiting))
        self._set_timer()
        try:
            await self._waiting[request]
        except asyncio.CancelledError:
            self._waiting.pop(request, None)
            self._collect()
            self.engine.abort(request, self.now())
            self._set_timer()
            self.aborted += 1
            raise
        return True

    def _collect(self) -> None:
        """Finish what has ended by now."""
        while (end := self.engine.next_end()) is not None and end <= self.now():
            request = self.engine.finish()
            if (future := self._waiting.pop(request, None)) is not None and not future.done():
                future.set_result(None)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (end := self.engine.next_end()) is not None:
            self._timer = asyncio.get_running_loop().call_at(end / self.speed, self._on_timer)

    def _on_timer(self) -> None:
        self._collect()
        self._set_timer()

    def fault_for(self, received: Received) -> Fault | None:
        if self.script is not None and (fault := self.script(received)) is not None:
            return fault
        return self.faults.popleft() if self.faults else None

    def metrics_text(self) -> str:
        if self.reported_metrics is not None:
            return self.reported_metrics
        engine = self.engine
        label = f'{{model_name="{self.models[0]}"}}'
        values = {
            "num_requests_running": len(engine.running),
            "num_requests_waiting": len(engine.waiting),
            "kv_cache_usage_perc": min(1.0, len(engine.running) / 512),
            "prefix_cache_queries_total": engine.hits + engine.misses,
            "prefix_cache_hits_total": engine.hits,
        }
        return "".join(f"# TYPE vllm:{name} gauge\nvllm:{name}{label} {value}\n" for name, value in values.items())


class _Connection(asyncio.Protocol):
    """A connection of a client: one request after the other."""

    def __init__(self, server: ModelServer) -> None:
        self.server = server
        self.number = next(server.numbers)
        self.transport: Any = None
        self.input = bytearray()
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)
        if self.task is not None:
            self.task.cancel()

    def reset(self) -> None:
        reset(self.transport)

    def data_received(self, data: bytes) -> None:
        self.input += data
        if self.task is None:
            self._next()

    def _next(self) -> None:
        end = self.input.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = self.input[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", "0"))
        if len(self.input) < end + 4 + size:
            return
        body = bytes(self.input[end + 4 : end + 4 + size])
        del self.input[: end + 4 + size]
        method, path, _ = first.split(" ")
        received = Received(method, path, headers, body, asyncio.get_running_loop().time(), self.number)
        server = self.server
        is_plain = not server.faults and server.script is None and server.rate_limit is None
        if server.instant and path in PATHS and is_plain:
            self._respond_at_once(received)
        else:
            self.task = asyncio.get_running_loop().create_task(self._handle(received))

    def _respond_at_once(self, received: Received) -> None:
        if self._refuse_priority(received):
            self._next()
            return
        if self.server.records:
            self.server.requests.append(received)
        if (refusal := self._refusal(received)) is not None:
            self.send(*refusal)
        else:
            parsed = responses.decode(received.body)
            self.send(200, responses.response_to(received.path, parsed, responses.request_of(received.path, parsed)))
        self._next()

    async def _handle(self, received: Received) -> None:
        try:
            await self._respond(received)
        finally:
            self.task = None
        self._next()

    async def _respond(self, received: Received) -> None:
        server = self.server
        if received.path not in PATHS:
            server.probes.append(received)
            self.send(*self._other(received))
            return
        if self._refuse_priority(received):
            return
        if server.records:
            server.requests.append(received)
        fault = server.fault_for(received)
        if fault is not None and fault.kind in ("slow", "held"):
            await _delay(fault)
        elif fault is not None:
            await self._fail(fault)
            return
        if (refusal := self._refusal(received)) is not None:
            self.send(*refusal)
            return
        parsed = responses.decode(received.body)
        request = responses.request_of(received.path, parsed)
        headers: dict[str, str] = {}
        if server.rate_limit is not None:
            tokens = request.prompt_tokens + request.output_tokens
            admitted, headers = server.rate_limit.admit(tokens, asyncio.get_running_loop().time())
            if not admitted:
                server.refused += 1
                self.send(429, _error("Rate limit reached"), **headers)
                return
        if not server.instant and not await server.run(request):
            server.refused += 1
            self.send(429, _error("busy"))
            return
        self.send(200, responses.response_to(received.path, parsed, request), **headers)

    def _refuse_priority(self, received: Received) -> bool:
        if self.server.takes_priority or b'"priority"' not in received.body or not received.json.get("priority"):
            return False
        self.server.refused_priorities.append(received)
        status, message = self.server.priority_refusal
        self.send(status, _error(message))
        return True

    def _refusal(self, received: Received) -> tuple[int, bytes] | None:
        server = self.server
        if server.key is not None and received.headers.get("authorization") != f"Bearer {server.key}":
            return 401, _error("Unauthorized")
        try:
            model = responses.decode(received.body).model
        except msgspec.MsgspecError as error:
            return 400, _error(str(error))
        if model not in server.models:
            return 404, _error(f"The model `{model}` does not exist.")
        return None

    def _other(self, received: Received) -> tuple[int, bytes]:
        server = self.server
        if received.path == "/metrics" and server.metrics:
            return 200, server.metrics_text().encode()
        if received.path == "/v1/models":
            if server.key is not None and received.headers.get("authorization") != f"Bearer {server.key}":
                return 401, _error("Unauthorized")
            return 200, json.dumps(
                {"object": "list", "data": [{"id": m, "object": "model"} for m in server.models]}
            ).encode()
        if received.path == "/slots" and server.slots is not None:
            return 200, server.slots
        if received.path == "/control/requests":
            keys = [(r.path, r.headers.get("idempotency-key"), r.body.decode()) for r in server.requests]
            return 200, json.dumps(keys).encode()
        if received.path == "/control/faults":
            server.faults.extend(Fault(**{**item, "body": item.get("body", "").encode()}) for item in received.json)
            return 200, b"{}"
        return 404, b'{"detail":"Not Found"}'

    async def _fail(self, fault: Fault) -> None:
        if fault.kind == "hang":
            await asyncio.Event().wait()
        elif fault.kind == "reset":
            self.reset()
        elif fault.kind == "raw":
            self.transport.write(fault.body)
            self.transport.close()
        else:
            self.send(fault.status, fault.body, **fault.headers)

    def send(self, status: int, body: bytes, **headers: str) -> None:
        if self.transport.is_closing():
            return
        head = f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\nContent-Type: application/json\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


async def _delay(fault: Fault) -> None:
    await asyncio.sleep(fault.seconds)
    while fault.released is not None and not fault.released.is_set():
        await asyncio.sleep(0.01)


def reset(transport: Any) -> None:
    """End a connection with an RST, whatever has been sent."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "error", "param": None, "code": None}}).encode()
