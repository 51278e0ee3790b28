"""Operations on vector stores, attached files and file batches."""

from dataclasses import dataclass
from typing import Any

from filestead.api.http.body import BodyReadLimits
from filestead.api.http.errors import rate_limit_headers
from filestead.api.http.idempotency import REPLAYED, is_retry, parse_retry_count
from filestead.api.http.json_body import JsonObject, invalid_value, read_json_object
from filestead.api.http.messages import Request, Response
from filestead.api.http.query import parse_query
from filestead.api.http.routing import JSON
from filestead.api.vector_stores import parsing
from filestead.api.vector_stores.shapes import batch_to_wire, file_to_wire, page_to_wire, store_to_wire
from filestead.domain.access import Principal
from filestead.domain.attempts import Attempt
from filestead.domain.vector_stores.model import IndexStatus
from filestead.domain.vector_stores.search import Search
from filestead.domain.vector_stores.service import VectorStores
from filestead.wire import vector_stores as wire

STATUSES = tuple(status.value for status in IndexStatus)

POLL_HEADERS = {"openai-poll-after-ms": "500"}
"""How soon the official helpers ask again."""


@dataclass(slots=True)
class VectorStoreHandlers:
    """Handlers of the operations on vector stores."""

    stores: VectorStores
    search_stores: Search
    body_limits: BodyReadLimits

    # --- stores ---------------------------------------------------------------------------------------------------

    async def create(self, request: Request, principal: Principal) -> Response:
        """POST /v1/vector_stores."""
        form, files = parsing.new_store(await self._read(request))
        attempt = Attempt(retry_count=parse_retry_count(request))
        created = await self.stores.create(principal, form, files, attempt=attempt)
        return _respond(store_to_wire(created.store), REPLAYED if created.replayed else None)

    async def list(self, request: Request, principal: Principal) -> Response:
        """GET /v1/vector_stores."""
        page = await self.stores.list(principal, parsing.page_request(request))
        return _respond(page_to_wire(page, wire.ListVectorStores, store_to_wire))

    async def retrieve(self, request: Request, principal: Principal) -> Response:
        """GET /v1/vector_stores/{vector_store_id}."""
        return _respond(store_to_wire(await self.stores.get(principal, parsing.store_id(request))))

    async def update(self, request: Request, principal: Principal) -> Response:
        """POST /v1/vector_stores/{vector_store_id}."""
        changes = parsing.store_changes(await self._read(request))
        return _respond(store_to_wire(await self.stores.update(principal, parsing.store_id(request), changes)))

    async def delete(self, request: Request, principal: Principal) -> Response:
        """DELETE /v1/vector_stores/{vector_store_id}."""
        store_id = parsing.store_id(request)
        await self.stores.delete(principal, store_id, is_retry=is_retry(request))
        return _respond(wire.Deleted(store_id, "vector_store.deleted"))

    async def search(self, request: Request, principal: Principal) -> Response:
        """POST /v1/vector_stores/{vector_store_id}/search."""
        query = parsing.search_query(await self._read(request))
        results = await self.search_stores.search(principal, parsing.store_id(request), query)
        data = [
            wire.SearchResult(
                file_id=result.file.file_id,
                filename=result.file.filename,
                score=result.score,
                attributes=dict(result.file.attributes),
                content=[wire.Text("text", result.text)],
            )
            for result in results
        ]
        return _respond(wire.SearchResultsPage(search_query=list(query.texts), data=data))

    # --- files ----------------------------------------------------------------------------------------------------

    async def attach_file(self, request: Request, principal: Principal) -> Response:
        """POST /v1/vector_stores/{vector_store_id}/files."""
        attachment = parsing.attachment(await self._read(request))
        attached, rate = await self.stores.attach(principal, parsing.store_id(request), attachment)
        return _respond(file_to_wire(attached), rate_limit_headers(rate))

    async def list_files(self, request: Request, principal: Principal) -> Response:
        """GET /v1/vector_stores/{vector_store_id}/files."""
        return await self._list_files(request, principal, None)

    async def retrieve_file(self, request: Request, principal: Principal) -> Response:
        """GET /v1/vector_stores/{vector_store_id}/files/{file_id}."""
        attached = await self.stores.get_file(principal, parsing.store_id(request), parsing.path_file_id(request))
        return _respond(file_to_wire(attached), POLL_HEADERS)

    async def update_file(self, request: Request, principal: Principal) -> Response:
        """POST /v1/vector_stores/{vector_store_id}/files/{file_id}."""
        attributes = parsing.new_attributes(await self._read(request))
        attached = await self.stores.update_file(
            principal, parsing.store_id(request), parsing.path_file_id(request), attributes
        )
        return _respond(file_to_wire(attached))

    async def detach_file(self, request: Request, principal: Principal) -> Response:
        """DELETE /v1/vector_stores/{vector_store_id}/files/{file_id}. The file itself stays."""
        file_id = parsing.path_file_id(request)
        await self.stores.detach(principal, parsing.store_id(request), file_id, is_retry=is_retry(request))
        return _respond(wire.Deleted(file_id, "vector_store.file.deleted"))

    async def file_content(self, request: Request, principal: Principal) -> Response:
        """GET /v1/vector_stores/{vector_store_id}/files/{file_id}/content."""
        text = await self.stores.text(principal, parsing.store_id(request), parsing.path_file_id(request))
        return _respond(wire.FileContentPage(data=[wire.Text("text", text)] if text else []))

    # --- file batches ---------------------------------------------------------------------------------------------

    async def create_batch(self, request: Request, principal: Principal) -> Response:
        """POST /v1/vector_stores/{vector_store_id}/file_batches."""
        files = parsing.batch_files(await self._read(request))
        batch, rate = await self.stores.create_batch(principal, parsing.store_id(request), files)
        return _respond(batch_to_wire(batch), rate_limit_headers(rate))

    async def retrieve_batch(self, request: Request, principal: Principal) -> Response:
        """GET /v1/vector_stores/{vector_store_id}/file_batches/{batch_id}."""
        batch = await self.stores.get_batch(principal, parsing.store_id(request), parsing.batch_id(request))
        return _respond(batch_to_wire(batch), POLL_HEADERS)

    async def cancel_batch(self, request: Request, principal: Principal) -> Response:
        """POST /v1/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel."""
        batch = await self.stores.cancel_batch(principal, parsing.store_id(request), parsing.batch_id(request))
        return _respond(batch_to_wire(batch))

    async def list_batch_files(self, request: Request, principal: Principal) -> Response:
        """GET /v1/vector_stores/{vector_store_id}/file_batches/{batch_id}/files."""
        return await self._list_files(request, principal, parsing.batch_id(request))

    async def _list_files(self, request: Request, principal: Principal, batch_id: str | None) -> Response:
        status = parse_query(request, ("filter",)).get("filter")
        if status is not None and status not in STATUSES:
            raise invalid_value("filter", status, STATUSES)
        page = await self.stores.list_files(
            principal,
            parsing.store_id(request),
            parsing.page_request(request),
            status=None if status is None else IndexStatus(status),
            batch_id=batch_id,
        )
        return _respond(page_to_wire(page, wire.ListVectorStoreFiles, file_to_wire))

    async def _read(self, request: Request) -> JsonObject:
        return await read_json_object(request, self.body_limits)


def _respond(value: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(wire.encode(value), media_type=JSON, headers=headers)
