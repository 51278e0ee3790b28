"""Operations on uploads in parts."""

from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import msgspec

from filestead import wire
from filestead.api.http.body import BodyReadLimits, read_body
from filestead.api.http.client_limits import ProjectShares
from filestead.api.http.errors import ApiError, ErrorResponse, bad_request, rate_limit_headers
from filestead.api.http.idempotency import is_retry, parse_idempotency_key
from filestead.api.http.json_body import read_json_object
from filestead.api.http.messages import Request, Response
from filestead.api.http.routing import JSON
from filestead.api.shapes import file_to_wire
from filestead.api.uploads import parsing
from filestead.api.uploads.forms import MultipartPartSource
from filestead.domain.access import Principal
from filestead.domain.errors import BadFilename
from filestead.domain.files.model import File
from filestead.domain.uploads.model import Upload
from filestead.domain.uploads.service import Uploads
from filestead.wire import uploads as shapes


@dataclass(slots=True)
class UploadHandlers:
    """Handlers of the operations on uploads."""

    uploads: Uploads
    body_limits: BodyReadLimits
    upload_slots: ProjectShares
    """Shared with whole uploads: a part takes as much memory."""
    max_bytes: int

    async def create(self, request: Request, principal: Principal) -> Response:
        """POST /v1/uploads."""
        form = parsing.new_upload(await read_json_object(request, self.body_limits), self.max_bytes)
        try:
            upload, rate = await self.uploads.create(principal, form)
        except BadFilename as error:
            raise bad_request(f"Invalid 'filename': the file name {error.reason}.", "filename") from None
        return Response(wire.encode(_to_wire(upload)), 200, rate_limit_headers(rate), JSON)

    async def add_part(self, request: Request, principal: Principal) -> Response:
        """POST /v1/uploads/{upload_id}/parts."""
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise ApiError(ErrorResponse(415, "Compressed request bodies are not accepted; send the part as it is."))
        idempotency_key = parse_idempotency_key(request)
        length = request.headers.get("content-length")
        content_type = request.headers.get("content-type", "")
        with self.upload_slots.slot(principal.project_id):
            async with aclosing(read_body(request.receive, self.body_limits)) as body:
                source = MultipartPartSource(content_type, int(length) if length else None, body)
                part = await self.uploads.add_part(
                    principal,
                    request.path_params["upload_id"],
                    source,
                    repeated=is_retry(request),
                    idempotency_key=idempotency_key,
                )
        shape = shapes.UploadPart(id=part.id, created_at=part.created_at, upload_id=part.upload_id)
        return Response(wire.encode(shape), media_type=JSON)

    async def complete(self, request: Request, principal: Principal) -> Response:
        """POST /v1/uploads/{upload_id}/complete. Parts that are not listed are deleted after the response."""
        part_ids, md5 = parsing.completion(await read_json_object(request, self.body_limits))
        done = await self.uploads.complete(principal, request.path_params["upload_id"], part_ids, md5)
        delete = partial(self.uploads.delete_unused, done.unused) if done.unused else None
        return Response(wire.encode(_to_wire(done.upload, done.file)), media_type=JSON, background=delete)

    async def cancel(self, request: Request, principal: Principal) -> Response:
        """POST /v1/uploads/{upload_id}/cancel. The parts are deleted after the response."""
        ended = await self.uploads.cancel(principal, request.path_params["upload_id"])
        delete = partial(self.uploads.delete_unused, ended.unused) if ended.unused else None
        return Response(wire.encode(_to_wire(ended.upload)), media_type=JSON, background=delete)


def _to_wire(upload: Upload, file: File | None = None) -> shapes.Upload:
    return shapes.Upload(
        id=upload.id,
        bytes=upload.bytes,
        created_at=upload.created_at,
        filename=upload.filename,
        purpose=upload.purpose,
        status=upload.status,
        expires_at=upload.expires_at,
        file=msgspec.UNSET if file is None else file_to_wire(file),
    )
