"""Rows of the route table for what is passed on, and those that the setting `FILESTEAD_PASS_THROUGH_PATHS` adds."""

from collections.abc import Callable
from typing import Any, TypeVar

from filestead.api.forwarding.handlers import ForwardingHandlers
from filestead.api.http.routing import JSON, Handler, Operation
from filestead.api.openapi import REQUEST_ID, json_response
from filestead.domain.access import Scope

H = TypeVar("H")
Select = Callable[[H], ForwardingHandlers]

TAG = "Models"
OBJECT: dict[str, Any] = {"type": "object"}
ANY: dict[str, Any] = {"description": "What the model server responds.", "headers": REQUEST_ID, "content": {"*/*": {}}}
ERRORS = (404, 413, 502, 504)

# fmt: off
CREATING = (
    ("/v1/chat/completions", "createChatCompletion", "Create a chat completion", JSON),
    ("/v1/completions", "createCompletion", "Create a completion", JSON),
    ("/v1/responses", "createResponse", "Create a response", JSON),
    ("/v1/responses/compact", "compactResponse", "Compact a conversation", JSON),
    ("/v1/responses/input_tokens", "countInputTokens", "Count the input tokens of a response", JSON),
    ("/v1/embeddings", "createEmbedding", "Create embeddings", JSON),
    ("/v1/moderations", "createModeration", "Classify a text", JSON),
    ("/v1/audio/speech", "createSpeech", "Make speech of a text", JSON),
    ("/v1/audio/transcriptions", "createTranscription", "Transcribe speech", "multipart/form-data"),
    ("/v1/audio/translations", "createTranslation", "Translate speech", "multipart/form-data"),
    ("/v1/images/generations", "createImage", "Create an image", JSON),
    ("/v1/images/edits", "createImageEdit", "Edit an image", "multipart/form-data"),
    ("/v1/images/variations", "createImageVariation", "Vary an image", "multipart/form-data"),
    ("/v1/rerank", "rerank", "Order documents by a query", JSON),
    ("/v1/score", "score", "Compare texts", JSON),
)
STORED = (
    ("GET", "/v1/responses/{response_id}", "getResponse", "Retrieve a response"),
    ("DELETE", "/v1/responses/{response_id}", "deleteResponse", "Delete a response"),
    ("POST", "/v1/responses/{response_id}/cancel", "cancelResponse", "Cancel a response"),
    ("GET", "/v1/responses/{response_id}/input_items", "listInputItems", "List the input of a response"),
)
# fmt: on
OTHERS = ("/v1/audio/{rest:path}", "/v1/images/{rest:path}", "/v1/reranking")
"""Paths that some model servers have beside these."""


def build(select: Select[H]) -> tuple[Operation[H], ...]:
    """The operations; `select` finds their handlers among all."""
    create = _handler(select, lambda handlers: handlers.create)
    stored = _handler(select, lambda handlers: handlers.stored)
    listed = json_response("The models of all model servers.", OBJECT)
    rows = [
        Operation("GET", "/v1/models", Scope.INFERENCE, _handler(select, lambda handlers: handlers.models), TAG,
                  "listModels", "List models", {200: listed}, errors=(502, 504)),
        Operation("GET", "/v1/models/{model}", Scope.INFERENCE, _handler(select, lambda handlers: handlers.model), TAG,
                  "retrieveModel", "Retrieve a model", {200: json_response("The model.", OBJECT)},
                  errors=(404, 502, 504), aliases=("/v1/models/{model:path}",)),
    ]  # fmt: skip
    for path, operation_id, summary, media_type in CREATING:
        body = {"required": True, "content": {media_type: {"schema": OBJECT}}}
        rows.append(
            Operation("POST", path, Scope.INFERENCE, create, TAG, operation_id, summary, {200: ANY}, errors=ERRORS,
                      request_body=body)
        )  # fmt: skip
    for method, path, operation_id, summary in STORED:
        rows.append(
            Operation(method, path, Scope.INFERENCE, stored, TAG, operation_id, summary, {200: ANY}, errors=ERRORS)
        )
    return tuple(rows)


def build_undocumented(select: Select[H], paths: tuple[str, ...]) -> tuple[Operation[H], ...]:
    """The operations that are not in the OpenAPI document: those of some servers, and those of the configuration."""
    create = _handler(select, lambda handlers: handlers.create)
    return tuple(
        Operation("POST", path, Scope.INFERENCE, create, TAG, "passThrough", "Pass a request on", {200: ANY})
        for path in (*OTHERS, *(_template(path) for path in paths))
    )


def _template(path: str) -> str:
    """A path of the setting as a route: a star at its end stands for anything."""
    return f"{path[:-1]}{{rest:path}}" if path.endswith("/*") else path


def _handler(select: Select[H], choose: Callable[[ForwardingHandlers], Handler]) -> Callable[[H], Handler]:
    return lambda to: choose(select(to))
