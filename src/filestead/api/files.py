"""Operations on files: each handler parses a request, calls the domain once and builds the response."""

from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from filestead import wire
from filestead.api import pages
from filestead.api.http import ranges
from filestead.api.http.body import BodyReadLimits, read_body
from filestead.api.http.client_limits import ProjectShares
from filestead.api.http.errors import ApiError, ErrorResponse, rate_limit_headers
from filestead.api.http.forms import MultipartUploadSource
from filestead.api.http.idempotency import REPLAYED, is_retry, parse_attempt
from filestead.api.http.messages import PiecesResponse, Request, Response, StreamingResponse
from filestead.api.http.query import parse_limit, parse_newest_first, parse_query
from filestead.api.http.routing import JSON
from filestead.api.openapi import REQUEST_ID, Schemas, query_parameter
from filestead.api.shapes import file_to_wire
from filestead.domain.access import Principal
from filestead.domain.blobs import DirectDownloads, is_inline
from filestead.domain.fair_share import FairShare
from filestead.domain.files import expiry
from filestead.domain.files.model import SHORT_PAGE, File
from filestead.domain.files.purposes import ALL_PURPOSES, INPUT_PURPOSES
from filestead.domain.files.service import Files

MAX_LIMIT = 10_000
NO_REDIRECT_HEADER = "x-filestead-no-redirect"
"""Sent by the console, whose policy allows requests to this server alone."""
BUFFERED_CONTENT_BYTES = 1024 * 1024
"""Content up to this size is sent in one piece."""
LINK_SECONDS = 300
CONCURRENT_LONG_PAGES = 2
"""Long pages in progress at once: one is read while the other is encoded."""


@dataclass(slots=True)
class FileHandlers:
    """Handlers of the operations on files."""

    files: Files
    body_limits: BodyReadLimits
    upload_slots: ProjectShares
    direct: DirectDownloads | None = None
    """Set if downloads are redirected to the object store."""
    long_pages: FairShare = field(default_factory=lambda: FairShare(CONCURRENT_LONG_PAGES))

    async def create(self, request: Request, principal: Principal) -> Response:
        """POST /v1/files."""
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise ApiError(ErrorResponse(415, "Compressed request bodies are not accepted; send the file as it is."))
        attempt = parse_attempt(request)
        length = request.headers.get("content-length")
        with self.upload_slots.slot(principal.project_id):
            async with aclosing(read_body(request.receive, self.body_limits)) as body:
                content_type = request.headers.get("content-type", "")
                source = MultipartUploadSource(content_type, int(length) if length else None, body)
                created = await self.files.create(principal, source, attempt=attempt)
        headers = rate_limit_headers(created.rate)
        if created.replayed:
            headers |= REPLAYED
        return Response(wire.encode(file_to_wire(created.file)), 200, headers, JSON)

    async def list(self, request: Request, principal: Principal) -> Response:
        """GET /v1/files."""
        query = parse_query(request, ("purpose", "limit", "order", "after"))
        list_files = partial(
            self.files.list,
            principal,
            purpose=query.get("purpose") or None,
            after=query.get("after") or None,
            newest_first=parse_newest_first(query.get("order")),
        )
        limit = parse_limit(query.get("limit"), default=MAX_LIMIT, maximum=MAX_LIMIT)
        if request.method == "HEAD":
            await list_files(limit=1)  # rejects what GET rejects
            return _response_without_length()
        turn = self.long_pages.slot(principal.project_id) if limit > SHORT_PAGE else nullcontext()
        async with turn:
            pieces = await pages.encode_page(await list_files(limit=limit), file_to_wire)
        return PiecesResponse(pieces, JSON) if len(pieces) > 1 else Response(pieces[0], media_type=JSON)

    async def retrieve(self, request: Request, principal: Principal) -> Response:
        """GET /v1/files/{file_id}."""
        file = await self.files.get(principal, request.path_params["file_id"])
        return Response(wire.encode(file_to_wire(file)), media_type=JSON)

    async def delete(self, request: Request, principal: Principal) -> Response:
        """DELETE /v1/files/{file_id}. The blob is deleted after the response."""
        file_id = request.path_params["file_id"]
        file = await self.files.delete(principal, file_id, is_retry=is_retry(request))
        delete_blob = None if file is None else partial(self.files.delete_content, file)
        return Response(wire.encode(wire.FileDeleted(id=file_id)), media_type=JSON, background=delete_blob)

    async def download(self, request: Request, principal: Principal) -> Response:
        """GET and HEAD /v1/files/{file_id}/content."""
        file = await self.files.get_for_download(principal, request.path_params["file_id"])
        content = ranges.evaluate_preconditions_and_range(file, request.headers, ranges=request.method == "GET")
        headers = content.headers
        if content.status == 304:
            return Response(status_code=304, headers=headers)
        if (link := self._direct_link(request, file, headers["content-disposition"])) is not None:
            return Response(status_code=302, headers={"location": link, "cache-control": "no-store"})
        length = content.end - content.start
        headers["content-length"] = str(length)
        if request.method == "HEAD":
            return Response(status_code=content.status, headers=headers)
        blocks = self.files.read(file, content.start, content.end)
        if length <= BUFFERED_CONTENT_BYTES:
            return Response(b"".join([block async for block in blocks]), content.status, headers)
        return StreamingResponse(await ranges.with_first_block_read(blocks), content.status, headers)

    def _direct_link(self, request: Request, file: File, disposition: str) -> str | None:
        """Where the client may download from the object store; None if the server sends the content itself."""
        if self.direct is None or request.method != "GET" or file.parts is not None or is_inline(file.blob_key):
            return None
        if NO_REDIRECT_HEADER in request.headers:
            return None
        return self.direct.presigned(file.blob_key, disposition=disposition, seconds=LINK_SECONDS)


