"""The authorization matrix, made from the route table: every operation with every kind of key.

An operation without an example in `tests/api/tenants.py` fails `test_every_operation_has_an_example`.
"""

import base64
import itertools
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from filestead.api.http.routing import PUBLIC
from filestead.api.routes import FORWARDED, OPERATIONS, undocumented
from filestead.domain.access import Scope
from tests.batches.runs import ENDED
from tests.support.event_server import EventServer
from tests.support.keys import Wanted, make_keys
from tests.support.promises import Trials
from tests.support.servers import Server

from .tenants import UNKNOWN, Ids, Tenant, kinds_of, request_of

ALL = (*OPERATIONS, *FORWARDED, *undocumented(("/v1/tokenize",)))
GUARDED = [operation for operation in ALL if operation.access != PUBLIC]
SCOPES = sorted(Scope)
VARYING = {"date", "x-request-id", "openai-processing-ms", "connection"}
"""The last one depends on whether the body of a refused request has arrived."""
ONCE = {"completeUpload", "cancelUpload", "cancelVectorStoreFileBatch", "cancelBatch", "deleteResponse"}
"""Beside DELETE: what leaves less behind than there was, so that it is tried on things of its own."""
CONFLICTS = {"retryBatch": 409, "cancelBatch": 409}
"""What the state of a thing may refuse to a key that may do it."""
STRANGERS = ("another project", "another organization")
SHARED_IN_AN_ORGANIZATION = {"project", "key", "account"}
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"}
CURSORS = {"file", "store", "attached", "batch", "project", "key", "account"}
"""What lists have; each is tried as the cursor of each list."""
NAMING = [operation for operation in GUARDED if set(kinds_of(operation)) & set(UNKNOWN)]
"""Operations that name something of a project, in the path or in the body."""
CHANGING = [each for each in GUARDED if each.request_body is not None and each.access != Scope.INFERENCE]
LISTS = [operation for operation in GUARDED if any(each["name"] == "limit" for each in operation.parameters)]


def subsets(kinds: list[str]) -> list[tuple[str, ...]]:
    """Every choice of at least one."""
    return [each for size in range(1, len(kinds) + 1) for each in itertools.combinations(kinds, size)]


def name_of(operation: Any) -> str:
    return f"{operation.method} {operation.path}"


@dataclass(frozen=True)
class World:
    """A server with three tenants and keys of every kind."""

    server: Server
    upstream: EventServer
    keys: dict[str, str]
    owner: Tenant
    strangers: dict[str, Tenant]

    def send(self, operation: Any, ids: Ids, headers: Mapping[str, str], **more: Any) -> httpx2.Response:
        """The example of an operation; `more` replaces parts of it."""
        method, path, body = request_of(operation, ids)
        request = {"method": method, "url": self.server.origin + path, "headers": dict(headers), **body, **more}
        return self.server.client.request(**request)

    def tenant(self, key: str) -> Tenant:
        client = httpx2.Client(
            base_url=self.server.base_url, headers={"authorization": f"Bearer {self.keys[key]}"}, timeout=60
        )
        return Tenant(client)


KEYS = {
    "all scopes": Wanted("default"),
    "another project": Wanted("another"),
    "another organization": Wanted("default", "rivals"),
    "expired": Wanted("default", expired=True),
    "revoked": Wanted("default", revoked=True),
    **{f"only {scope}": Wanted("default", scopes=frozenset({scope})) for scope in SCOPES},
    **{f"all but {scope}": Wanted("default", scopes=frozenset(Scope) - {scope}) for scope in SCOPES},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("matrix") / "data"
    settings = {"uploads_per_minute": 0, "batches_per_hour": 0, "wrong_keys_per_minute": 1_000_000}
    with (
        EventServer() as upstream,
        Server(folder, upstream_url=upstream.url, pass_through_paths="/v1/tokenize", **settings) as server,
    ):
        made = World(server, upstream, make_keys(server, KEYS), Tenant(server.client), {})
        owner, *strangers = [made.tenant(name).fill() for name in ("all scopes", *STRANGERS)]
        yield World(server, upstream, made.keys, owner, dict(zip(STRANGERS, strangers, strict=True)))


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def basic(key: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"user:{key}".encode()).decode()}


