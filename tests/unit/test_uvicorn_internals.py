"""What we use of uvicorn's private parts is as it was when we built on it, and one module alone uses it.

A failure after an upgrade of uvicorn means: read the change, adapt `server/http1/uvicorn_internals.py`, then this table.
mypy notices names that are gone. The calls between uvicorn's methods are noticed only here: if uvicorn stopped calling
a hook, responses would go out in the wrong order, without an error.
"""

import ast
import inspect
from pathlib import Path

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

from filestead.server.http1.protocol import HttpConnection
from filestead.server.http1.uvicorn_internals import UvicornProtocol

SRC = Path(__file__).parents[2] / "src/filestead"
SEAM = SRC / "server/http1/uvicorn_internals.py"

METHODS: dict[type, dict[str, str]] = {
    HttpToolsProtocol: {
        "connection_made": "transport",
        "connection_lost": "exc",
        "eof_received": "",
        "data_received": "data",
        "pause_writing": "",
        "resume_writing": "",
        "shutdown": "",
        "on_message_begin": "",
        "on_url": "url",
        "on_header": "name value",
        "on_headers_complete": "",
        "on_body": "body",
        "on_message_complete": "",
        "on_response_complete": "",
        "timeout_keep_alive_handler": "",
        "_unset_keepalive_if_required": "",
        "_start_asgi_task": "cycle app",
    },
    RequestResponseCycle: {
        "__init__": "scope transport flow logger access_logger access_log default_headers message_event "
        "expect_100_continue keep_alive on_response",
        "run_asgi": "app",
        "send": "message",
        "receive": "",
    },
    FlowControl: {
        "__init__": "transport",
        "pause_reading": "",
        "resume_reading": "",
        "pause_writing": "",
        "resume_writing": "",
        "drain": "",
    },
}
"""Methods that we override or call, with their parameters."""

ATTRIBUTES: dict[type, str] = {
    HttpToolsProtocol: "loop transport parser flow headers url scope client cycle pipeline connections server_state "
    "expect_100_continue timeout_keep_alive timeout_keep_alive_task ws_protocol_class app logger access_logger",
    RequestResponseCycle: "scope body transport flow default_headers disconnected keep_alive waiting_for_100_continue "
    "more_body message_event response_started response_complete chunked_encoding expected_content_length on_response",
    FlowControl: "write_paused",
    ServerState: "default_headers total_requests connections",
}
"""Attributes that we read or set."""

CALLS: list[tuple[type, str, str, str]] = [
    (HttpToolsProtocol, "on_response_complete", "_start_asgi_task", "a queued request is known to be owed a response"),
    (HttpToolsProtocol, "on_response_complete", "pop", "queued requests are served in order"),
    (HttpToolsProtocol, "on_response_complete", "resume_reading", "blocked reading stays blocked after a response"),
    (HttpToolsProtocol, "on_response_complete", "timeout_keep_alive_handler", "we close idle connections ourselves"),
    (
        HttpToolsProtocol,
        "_start_asgi_task",
        "run_asgi",
        "the application is started with the cycle's `send` and `receive`",
    ),
    (HttpToolsProtocol, "connection_lost", "message_event", "the application is notified of a disconnect"),
    (HttpToolsProtocol, "on_message_begin", "headers", "the scope has the headers that are parsed later"),
    (RequestResponseCycle, "run_asgi", "send", "the application gets our `send`"),
    (RequestResponseCycle, "run_asgi", "receive", "the application gets our `receive`"),
    (HttpToolsProtocol, "on_body", "body", "pieces of a body are passed on without copies"),
    (RequestResponseCycle, "receive", "body", "pieces of a body are passed on without copies"),
    (RequestResponseCycle, "receive", "resume_reading", "blocked reading stays blocked when the application receives"),
    (RequestResponseCycle, "receive", "waiting_for_100_continue", "no 100 Continue follows a rejection"),
    (Server, "shutdown", "shutdown", "lingering connections do not delay the end of the server"),
]
"""(class, method, name that the method uses, what depends on it)"""