def _response_without_length() -> Response:
    """Build the response to a HEAD request whose body is not encoded, so that its length is unknown."""
    response = Response(media_type=JSON)
    response.raw_headers = [field for field in response.raw_headers if field[0] != b"content-length"]
    return response


# What the OpenAPI document says of files.

SCHEMAS: Schemas = {
    wire.FileObject: {
        "purpose": {"enum": list(ALL_PURPOSES)},
        "status": {"enum": ["uploaded", "processed", "error"]},
    },
    wire.ListFilesResponse: {},
    wire.FileDeleted: {},
}

LIST_PARAMETERS = [
    query_parameter("purpose", {"enum": ["", *ALL_PURPOSES]}, "Only files of this purpose; empty means all."),
    query_parameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": MAX_LIMIT}, "Files on a page."
    ),
    query_parameter("order", {"enum": ["asc", "desc"], "default": "desc"}, "By `created_at`."),
    query_parameter("after", {"type": "string"}, "The id behind which the page starts; empty means the beginning."),
]

DOWNLOAD_PARAMETERS: list[dict[str, Any]] = [
    {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
    for name in ("Range", "If-Range", "If-Match", "If-None-Match")
]

DOWNLOAD_RESPONSES: dict[int, dict[str, Any]] = {
    200: {"description": "The content.", "headers": REQUEST_ID, "content": {"application/octet-stream": {}}},
    206: {"description": "The asked range.", "headers": REQUEST_ID, "content": {"application/octet-stream": {}}},
    304: {"description": "Unchanged.", "headers": REQUEST_ID},
}

REPLAYED_HEADER = {
    "idempotent-replayed": {
        "schema": {"const": "true"},
        "description": "The response is that to an earlier request, with this Idempotency-Key or sent again.",
    }
}

_UPLOAD_FORM = {
    "type": "object",
    "additionalProperties": False,
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
        "purpose": {
            "enum": list(INPUT_PURPOSES),
            "description": "A key with the scope `files:system` may also set the output purposes.",
        },
        "expires_after[anchor]": {"enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": expiry.MIN_SECONDS, "maximum": expiry.MAX_SECONDS},
    },
    "dependentRequired": {
        "expires_after[anchor]": ["expires_after[seconds]"],
        "expires_after[seconds]": ["expires_after[anchor]"],
    },
}
UPLOAD_FORM: dict[str, Any] = {"required": True, "content": {"multipart/form-data": {"schema": _UPLOAD_FORM}}}
