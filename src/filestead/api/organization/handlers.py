"""Operations on projects, their keys and usage: each handler parses a request and calls the domain once."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from filestead.api.http.body import BodyReadLimits
from filestead.api.http.errors import bad_request
from filestead.api.http.json_body import JsonObject, invalid_value, read_json_object, require_bounds
from filestead.api.http.messages import Request, Response
from filestead.api.http.query import parse_integer, parse_limit, parse_query
from filestead.api.http.routing import JSON
from filestead.api.organization import audit_log
from filestead.api.organization.shapes import (
    account_key_to_wire,
    account_members,
    account_to_wire,
    key_members,
    page_to_wire,
    project_to_wire,
    usage_to_wire,
)
from filestead.domain.access import DEFAULT_SCOPES, MAX_NAME_CHARACTERS, Principal, Scope
from filestead.domain.administration import GRANTABLE_SCOPES, Administration
from filestead.domain.audit.events import AuditLog
from filestead.wire import encode
from filestead.wire import organization as wire

MAX_LIMIT = 100
MAX_EXPIRY_SECONDS = 10 * 365 * 86_400
BUCKET_SECONDS = {"1m": 60, "1h": 3_600, "1d": 86_400}


@dataclass(slots=True)
class OrganizationHandlers:
    """Handlers of the operations on an organization."""

    administration: Administration
    audit: AuditLog
    body_limits: BodyReadLimits
    time: Callable[[], float]
    """Unix seconds."""

    async def list_projects(self, request: Request, principal: Principal) -> Response:
        """GET /v1/organization/projects."""
        after, limit = _page_request(request)
        page = await self.administration.list_projects(principal, after=after, limit=limit)
        return _respond(page_to_wire(wire.ListProjects, page, project_to_wire))

    async def create_project(self, request: Request, principal: Principal) -> Response:
        """POST /v1/organization/projects."""
        body = await read_json_object(request, self.body_limits)
        name = body.string("name", required=True, max_length=MAX_NAME_CHARACTERS)
        body.finish()
        return _respond(project_to_wire(await self.administration.create_project(principal, str(name))))

    async def get_project(self, request: Request, principal: Principal) -> Response:
        """GET /v1/organization/projects/{project_id}."""
        return _respond(project_to_wire(await self.administration.get_project(principal, _project_id(request))))

    async def list_keys(self, request: Request, principal: Principal) -> Response:
        """GET /v1/organization/projects/{project_id}/api_keys."""
        after, limit = _page_request(request)
        page = await self.administration.list_keys(principal, _project_id(request), after=after, limit=limit)
        return _respond(page_to_wire(wire.ListProjectApiKeys, page, lambda key: wire.ProjectApiKey(**key_members(key))))

    async def create_key(self, request: Request, principal: Principal) -> Response:
        """POST /v1/organization/projects/{project_id}/api_keys: the only response that has the secret."""
        body = await read_json_object(request, self.body_limits)
        name = body.string("name", max_length=MAX_NAME_CHARACTERS)
        scopes = _scopes(body)
        expires_in = body.integer("expires_in", 1, MAX_EXPIRY_SECONDS)
        body.finish()
        key, secret = await self.administration.create_key(
            principal,
            _project_id(request),
            name=name,
            scopes=scopes,
            expires_after_seconds=expires_in,
        )
        return _respond(wire.NewProjectApiKey(**key_members(key), value=secret))

    async def get_key(self, request: Request, principal: Principal) -> Response:
        """GET /v1/organization/projects/{project_id}/api_keys/{key_id}."""
        key = await self.administration.get_key(principal, _project_id(request), request.path_params["key_id"])
        return _respond(wire.ProjectApiKey(**key_members(key)))

    async def delete_key(self, request: Request, principal: Principal) -> Response:
        """DELETE /v1/organization/projects/{project_id}/api_keys/{key_id}: revoke the key."""
        key_id = request.path_params["key_id"]
        await self.administration.revoke_key(principal, _project_id(request), key_id)
        return _respond(wire.ProjectApiKeyDeleted(id=key_id))

    async def list_accounts(self, request: Request, principal: Principal) -> Response:
        """GET /v1/organization/projects/{project_id}/service_accounts."""
        after, limit = _page_request(request)
        page = await self.administration.list_accounts(principal, _project_id(request), after=after, limit=limit)
        return _respond(page_to_wire(wire.ListServiceAccounts, page, account_to_wire))

    async def create_account(self, request: Request, principal: Principal) -> Response:
        """POST /v1/organization/projects/{project_id}/service_accounts: the only response that has the secret."""
        body = await read_json_object(request, self.body_limits)
        name = str(body.string("name", required=True, max_length=MAX_NAME_CHARACTERS))
        expires_in = body.integer("expires_in_seconds", 1, MAX_EXPIRY_SECONDS)
        without_key = body.boolean("create_service_account_only")
        body.finish()
        if without_key:
            raise invalid_value("create_service_account_only", "true", ("false",))
        account, key, secret = await self.administration.create_account(
            principal, _project_id(request), name, expires_after_seconds=expires_in
        )
        made = wire.NewServiceAccount(**account_members(account), api_key=account_key_to_wire(key, secret))
        return _respond(made)

    async def get_account(self, request: Request, principal: Principal) -> Response:
        """GET /v1/organization/projects/{project_id}/service_accounts/{service_account_id}."""
        found = await self.administration.get_account(principal, _project_id(request), _account_id(request))
        return _respond(account_to_wire(found))

    async def delete_account(self, request: Request, principal: Principal) -> Response:
        """DELETE /v1/organization/projects/{project_id}/service_accounts/{service_account_id}: revoke its keys."""
        account_id = _account_id(request)
        await self.administration.delete_account(principal, _project_id(request), account_id)
        return _respond(wire.ServiceAccountDeleted(id=account_id))

    async def create_account_key(self, request: Request, principal: Principal) -> Response:
        """POST /v1/organization/projects/{project_id}/service_accounts/{service_account_id}/api_keys."""
        body = await read_json_object(request, self.body_limits)
        scopes = _scopes(body)
        expires_in = body.integer("expires_in_seconds", 1, MAX_EXPIRY_SECONDS)
        body.finish()
        key, secret = await self.administration.create_account_key(
            principal,
            _project_id(request),
            _account_id(request),
            scopes=scopes,
            expires_after_seconds=expires_in,
        )
        return _respond(account_key_to_wire(key, secret))

    async def project_usage(self, request: Request, principal: Principal) -> Response:
        """GET /v1/organization/projects/{project_id}/usage."""
        return _respond(usage_to_wire(await self.administration.project_usage(principal, _project_id(request))))

    async def own_usage(self, request: Request, principal: Principal) -> Response:
        """GET /v1/usage."""
        return _respond(usage_to_wire(await self.administration.own_usage(principal)))

    async def list_audit_logs(self, request: Request, principal: Principal) -> Response:
        """GET /v1/organization/audit_logs."""
        after, before, limit = audit_log.parse_page(request)
        filters = audit_log.parse_filters(request)
        page = await self.audit.page(principal.organization_id, filters, after=after, before=before, limit=limit)
        return _respond(audit_log.page_to_wire(page))

    async def vector_stores_usage(self, request: Request, principal: Principal) -> Response:
        """GET /v1/organization/usage/vector_stores. The usage of the past is not kept: only the last bucket exists."""
        start, end, width = _time_range(request)
        for grouping in _values(request, "group_by"):
            if grouping != "project_id":
                raise invalid_value("group_by", grouping, ("project_id",))
        now = int(self.time())
        bucket = now - now % width
        if not (start <= now and (end is None or bucket < end)):
            return _respond(wire.UsagePage(data=[]))
        by_project = await self.administration.index_bytes(principal)
        chosen = set(_values(request, "project_ids"))
        by_project = [(project, count) for project, count in by_project if not chosen or project in chosen]
        if _values(request, "group_by"):
            results = [wire.VectorStoresUsage(usage_bytes=count, project_id=project) for project, count in by_project]
        else:
            results = [wire.VectorStoresUsage(usage_bytes=sum(count for _, count in by_project))]
        return _respond(
            wire.UsagePage(data=[wire.UsageBucket(start_time=bucket, end_time=bucket + width, results=results)])
        )


def _page_request(request: Request) -> tuple[str | None, int]:
    query = parse_query(request, ("after", "limit"))
    return query.get("after") or None, parse_limit(query.get("limit"), default=20, maximum=MAX_LIMIT)


def _project_id(request: Request) -> str:
    return str(request.path_params["project_id"])


def _account_id(request: Request) -> str:
    return str(request.path_params["service_account_id"])


def _scopes(body: JsonObject) -> frozenset[Scope]:
    """The scopes of a new key, by default those of keys that the operator creates."""
    scopes = body.strings("scopes", 1, len(GRANTABLE_SCOPES))
    for number, scope in enumerate(scopes or ()):
        if scope not in GRANTABLE_SCOPES:
            raise invalid_value(f"scopes[{number}]", scope, GRANTABLE_SCOPES)
    return DEFAULT_SCOPES if scopes is None else frozenset(map(Scope, scopes))


def _values(request: Request, name: str) -> list[str]:
    """The values of a list in the query, which official clients write with brackets."""
    query = request.query
    return [value for wanted in (name, f"{name}[]") for found, value in query if found == wanted]


def _time_range(request: Request) -> tuple[int, int | None, int]:
    query = parse_query(request, ("start_time", "end_time", "bucket_width"))
    if "start_time" not in query:
        raise bad_request("Missing required parameter: 'start_time'.", "start_time", "missing_required_parameter")
    width = query.get("bucket_width", "1d")
    if width not in BUCKET_SECONDS:
        raise invalid_value("bucket_width", width, tuple(BUCKET_SECONDS))
    start = _seconds("start_time", query["start_time"])
    return start, _seconds("end_time", query["end_time"]) if "end_time" in query else None, BUCKET_SECONDS[width]


def _seconds(name: str, text: str) -> int:
    value = parse_integer(text, name, name)
    require_bounds(name, value, 0, math.inf, "integer")
    return value


def _respond(value: Any) -> Response:
    return Response(encode(value), media_type=JSON)
