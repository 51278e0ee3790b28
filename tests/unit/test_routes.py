"""The route table: every operation is authorized deliberately and documented."""

import json

import pytest

from filestead.api.http.routing import PUBLIC, Operation
from filestead.api.routes import FORWARDED, OPERATIONS, Handlers, build_openapi, undocumented
from filestead.domain.access import Scope

PATHS = json.loads(build_openapi(forwards=True))["paths"]
EVERY = (*OPERATIONS, *FORWARDED)


@pytest.mark.parametrize("operation", EVERY, ids=lambda row: row.operation_id)
def test_every_operation_has_a_scope_or_is_public_and_is_documented(operation: Operation[Handlers]) -> None:
    assert operation.access == PUBLIC or isinstance(operation.access, Scope)
    description = PATHS[operation.path][operation.method.lower()]
    assert description["operationId"] == operation.operation_id
    assert description["summary"] == operation.summary
    assert (description.get("security") == []) == (operation.access == PUBLIC)
    assert ("401" in description["responses"]) == (operation.access != PUBLIC)
    assert {str(status) for status in (*operation.responses, *operation.errors)} <= set(description["responses"])


def test_each_operation_has_one_row_and_nothing_else_is_documented() -> None:
    rows = [(row.path, row.method.lower()) for row in EVERY]
    documented = [(path, method) for path, item in PATHS.items() for method in item if method != "parameters"]
    assert sorted(rows) == sorted(documented)
    assert len({row.operation_id for row in EVERY}) == len(EVERY)


def test_without_a_model_server_its_operations_are_not_documented() -> None:
    paths = json.loads(build_openapi())["paths"]
    assert not {row.path for row in FORWARDED} & set(paths)


def test_what_is_passed_on_needs_the_scope_and_hides_no_operation() -> None:
    rows = (*FORWARDED, *undocumented(("/v1/tokenize", "/v1/tools/*")))
    assert {row.access for row in rows} == {Scope.INFERENCE}
    assert {row.path for row in rows} >= {"/v1/tokenize", "/v1/tools/{rest:path}"}
    assert not {row.path for row in rows} & {row.path for row in OPERATIONS}
