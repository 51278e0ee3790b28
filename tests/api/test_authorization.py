"""The authorization matrix, made from the route table: every operation with no key, a wrong key, and each scope."""

import re
from typing import Any

import pytest

from filestead.api.http.routing import PUBLIC
from filestead.api.routes import OPERATIONS
from filestead.domain.access import Scope
from tests.support.promises import Trials
from tests.support.servers import Server, run_command

IDS = {
    "file_id": "file-x",
    "vector_store_id": "vs_x",
    "batch_id": "vsfb_x",
    "upload_id": "upload_x",
    "project_id": "proj_x",
    "key_id": "key_x",
    "service_account_id": "user-x",
}
GUARDED = [operation for operation in OPERATIONS if operation.access != PUBLIC]


def name_of(operation: Any) -> str:
    return f"{operation.method} {operation.path}"


def ask(server: Server, operation: Any, key: str | None) -> Any:
    target = server.origin + re.sub(r"\{(\w+)\}", lambda name: IDS[name[1]], operation.path)
    headers = {"authorization": f"Bearer {key}"} if key else {"authorization": ""}
    return server.client.request(operation.method, target, headers=headers)


@pytest.fixture(scope="module")
def keys(server: Server) -> dict[Scope, str]:
    """A key with one scope, for each."""
    made = {}
    for scope in (Scope.READ, Scope.WRITE, Scope.ADMIN, Scope.METRICS):
        done = run_command(
            server.data_dir, "keys", "create", "--project", "matrix", "--scope", scope, place=server.place
        )
        assert done.returncode == 0, done.stderr
        made[scope] = done.stdout.strip()
    return made


def test_the_matrix_has_every_operation() -> None:
    assert len(GUARDED) >= 21
    assert {operation.access for operation in GUARDED} == {Scope.READ, Scope.WRITE, Scope.ADMIN, Scope.METRICS}


@pytest.mark.parametrize("operation", GUARDED, ids=name_of)
@pytest.mark.promise("S-05")
def test_who_may_do_what(server: Server, keys: dict[Scope, str], operation: Any, trials: Trials) -> None:
    for wrong in (None, "sk-wrong-wrong-wrong-1234"):
        assert ask(server, operation, wrong).status_code == 401
    trials(2 + len(keys))
    for scope, key in keys.items():
        response = ask(server, operation, key)
        if scope == operation.access:
            assert response.status_code != 401
        else:
            assert response.status_code == 401
            assert f"Missing scopes: {operation.access}" in response.json()["error"]["message"]


def test_changing_methods_need_the_scope_for_writing() -> None:
    reading = {"POST /v1/vector_stores/{vector_store_id}/search"}
    for operation in GUARDED:
        if operation.path.startswith("/v1/organization/"):
            assert operation.access == Scope.ADMIN, name_of(operation)
            continue
        if operation.path == "/metrics":
            assert operation.access == Scope.METRICS
            continue
        expected = Scope.READ if operation.method == "GET" or name_of(operation) in reading else Scope.WRITE
        assert operation.access == expected, name_of(operation)
