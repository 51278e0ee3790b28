"""The route table: every operation, with the scope that it requires.

Routing, authorization and the OpenAPI document are made from it. A new resource adds its handlers and its rows here.
"""

import functools
from dataclasses import dataclass

from filestead import wire
from filestead.api import files, openapi, service
from filestead.api.http import idempotency
from filestead.api.http.routing import PUBLIC, Operation
from filestead.api.openapi import json_response
from filestead.domain.access import Scope


@dataclass(frozen=True, slots=True)
class Handlers:
    """The handlers of all resources."""

    files: files.FileHandlers
    service: service.ServiceHandlers


ABOUT = {200: json_response("Yes.", wire.About)}
STATUS = {200: json_response("Yes.", service.STATUS_SCHEMA)}

# fmt: off
OPERATIONS: tuple[Operation[Handlers], ...] = (
    Operation("GET", "/v1/files", Scope.READ, lambda to: to.files.list, "Files", "listFiles", "List files",
        {200: json_response("A page of files.", wire.ListFilesResponse)}, errors=(404,),
        parameters=files.LIST_PARAMETERS),
    Operation("POST", "/v1/files", Scope.WRITE, lambda to: to.files.create, "Files", "createFile", "Upload a file",
        {200: json_response("The file.", wire.FileObject, **files.REPLAYED_HEADER)}, errors=(415, 507),
        parameters=[idempotency.PARAMETER], request_body=files.UPLOAD_FORM),
    Operation("GET", "/v1/files/{file_id}", Scope.READ, lambda to: to.files.retrieve, "Files", "retrieveFile",
        "Retrieve a file", {200: json_response("The file.", wire.FileObject)}, errors=(404,)),
    Operation("DELETE", "/v1/files/{file_id}", Scope.WRITE, lambda to: to.files.delete, "Files", "deleteFile",
        "Delete a file", {200: json_response("Deleted.", wire.FileDeleted)}, errors=(404,)),
    Operation("GET", "/v1/files/{file_id}/content", Scope.READ, lambda to: to.files.download, "Files", "downloadFile",
        "Download the content", files.DOWNLOAD_RESPONSES, errors=(404, 412, 416),
        parameters=files.DOWNLOAD_PARAMETERS),
    Operation("GET", "/", PUBLIC, lambda to: to.service.about, "Operations", "about", "What this server is", ABOUT),
    Operation("GET", "/v1", PUBLIC, lambda to: to.service.about, "Operations", "aboutV1", "What this server is", ABOUT,
        aliases=("/v1/",)),
    Operation("GET", "/health", PUBLIC, lambda to: to.service.health, "Operations", "health", "The process answers",
        STATUS),
    Operation("GET", "/health/ready", PUBLIC, lambda to: to.service.ready, "Operations", "ready",
        "Uploads can be taken", STATUS),
    Operation("GET", "/openapi.json", PUBLIC, lambda to: to.service.openapi, "Operations", "description",
        "This description", {200: json_response("Yes.", {"type": "object"})}),
)
# fmt: on


@functools.cache
def build_openapi() -> bytes:
    """Build the OpenAPI document of all operations."""
    return openapi.build_document(OPERATIONS, {**files.SCHEMAS, **service.SCHEMAS})
