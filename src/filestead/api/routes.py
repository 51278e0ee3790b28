"""The route table: every operation, with the scope that it requires.

Routing, authorization and the OpenAPI document are made from it. A new resource adds its handlers and its rows here.
"""

import functools
from dataclasses import dataclass

from filestead import wire
from filestead.api import files, openapi, service
from filestead.api.batches import openapi as batches
from filestead.api.batches.handlers import BatchHandlers
from filestead.api.forwarding import operations as forwarding
from filestead.api.forwarding.handlers import ForwardingHandlers
from filestead.api.http import idempotency
from filestead.api.http.routing import PUBLIC, Operation
from filestead.api.openapi import REQUEST_ID, json_response
from filestead.api.organization import openapi as organization
from filestead.api.organization.handlers import OrganizationHandlers
from filestead.api.uploads import openapi as uploads
from filestead.api.uploads.handlers import UploadHandlers
from filestead.api.vector_stores import openapi as vector_stores
from filestead.api.vector_stores.handlers import VectorStoreHandlers
from filestead.domain.access import Scope
from filestead.wire import batches as batch
from filestead.wire import uploads as up
from filestead.wire import vector_stores as vs


@dataclass(frozen=True, slots=True)
class Handlers:
    """The handlers of all resources."""

    files: files.FileHandlers
    uploads: UploadHandlers
    vector_stores: VectorStoreHandlers
    organization: OrganizationHandlers
    batches: BatchHandlers
    service: service.ServiceHandlers
    forwarding: ForwardingHandlers | None = None
    """None unless requests are passed on to model servers."""


ABOUT = {200: json_response("Yes.", wire.About)}
STATUS = {200: json_response("Yes.", service.STATUS_SCHEMA)}
READY = {200: json_response("Yes.", service.READY_SCHEMA)}
METRICS = {200: {"description": "The metrics.", "headers": REQUEST_ID, "content": {"text/plain": {}}}}

UPLOAD = "/v1/uploads/{upload_id}"
STORE = "/v1/vector_stores/{vector_store_id}"
STORE_FILE = f"{STORE}/files/{{file_id}}"
STORE_BATCH = f"{STORE}/file_batches/{{batch_id}}"
BATCH = "/v1/batches/{batch_id}"