def refused_credentials(keys: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Headers that let nobody in; the client sends no `Authorization` but the one that is named."""
    key = keys["all scopes"]
    return {
        "none": {"authorization": ""},
        "a scheme alone": {"authorization": "Bearer"},
        "the key alone": {"authorization": key},
        "another scheme": {"authorization": f"Token {key}"},
        "Basic that is not base64": {"authorization": "Basic !!"},
        "Basic with the key as user": {"authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()},
        "another header": {"authorization": "", "x-api-key": key, "api-key": key, "cookie": f"key={key}"},
        "an unknown key": bearer("sk-unknown-0123456789-0123456789"),
        "a key and a letter": bearer(key + "x"),
        "a key without its last letter": bearer(key[:-1]),
        "a key in upper case": bearer(key.upper()),
        "SQL": bearer("' OR '1'='1"),
        "expired": bearer(keys["expired"]),
        "revoked": bearer(keys["revoked"]),
        "expired, Basic": basic(keys["expired"]),
        "revoked, Basic": basic(keys["revoked"]),
    }


def options_of(operation: Any) -> dict[str, Any]:
    """Every optional parameter of an operation at once: none of them is looked at before the key."""
    given: dict[str, dict[str, str]] = {"query": {}, "header": {}}
    for parameter in operation.parameters:
        given[parameter["in"]][parameter["name"]] = "1"
    return given


def same(response: httpx2.Response, other: httpx2.Response, renamed: Mapping[str, str]) -> bool:
    """Whether two responses differ in nothing but these ids."""

    def seen(response: httpx2.Response) -> tuple[int, str, dict[str, str]]:
        text = response.text
        for name, instead in renamed.items():
            text = text.replace(name, instead)
        headers = {name: value for name, value in response.headers.items() if name not in VARYING}
        return response.status_code, text, {**headers, "content-length": ""}

    return seen(response) == seen(other)


def test_every_operation_has_an_example() -> None:
    for operation in ALL:
        request_of(operation, dict.fromkeys(kinds_of(operation), "x"))
    named = {kind for operation in GUARDED for kind in kinds_of(operation)}
    assert named - set(UNKNOWN) == {"model", "rest", "lines"}, "the last one has a test of its own"
    assert {operation.access for operation in GUARDED} == set(Scope) - {Scope.SYSTEM}
    assert len(GUARDED) > 60


def test_changing_methods_need_the_scope_for_writing() -> None:
    reading = {"POST /v1/vector_stores/{vector_store_id}/search"}
    for operation in GUARDED:
        if operation.path.startswith("/v1/organization/"):
            assert operation.access == Scope.ADMIN, name_of(operation)
            continue
        if operation.access in (Scope.METRICS, Scope.INFERENCE):
            continue
        expected = Scope.READ if operation.method == "GET" or name_of(operation) in reading else Scope.WRITE
        assert operation.access == expected, name_of(operation)


@pytest.mark.promise("S-05")
@pytest.mark.parametrize("operation", GUARDED, ids=name_of)
def test_who_may_not(world: World, operation: Any, trials: Trials) -> None:
    world.upstream.requests.clear()
    options = options_of(operation)
    refused = refused_credentials(world.keys)
    trials(len(refused))
    for kind, headers in refused.items():
        response = world.send(operation, world.owner.ids, headers)
        assert response.status_code == 401, kind
        assert world.keys["all scopes"] not in response.text
    headers = {**options["header"], **bearer(world.keys["revoked"])}
    response = world.send(operation, world.owner.ids, headers, params=options["query"])
    assert response.status_code == 401, "with every parameter"
    others = [f"only {scope}" for scope in SCOPES if scope != operation.access]
    most = f"all but {operation.access}"
    for name, scheme in [(most, bearer), (most, basic), *((name, bearer) for name in others)]:
        response = world.send(operation, world.owner.ids, scheme(world.keys[name]))
        assert response.status_code == 401, name
        assert f"Missing scopes: {operation.access}" in response.json()["error"]["message"]
    assert world.upstream.requests == []


@pytest.mark.parametrize("operation", GUARDED, ids=name_of)
def test_the_scope_suffices(world: World, operation: Any) -> None:
    destroys = operation.method == "DELETE" or operation.operation_id in ONCE
    for scheme in (bearer, basic):
        owner = world.tenant("all scopes").fill() if destroys else world.owner
        world.upstream.requests.clear()
        response = world.send(operation, owner.ids, scheme(world.keys[f"only {operation.access}"]))
        if operation.access == Scope.INFERENCE and world.upstream.requests:
            assert response.status_code != 401  # the model server has decided
        else:
            assert response.status_code in (200, CONFLICTS.get(operation.operation_id)), response.text


@pytest.mark.parametrize("operation", NAMING, ids=name_of)
@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_foreign_id_is_an_unknown_id(world: World, operation: Any, stranger: str) -> None:
    own, theirs = world.strangers[stranger].ids, world.owner.ids
    kinds = [kind for kind in kinds_of(operation) if kind in UNKNOWN]
    headers = bearer(world.keys[stranger])
    methods = [{}, {"method": "HEAD"}] if operation.method == "GET" else [{}]
    for foreign in subsets(kinds):
        if stranger == "another project" and SHARED_IN_AN_ORGANIZATION.intersection(foreign):
            continue  # an administrator has the whole organization
        world.upstream.requests.clear()
        for method in methods:
            got = world.send(operation, {**own, **{kind: theirs[kind] for kind in foreign}}, headers, **method)
            if "response" in foreign:
                # After a restart nobody knows whose it is: an unknown one is asked of the model server.
                assert got.status_code in (400, 404)
                assert world.upstream.requests == []
                continue
            unknown = world.send(operation, {**own, **{kind: UNKNOWN[kind] for kind in foreign}}, headers, **method)
            assert same(got, unknown, {theirs[kind]: UNKNOWN[kind] for kind in foreign}), (got.text, unknown.text)
            assert got.status_code in (400, 404), (foreign, got.text)


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.promise("S-02", "S-03")
def test_a_batch_of_a_foreign_file_fails_as_that_of_an_unknown_one(world: World, stranger: str) -> None:
    """The file is looked for later, so that both are created."""
    [create] = [operation for operation in GUARDED if operation.operation_id == "createBatch"]
    tenant, foreign, unknown = world.tenant(stranger), world.owner.ids["lines"], "file-" + "0" * 22
    headers = bearer(world.keys[stranger])

    def seen(response: httpx2.Response, file_id: str) -> str:
        assert response.status_code == 200, response.text
        text = response.text.replace(response.json()["id"], "batch_x").replace(file_id, unknown)
        return re.sub(r'("\w+_at": ?)\d+', r"\g<1>0", text)

    made = {file_id: world.send(create, {"lines": file_id}, headers) for file_id in (foreign, unknown)}
    assert seen(made[foreign], foreign) == seen(made[unknown], unknown)

    def ended(file_id: str) -> httpx2.Response:
        deadline = time.monotonic() + 30
        while (response := tenant.client.get(f"/batches/{made[file_id].json()['id']}")).json()["status"] not in ENDED:
            assert time.monotonic() < deadline, response.text
            time.sleep(0.05)
        return response

    found = {file_id: ended(file_id) for file_id in made}
    assert seen(found[foreign], foreign) == seen(found[unknown], unknown)
    assert found[foreign].json()["status"] == "failed"
    assert world.server.place.sql(
        "SELECT count(*) FROM batches WHERE input_file_id = ? AND input_bytes > 0 AND project_id = ?",
        foreign,
        tenant.client.get("/files").headers["openai-project"],
    ) == [(0,)]


@pytest.mark.parametrize("stranger", STRANGERS)
def test_no_listing_has_a_foreign_id(world: World, stranger: str) -> None:
    own = world.strangers[stranger].ids
    shared = SHARED_IN_AN_ORGANIZATION if stranger == "another project" else set()
    theirs = {kind: name for kind, name in world.owner.ids.items() if kind in UNKNOWN and kind not in shared}
    headers = bearer(world.keys[stranger])
    assert len(LISTS) >= 7
    for operation in LISTS:
        if operation.operation_id == "listAuditLogs" and stranger == "another project":
            continue  # an administrator sees the whole organization
        parameters = {parameter["name"] for parameter in operation.parameters}
        orders = ("asc", "desc") if "order" in parameters else (None,)
        for order, limit in itertools.product(orders, ("1", "100")):
            query = {"limit": limit} | ({"order": order} if order else {})
            response = world.send(operation, own, headers, params=query)
            assert response.status_code == 200, response.text
            assert [kind for kind, name in theirs.items() if name in response.text] == [], name_of(operation)
        for cursor in parameters & {"after", "before"}:
            for kind in CURSORS & theirs.keys():
                name = theirs[kind]
                got, unknown = (
                    world.send(operation, own, headers, params={cursor: value}) for value in (name, UNKNOWN[kind])
                )
                assert got.status_code == 404, (name_of(operation), kind)
                assert same(got, unknown, {name: UNKNOWN[kind]})


@pytest.mark.parametrize("operation", NAMING, ids=name_of)
def test_an_id_of_another_kind_is_an_unknown_id(world: World, operation: Any) -> None:
    own = world.owner.ids
    for kind, other in itertools.product((k for k in kinds_of(operation) if k in UNKNOWN), UNKNOWN):
        if UNKNOWN[kind] == UNKNOWN[other] or kind == "response":
            continue
        response = world.send(operation, {**own, kind: own[other]}, bearer(world.keys["all scopes"]))
        assert response.status_code in (400, 404), (kind, other, response.text)


def test_nothing_of_the_owner_has_changed(world: World) -> None:
    """Every operation once more with keys that must not change anything, beside a tenant that is compared."""
    victim = world.tenant("all scopes").fill()
    victim.settle()
    before = victim.snapshot()
    for operation in GUARDED:
        for headers in ({"authorization": ""}, *(bearer(world.keys[name]) for name in ("revoked", *STRANGERS))):
            if operation.access != Scope.ADMIN or headers != bearer(world.keys["another project"]):
                world.send(operation, victim.ids, headers)
    assert victim.snapshot() == before


def test_no_other_method_is_served(world: World) -> None:
    served: dict[str, set[str]] = {}
    for operation in ALL:
        _, path, _ = request_of(operation, world.owner.ids)
        served.setdefault(path, set()).add(operation.method)
    for path, methods in served.items():
        reading = {"HEAD"} if "GET" in methods else set()
        for method in METHODS - methods - reading:
            response = world.server.client.request(method, world.server.origin + path)
            assert response.status_code in (404, 405), (method, path)
            assert "x-request-id" in response.headers


@pytest.mark.parametrize("operation", CHANGING, ids=name_of)
def test_no_member_that_the_server_owns_is_taken(world: World, operation: Any) -> None:
    for name in (
        "id",
        "object",
        "created_at",
        "status",
        "project_id",
        "organization_id",
        "user_id",
        "sha256",
        "is_admin",
    ):
        _, _, body = request_of(operation, world.owner.ids)
        if "json" in body:
            body = {"json": {**body["json"], name: "x"}}
        else:
            body = {**body, "data": {**body.get("data", {}), name: "x"}}
        response = world.send(operation, world.owner.ids, bearer(world.keys["all scopes"]), **body)
        assert response.status_code == 400, (name, response.text)
        assert name in response.json()["error"]["message"]
