"""The operations on an organization, and what the OpenAPI document says of them."""

from collections.abc import Callable
from typing import Any

from filestead.api.http.routing import JSON, Handler, Operation
from filestead.api.openapi import Schemas, json_response, query_parameter
from filestead.api.organization.handlers import BUCKET_SECONDS, MAX_EXPIRY_SECONDS, MAX_LIMIT, OrganizationHandlers
from filestead.domain.access import MAX_NAME_CHARACTERS, Scope
from filestead.domain.administration import GRANTABLE_SCOPES
from filestead.wire import organization as wire

SCHEMAS: Schemas = {
    wire.Project: {},
    wire.ListProjects: {},
    wire.ProjectApiKey: {},
    wire.NewProjectApiKey: {},
    wire.ListProjectApiKeys: {},
    wire.ProjectApiKeyDeleted: {},
    wire.UsagePage: {},
    wire.Usage: {},
}

LIST_PARAMETERS = [
    query_parameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 20}, "Items on a page."
    ),
    query_parameter("after", {"type": "string"}, "The id behind which the page starts."),
]
_TIME: dict[str, Any] = {"type": "integer", "minimum": 0}
_TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
USAGE_PARAMETERS: list[dict[str, Any]] = [
    {**query_parameter("start_time", _TIME, "Unix seconds, inclusive."), "required": True},
    query_parameter("end_time", _TIME, "Unix seconds, exclusive."),
    query_parameter("bucket_width", {"enum": list(BUCKET_SECONDS), "default": "1d"}, "Width of a bucket."),
    query_parameter("group_by", {"type": "array", "items": {"const": "project_id"}}, "By what results are grouped."),
    query_parameter("project_ids", _TEXTS, "Only these projects."),
]

_NAME: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARACTERS}
NEW_PROJECT: dict[str, Any] = {
    "required": True,
    "content": {
        JSON: {
            "schema": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {"name": {**_NAME, "description": "Unique in the organization."}},
            }
        }
    },
}
NEW_KEY: dict[str, Any] = {
    "required": False,
    "content": {
        JSON: {
            "schema": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "name": {
                        **_NAME,
                        "type": ["string", "null"],
                        "description": "Of the user of the key; the upload rate is limited per user.",
                    },
                    "scopes": {
                        "type": ["array", "null"],
                        "minItems": 1,
                        "maxItems": len(GRANTABLE_SCOPES),
                        "items": {"enum": [scope.value for scope in GRANTABLE_SCOPES]},
                        "description": "What the key may do: `files:read` and `files:write` by default.",
                    },
                    "expires_in": {
                        "type": ["integer", "null"],
                        "minimum": 1,
                        "maximum": MAX_EXPIRY_SECONDS,
                        "description": "Seconds until the key stops working.",
                    },
                },
            }
        }
    },
}

PROJECTS = "/v1/organization/projects"
PROJECT = f"{PROJECTS}/{{project_id}}"
KEYS = f"{PROJECT}/api_keys"
KEY = f"{KEYS}/{{key_id}}"


def operations(handlers: Callable[[Any], OrganizationHandlers]) -> tuple[Operation[Any], ...]:
    """Build the rows for the route table; `handlers` selects ours among all."""

    def row(  # noqa: PLR0917 - the columns of the table
        method: str,
        path: str,
        handler: Callable[[OrganizationHandlers], Handler],
        operation_id: str,
        summary: str,
        shape: type,
        *,
        access: Scope = Scope.ADMIN,
        errors: tuple[int, ...] = (),
        **more: Any,
    ) -> Operation[Any]:
        return Operation(
            method,
            path,
            access,
            lambda to: handler(handlers(to)),
            "Administration",
            operation_id,
            summary,
            {200: json_response(f"{summary}.", shape)},
            errors=errors,
            **more,
        )

    return (
        row(
            *("GET", PROJECTS, lambda to: to.list_projects, "listProjects", "List projects", wire.ListProjects),
            errors=(404,),
            parameters=LIST_PARAMETERS,
        ),
        row(
            *("POST", PROJECTS, lambda to: to.create_project, "createProject", "Create a project", wire.Project),
            errors=(409, 413),
            request_body=NEW_PROJECT,
        ),
        row(
            *("GET", PROJECT, lambda to: to.get_project, "retrieveProject", "Retrieve a project", wire.Project),
            errors=(404,),
        ),
        row(
            *("GET", f"{PROJECT}/usage", lambda to: to.project_usage, "projectUsage", "Usage of a project", wire.Usage),
            errors=(404,),
        ),
        row(
            *("GET", KEYS, lambda to: to.list_keys, "listProjectApiKeys", "List keys", wire.ListProjectApiKeys),
            errors=(404,),
            parameters=LIST_PARAMETERS,
        ),
        row(
            *("POST", KEYS, lambda to: to.create_key, "createProjectApiKey", "Create a key", wire.NewProjectApiKey),
            errors=(404, 413),
            request_body=NEW_KEY,
        ),
        row(
            *("GET", KEY, lambda to: to.get_key, "retrieveProjectApiKey", "Retrieve a key", wire.ProjectApiKey),
            errors=(404,),
        ),
        row(
            *("DELETE", KEY, lambda to: to.delete_key, "deleteProjectApiKey", "Revoke a key"),
            wire.ProjectApiKeyDeleted,
            errors=(404,),
        ),
        row(
            *("GET", "/v1/organization/usage/vector_stores", lambda to: to.vector_stores_usage, "usageVectorStores"),
            *("Bytes of the index of vector stores now", wire.UsagePage),
            parameters=USAGE_PARAMETERS,
        ),
        row(
            *("GET", "/v1/usage", lambda to: to.own_usage, "ownUsage", "Usage of the project of the key", wire.Usage),
            access=Scope.READ,
        ),
    )
