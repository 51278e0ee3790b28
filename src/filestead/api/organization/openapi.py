"""The operations on an organization, and what the OpenAPI document says of them."""

from collections.abc import Callable
from typing import Any

from filestead.api.http.routing import JSON, Handler, Operation
from filestead.api.openapi import Schemas, json_response, query_parameter
from filestead.api.organization import audit_log
from filestead.api.organization.handlers import BUCKET_SECONDS, MAX_EXPIRY_SECONDS, MAX_LIMIT, OrganizationHandlers
from filestead.domain.access import MAX_NAME_CHARACTERS, Scope
from filestead.domain.administration import GRANTABLE_SCOPES
from filestead.wire import audit_log as audit
from filestead.wire import organization as wire

SCHEMAS: Schemas = {
    wire.Project: {},
    wire.ListProjects: {},
    wire.ProjectApiKey: {},
    wire.NewProjectApiKey: {},
    wire.ListProjectApiKeys: {},
    wire.ProjectApiKeyDeleted: {},
    wire.ServiceAccount: {},
    wire.NewServiceAccount: {},
    wire.ServiceAccountApiKey: {},
    wire.ListServiceAccounts: {},
    wire.ServiceAccountDeleted: {},
    wire.UsagePage: {},
    wire.Usage: {},
    audit.ListAuditLogs: {},
    audit.AuditLog: {"type": {"enum": list(audit.EVENT_TYPES)}},
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
_SCOPES: dict[str, Any] = {
    "type": ["array", "null"],
    "minItems": 1,
    "maxItems": len(GRANTABLE_SCOPES),
    "items": {"enum": [scope.value for scope in GRANTABLE_SCOPES]},
    "description": "What the key may do: `files:read`, `files:write` and `inference` by default.",
}
_EXPIRY: dict[str, Any] = {
    "type": ["integer", "null"],
    "minimum": 1,
    "maximum": MAX_EXPIRY_SECONDS,
    "description": "Seconds until the key stops working.",
}
_USER = {**_NAME, "description": "Of the user of the key; the upload rate is limited per user."}


def _body(*required: str, **properties: Any) -> dict[str, Any]:
    """A JSON object with these properties and no others; optional if none is required."""
    schema = {
        "type": "object",
        "additionalProperties": False,
        **({"required": list(required)} if required else {}),
        "properties": properties,
    }
    return {"required": bool(required), "content": {JSON: {"schema": schema}}}


NEW_PROJECT = _body("name", name={**_NAME, "description": "Unique in the organization."})
NEW_KEY = _body(name={**_USER, "type": ["string", "null"]}, scopes=_SCOPES, expires_in=_EXPIRY)
NEW_ACCOUNT = _body(
    "name",
    name=_USER,
    expires_in_seconds=_EXPIRY,
    create_service_account_only={"enum": [False, None], "description": "A service account always has a key."},
)
NEW_ACCOUNT_KEY = _body(scopes=_SCOPES, expires_in_seconds=_EXPIRY)

PROJECTS = "/v1/organization/projects"
PROJECT = f"{PROJECTS}/{{project_id}}"
KEYS = f"{PROJECT}/api_keys"
KEY = f"{KEYS}/{{key_id}}"
ACCOUNTS = f"{PROJECT}/service_accounts"
ACCOUNT = f"{ACCOUNTS}/{{service_account_id}}"


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
        *_account_rows(row),
        row(
            *("GET", "/v1/organization/usage/vector_stores", lambda to: to.vector_stores_usage, "usageVectorStores"),
            *("Bytes of the index of vector stores now", wire.UsagePage),
            parameters=USAGE_PARAMETERS,
        ),
        row(
            *("GET", "/v1/organization/audit_logs", lambda to: to.list_audit_logs, "listAuditLogs"),
            *("List events of the audit log", audit.ListAuditLogs),
            errors=(404,),
            parameters=audit_log.PARAMETERS,
        ),
        row(
            *("GET", "/v1/usage", lambda to: to.own_usage, "ownUsage", "Usage of the project of the key", wire.Usage),
            access=Scope.READ,
        ),
    )


def _account_rows(row: Callable[..., Operation[Any]]) -> tuple[Operation[Any], ...]:
    """The rows of service accounts, by which official clients create keys."""
    return (
        row(
            *("GET", ACCOUNTS, lambda to: to.list_accounts, "listProjectServiceAccounts", "List service accounts"),
            wire.ListServiceAccounts,
            errors=(404,),
            parameters=LIST_PARAMETERS,
        ),
        row(
            *("POST", ACCOUNTS, lambda to: to.create_account, "createProjectServiceAccount"),
            *("Create a service account with a key", wire.NewServiceAccount),
            errors=(404, 413),
            request_body=NEW_ACCOUNT,
        ),
        row(
            *("GET", ACCOUNT, lambda to: to.get_account, "retrieveProjectServiceAccount"),
            *("Retrieve a service account", wire.ServiceAccount),
            errors=(404,),
        ),
        row(
            *("DELETE", ACCOUNT, lambda to: to.delete_account, "deleteProjectServiceAccount"),
            *("Revoke all keys of a service account", wire.ServiceAccountDeleted),
            errors=(404,),
        ),
        row(
            *("POST", f"{ACCOUNT}/api_keys", lambda to: to.create_account_key, "createProjectServiceAccountApiKey"),
            *("Create a key of a service account", wire.ServiceAccountApiKey),
            errors=(404, 413),
            request_body=NEW_ACCOUNT_KEY,
        ),
    )
