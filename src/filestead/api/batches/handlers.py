"""Operations on batches."""

from dataclasses import dataclass

from filestead.api.batches import parsing
from filestead.api.batches.results import ResultResponses
from filestead.api.batches.shapes import batch_to_wire, eta_headers, page_to_wire, parallelism_headers, paused_headers
from filestead.api.http.body import BodyReadLimits
from filestead.api.http.idempotency import REPLAYED, parse_attempt, parse_idempotency_key
from filestead.api.http.json_body import read_json_object
from filestead.api.http.messages import Request, Response
from filestead.api.http.routing import JSON
from filestead.domain.access import Principal
from filestead.domain.batches.model import ResultKind
from filestead.domain.batches.retrying import Retrying
from filestead.domain.batches.service import Batches, CreatedBatch
from filestead.wire import batches as wire


@dataclass(slots=True)
class BatchHandlers:
    """Handlers of the operations on batches."""

    batches: Batches
    results: ResultResponses
    retrying: Retrying
    body_limits: BodyReadLimits

    async def create(self, request: Request, principal: Principal) -> Response:
        """POST /v1/batches."""
        attempt = parse_attempt(request)
        form = parsing.new_batch(await read_json_object(request, self.body_limits), self.batches.windows)
        return _created(await self.batches.create(principal, form, attempt=attempt))

    async def list(self, request: Request, principal: Principal) -> Response:
        """GET /v1/batches."""
        after, limit = parsing.page(request)
        batches, has_more = await self.batches.list(principal, after=after, limit=limit)
        return Response(wire.encode(page_to_wire(batches, has_more=has_more)), media_type=JSON)

    async def retrieve(self, request: Request, principal: Principal) -> Response:
        """GET /v1/batches/{batch_id}."""
        batch = await self.batches.get(principal, _batch_id(request))
        headers = eta_headers(batch) | parallelism_headers(batch) | paused_headers(batch)
        return Response(wire.encode(batch_to_wire(batch)), headers=headers, media_type=JSON)

    async def cancel(self, request: Request, principal: Principal) -> Response:
        """POST /v1/batches/{batch_id}/cancel. The body, if any, is not read."""
        batch = await self.batches.cancel(principal, _batch_id(request))
        return Response(wire.encode_compact(batch_to_wire(batch)), media_type=JSON)

    async def retry(self, request: Request, principal: Principal) -> Response:
        """POST /v1/batches/{batch_id}/retry."""
        key = parse_idempotency_key(request)
        return _created(await self.retrying.retry(principal, _batch_id(request), idempotency_key=key))

    async def output(self, request: Request, principal: Principal) -> Response:
        """GET /v1/batches/{batch_id}/output."""
        return await self.results.respond(request, principal, _batch_id(request), ResultKind.OUTPUT)

    async def errors(self, request: Request, principal: Principal) -> Response:
        """GET /v1/batches/{batch_id}/errors."""
        return await self.results.respond(request, principal, _batch_id(request), ResultKind.ERROR)


def _created(created: CreatedBatch) -> Response:
    headers = REPLAYED if created.replayed else {}
    return Response(wire.encode(batch_to_wire(created.batch)), headers=headers, media_type=JSON)


def _batch_id(request: Request) -> str:
    batch_id: str = request.path_params["batch_id"]
    return batch_id