# fmt: off
OPERATIONS: tuple[Operation[Handlers], ...] = (
    Operation("GET", "/v1/files", Scope.READ, lambda to: to.files.list, "Files", "listFiles", "List files",
        {200: json_response("A page of files.", wire.ListFilesResponse)}, errors=(404,),
        parameters=files.LIST_PARAMETERS),
    Operation("POST", "/v1/files", Scope.WRITE, lambda to: to.files.create, "Files", "createFile", "Upload a file",
        {200: json_response("The file.", wire.FileObject, **files.REPLAYED_HEADER)}, errors=(415, 507),
        parameters=[idempotency.PARAMETER], request_body=files.UPLOAD_FORM, transfer="upload"),
    Operation("GET", "/v1/files/{file_id}", Scope.READ, lambda to: to.files.retrieve, "Files", "retrieveFile",
        "Retrieve a file", {200: json_response("The file.", wire.FileObject)}, errors=(404,)),
    Operation("DELETE", "/v1/files/{file_id}", Scope.WRITE, lambda to: to.files.delete, "Files", "deleteFile",
        "Delete a file", {200: json_response("Deleted.", wire.FileDeleted)}, errors=(404,)),
    Operation("GET", "/v1/files/{file_id}/content", Scope.READ, lambda to: to.files.download, "Files", "downloadFile",
        "Download the content", files.DOWNLOAD_RESPONSES, errors=(404, 412, 416),
        parameters=files.DOWNLOAD_PARAMETERS, transfer="download"),
    Operation("POST", "/v1/uploads", Scope.WRITE, lambda to: to.uploads.create,
        "Uploads", "createUpload", "Create an upload in parts",
        {200: json_response("The upload.", up.Upload)}, errors=(413,), request_body=uploads.NEW_UPLOAD),
    Operation("POST", f"{UPLOAD}/parts", Scope.WRITE, lambda to: to.uploads.add_part,
        "Uploads", "addUploadPart", "Add a part",
        {200: json_response("The part.", up.UploadPart)}, errors=(404, 415, 507),
        parameters=uploads.PART_PARAMETERS, request_body=uploads.PART_FORM, transfer="upload"),
    Operation("POST", f"{UPLOAD}/complete", Scope.WRITE, lambda to: to.uploads.complete,
        "Uploads", "completeUpload", "Make a file of the parts",
        {200: json_response("The upload, with its file.", up.Upload)}, errors=(404, 413),
        request_body=uploads.COMPLETION),
    Operation("POST", f"{UPLOAD}/cancel", Scope.WRITE, lambda to: to.uploads.cancel,
        "Uploads", "cancelUpload", "Cancel an upload",
        {200: json_response("The upload.", up.Upload)}, errors=(404,)),
    Operation("GET", "/v1/vector_stores", Scope.READ, lambda to: to.vector_stores.list,
        "Vector stores", "listVectorStores", "List vector stores",
        {200: json_response("A page of vector stores.", vs.ListVectorStores)}, errors=(404,),
        parameters=vector_stores.LIST_PARAMETERS),
    Operation("POST", "/v1/vector_stores", Scope.WRITE, lambda to: to.vector_stores.create,
        "Vector stores", "createVectorStore", "Create a vector store",
        {200: json_response("The vector store.", vs.VectorStore, **files.REPLAYED_HEADER)}, errors=(404, 413),
        request_body=vector_stores.NEW_STORE),
    Operation("GET", STORE, Scope.READ, lambda to: to.vector_stores.retrieve,
        "Vector stores", "getVectorStore", "Retrieve a vector store",
        {200: json_response("The vector store.", vs.VectorStore)}, errors=(404,)),
    Operation("POST", STORE, Scope.WRITE, lambda to: to.vector_stores.update,
        "Vector stores", "modifyVectorStore", "Change a vector store",
        {200: json_response("The vector store.", vs.VectorStore)}, errors=(404, 413),
        request_body=vector_stores.STORE_CHANGES),
    Operation("DELETE", STORE, Scope.WRITE, lambda to: to.vector_stores.delete,
        "Vector stores", "deleteVectorStore", "Delete a vector store",
        {200: json_response("Deleted.", vs.Deleted)}, errors=(404,)),
    Operation("POST", f"{STORE}/search", Scope.READ, lambda to: to.vector_stores.search,
        "Vector stores", "searchVectorStore", "Search a vector store",
        {200: json_response("What was found.", vs.SearchResultsPage)}, errors=(404, 413),
        request_body=vector_stores.SEARCH),
    Operation("GET", f"{STORE}/files", Scope.READ, lambda to: to.vector_stores.list_files,
        "Vector stores", "listVectorStoreFiles", "List the files of a vector store",
        {200: json_response("A page of files.", vs.ListVectorStoreFiles)}, errors=(404,),
        parameters=vector_stores.FILE_LIST_PARAMETERS),
    Operation("POST", f"{STORE}/files", Scope.WRITE, lambda to: to.vector_stores.attach_file,
        "Vector stores", "createVectorStoreFile", "Attach a file",
        {200: json_response("The attached file.", vs.VectorStoreFile)}, errors=(404, 413),
        request_body=vector_stores.NEW_FILE),
    Operation("GET", STORE_FILE, Scope.READ, lambda to: to.vector_stores.retrieve_file,
        "Vector stores", "getVectorStoreFile", "Retrieve an attached file",
        {200: json_response("The attached file.", vs.VectorStoreFile)}, errors=(404,)),
    Operation("POST", STORE_FILE, Scope.WRITE, lambda to: to.vector_stores.update_file,
        "Vector stores", "updateVectorStoreFileAttributes", "Change the attributes of an attached file",
        {200: json_response("The attached file.", vs.VectorStoreFile)}, errors=(404, 413),
        request_body=vector_stores.NEW_ATTRIBUTES),
    Operation("DELETE", STORE_FILE, Scope.WRITE, lambda to: to.vector_stores.detach_file,
        "Vector stores", "deleteVectorStoreFile", "Detach a file",
        {200: json_response("Detached.", vs.Deleted)}, errors=(404,)),
    Operation("GET", f"{STORE_FILE}/content", Scope.READ, lambda to: to.vector_stores.file_content,
        "Vector stores", "retrieveVectorStoreFileContent", "Retrieve the text of an attached file",
        {200: json_response("The text.", vs.FileContentPage)}, errors=(404,)),
    Operation("POST", f"{STORE}/file_batches", Scope.WRITE, lambda to: to.vector_stores.create_batch,
        "Vector stores", "createVectorStoreFileBatch", "Attach files together",
        {200: json_response("The file batch.", vs.FileBatch)}, errors=(404, 413),
        request_body=vector_stores.NEW_BATCH),
    Operation("GET", STORE_BATCH, Scope.READ, lambda to: to.vector_stores.retrieve_batch,
        "Vector stores", "getVectorStoreFileBatch", "Retrieve a file batch",
        {200: json_response("The file batch.", vs.FileBatch)}, errors=(404,)),
    Operation("POST", f"{STORE_BATCH}/cancel", Scope.WRITE, lambda to: to.vector_stores.cancel_batch,
        "Vector stores", "cancelVectorStoreFileBatch", "Cancel a file batch",
        {200: json_response("The file batch.", vs.FileBatch)}, errors=(404,)),
    Operation("GET", f"{STORE_BATCH}/files", Scope.READ, lambda to: to.vector_stores.list_batch_files,
        "Vector stores", "listFilesInVectorStoreBatch", "List the files of a batch",
        {200: json_response("A page of files.", vs.ListVectorStoreFiles)}, errors=(404,),
        parameters=vector_stores.FILE_LIST_PARAMETERS),
    *organization.operations(lambda to: to.organization),
    Operation("GET", "/v1/batches", Scope.READ, lambda to: to.batches.list, "Batches", "listBatches", "List batches",
        {200: json_response("A page of batches.", batch.ListBatches)}, errors=(404,),
        parameters=batches.LIST_PARAMETERS),
    Operation("POST", "/v1/batches", Scope.WRITE, lambda to: to.batches.create, "Batches", "createBatch",
        "Create a batch", {200: json_response("The batch.", batch.Batch, **files.REPLAYED_HEADER)}, errors=(413,),
        parameters=[batches.IDEMPOTENCY_KEY], request_body=batches.NEW_BATCH),
    Operation("GET", BATCH, Scope.READ, lambda to: to.batches.retrieve, "Batches", "retrieveBatch",
        "Retrieve a batch", {200: json_response("The batch.", batch.Batch, **batches.ETA)}, errors=(404,)),
    Operation("POST", f"{BATCH}/cancel", Scope.WRITE, lambda to: to.batches.cancel, "Batches", "cancelBatch",
        "Cancel a batch", {200: json_response("The batch.", batch.Batch)}, errors=(404, 409)),
    Operation("POST", f"{BATCH}/retry", Scope.WRITE, lambda to: to.batches.retry, "Batches", "retryBatch",
        "Create a batch of the lines that failed, expired or were cancelled",
        {200: json_response("The new batch.", batch.Batch, **files.REPLAYED_HEADER)}, errors=(404, 409, 507),
        parameters=[batches.IDEMPOTENCY_KEY]),
    Operation("GET", f"{BATCH}/output", Scope.READ, lambda to: to.batches.output, "Batches", "readBatchOutput",
        "Read the output so far", batches.RESULTS, errors=(404, 412, 416), parameters=batches.RESULT_PARAMETERS),
    Operation("GET", f"{BATCH}/errors", Scope.READ, lambda to: to.batches.errors, "Batches", "readBatchErrors",
        "Read the lines without output so far", batches.RESULTS, errors=(404, 412, 416),
        parameters=batches.RESULT_PARAMETERS),
    Operation("GET", "/", PUBLIC, lambda to: to.service.about, "Operations", "about", "What this server is", ABOUT),
    Operation("GET", "/v1", PUBLIC, lambda to: to.service.about, "Operations", "aboutV1", "What this server is", ABOUT,
        aliases=("/v1/",)),
    Operation("GET", "/health", PUBLIC, lambda to: to.service.health, "Operations", "health", "The process answers",
        STATUS),
    Operation("GET", "/health/ready", PUBLIC, lambda to: to.service.ready, "Operations", "ready",
        "Uploads can be taken", READY),
    Operation("GET", "/metrics", Scope.METRICS, lambda to: to.service.metrics, "Operations", "metrics",
        "Metrics as Prometheus text", METRICS),
    Operation("GET", "/openapi.json", PUBLIC, lambda to: to.service.openapi, "Operations", "description",
        "This description", {200: json_response("Yes.", {"type": "object"})}),
)
# fmt: on


def _to_forwarding(to: Handlers) -> ForwardingHandlers:
    assert to.forwarding is not None, "its operations are served only if it is there"
    return to.forwarding


FORWARDED: tuple[Operation[Handlers], ...] = forwarding.build(_to_forwarding)
"""The operations that are passed on to model servers, if some are configured."""


def undocumented(paths: tuple[str, ...]) -> tuple[Operation[Handlers], ...]:
    """Operations that are passed on and not described: those of some model servers, and those of a setting."""
    return forwarding.build_undocumented(_to_forwarding, paths)


@functools.cache
def build_openapi(*, forwards: bool = False) -> bytes:
    """Build the OpenAPI document of all operations; with `forwards`, also of those that are passed on."""
    schemas = {
        **files.SCHEMAS,
        **uploads.SCHEMAS,
        **vector_stores.SCHEMAS,
        **batches.SCHEMAS,
        **organization.SCHEMAS,
        **service.SCHEMAS,
    }
    operations = (*OPERATIONS, *FORWARDED) if forwards else OPERATIONS
    return openapi.build_document(operations, schemas, vector_stores.FILTERS)