def moved(what: str) -> str:
    return f"uvicorn {uvicorn.__version__}: {what}. Adapt {SEAM.name}; see docs/adr/0008-seam-to-uvicorn.md"


def assigned_attributes(cls: type) -> set[str]:
    """Attributes that the class's own methods assign, and the fields of a dataclass."""
    assigned = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(cls)))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    }
    return assigned | set(getattr(cls, "__dataclass_fields__", ()))


def members(cls: type) -> set[str]:
    return {name for name in vars(cls) if not name.startswith("__")} | assigned_attributes(cls)


@pytest.mark.parametrize(
    ("cls", "name", "parameters"), [(cls, *item) for cls, table in METHODS.items() for item in table.items()]
)
def test_methods_of_uvicorn_have_the_parameters_that_we_rely_on(cls: type, name: str, parameters: str) -> None:
    method = vars(cls).get(name)
    assert method is not None, moved(f"{cls.__name__} has no method {name} any more")
    actual = [*inspect.signature(method).parameters][1:]
    assert actual == parameters.split(), moved(f"{cls.__name__}.{name} now takes {actual}")


@pytest.mark.parametrize(("cls", "name"), [(cls, name) for cls, names in ATTRIBUTES.items() for name in names.split()])
def test_uvicorn_sets_the_attributes_that_we_rely_on(cls: type, name: str) -> None:
    assert name in assigned_attributes(cls), moved(f"{cls.__name__} has no attribute {name} any more")


@pytest.mark.parametrize(("cls", "method", "used", "purpose"), CALLS)
def test_uvicorn_calls_the_hooks_that_we_rely_on(cls: type, method: str, used: str, purpose: str) -> None:
    names = vars(cls)[method].__code__.co_names
    assert used in names, moved(f"{cls.__name__}.{method} no longer uses {used}, on which we rely so that {purpose}")


def used_names(path: Path) -> set[str]:
    """Attributes that a module uses, and methods and attributes that it defines."""
    tree = ast.walk(ast.parse(path.read_text()))
    return {
        node.attr if isinstance(node, ast.Attribute) else node.name
        for node in tree
        if isinstance(node, ast.Attribute | ast.FunctionDef)
    }


def test_the_tables_above_are_complete() -> None:
    private = members(HttpToolsProtocol) | members(RequestResponseCycle) | members(FlowControl) | members(ServerState)
    listed = {name for table in METHODS.values() for name in table}
    listed |= {name for names in ATTRIBUTES.values() for name in names.split()}
    assert used_names(SEAM) & private <= listed, "uvicorn_internals.py uses a part of uvicorn that is not listed here"


def test_the_connection_uses_uvicorn_only_through_the_seam() -> None:
    offered = {*vars(UvicornProtocol), *UvicornProtocol.__annotations__, *METHODS[HttpToolsProtocol]}
    offered = {name for name in offered if not name.startswith("_")}
    tree = ast.walk(ast.parse((SRC / "server/http1/protocol.py").read_text()))
    used = {node.attr for node in tree if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"}
    assert used & members(HttpToolsProtocol) <= offered


@pytest.mark.parametrize("cls", [UvicornProtocol, HttpConnection])
def test_our_names_do_not_override_uvicorns_by_accident(cls: type) -> None:
    listed = set(METHODS[HttpToolsProtocol]) | set(ATTRIBUTES[HttpToolsProtocol].split())
    clashes = members(cls) & members(HttpToolsProtocol) - listed
    assert not clashes, moved(f"HttpToolsProtocol now has names that {cls.__name__} uses for itself: {clashes}")


def test_no_other_module_imports_private_parts_of_uvicorn() -> None:
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            private = [name for name in names if name.startswith("uvicorn.")]
            assert not private or path == SEAM, f"{path} imports {private}, which only {SEAM.name} may"
