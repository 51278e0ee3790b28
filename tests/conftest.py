"""The profile of a run, and fixtures that every test may use."""

import functools
import os
import signal
import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpcore2
import pytest

from tests.support import installations, rotation
from tests.support.promises import PromiseCounter, Trials
from tests.support.scheduling import ModuleScheduling
from tests.support.servers import Server

LEFT_OUT = pytest.StashKey[dict[str, int]]()
"""Reason -> number of the tests that this profile leaves out."""
ROTATED = pytest.StashKey[int]()
"""Number of cases that are in the share of another day."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--profile",
        choices=installations.PROFILES,
        default=installations.PROFILES[0],
        help="where servers under test keep rows and bytes: in their data directory, or in PostgreSQL and S3",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests of promises as often as the environment says."""
    repetitions = int(os.environ.get("REPETITIONS", "1"))
    if repetitions > 1 and any(metafunc.definition.iter_markers("promise")):
        metafunc.fixturenames.append("repetition")
        metafunc.parametrize("repetition", range(repetitions))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "embedded(reason): about a data directory or no installation at all, left out with --profile shared"
    )
    config.addinivalue_line("markers", "torture: takes long, and runs only with TORTURE=1 (`make torture`)")
    config.addinivalue_line(
        "markers", "rotating(shares): one share of the cases runs each day, all of them with TORTURE=1"
    )
    config.addinivalue_line(
        "markers", "timing: says how long something may take; run up to three times, as other work delays some runs"
    )
    config.addinivalue_line("markers", "promise(id, ...): a trial of these promises of tests/support/promises.py")
    config.pluginmanager.register(PromiseCounter(), "promises")
    rotation.today()
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell's background jobs ignore Ctrl-C, and so would every program under test.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[LEFT_OUT] = {}
    config.stash[ROTATED] = 0
    installations.choose(config.getoption("profile"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Repeat what says how long something may take, and leave out what this run does not ask for."""
    for item in items if config.pluginmanager.hasplugin("rerunfailures") else ():
        if item.get_closest_marker("timing"):
            item.add_marker(pytest.mark.flaky(reruns=2, only_rerun=["AssertionError"]))
    # Before pytest applies `-m`: `-m torture` also chooses the cases that are not in today's share.
    rotated = set(rotation.left_out(items, rotation.today(), asked_for=config.args))
    for item in rotated:
        item.add_marker("torture")
    if os.environ.get("TORTURE") != "1":
        config.stash[ROTATED] = len(rotated)
        long = {item for item in items if item.get_closest_marker("torture")}
        config.hook.pytest_deselected(items=list(long))
        items[:] = [item for item in items if item not in long]
    if config.getoption("profile") == "embedded":
        return
    marked = {item: mark for item in items if (mark := item.get_closest_marker("embedded"))}
    config.stash[LEFT_OUT] = dict(Counter(mark.args[0] for mark in marked.values()))
    config.hook.pytest_deselected(items=list(marked))
    items[:] = [item for item in items if item not in marked]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left out"] = session.config.stash[LEFT_OUT]
        session.config.workeroutput["rotated"] = session.config.stash[ROTATED]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return ModuleScheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Every worker of xdist collects all tests, so that each says the same."""
    output = getattr(node, "workeroutput", {})
    node.config.stash[LEFT_OUT] = output.get("left out", {})
    node.config.stash[ROTATED] = output.get("rotated", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash[LEFT_OUT]:
        terminalreporter.section(f"{sum(left_out.values())} tests that PostgreSQL and S3 do not concern were left out")
        for reason, count in left_out.items():
            terminalreporter.line(f"{count}: {reason}")
    if rotated := config.stash[ROTATED]:
        terminalreporter.section(f"{rotated} cases that run on other days, and in `make torture`, were left out")
        terminalreporter.line(f"The same share again: {rotation.VARIABLE}={rotation.today()}")


@pytest.fixture(scope="session", autouse=True)
def _certificates_are_read_once() -> Iterator[None]:
    """Every new HTTP client reads the certificates of the system, for 20 ms, and hardly any test uses TLS."""

    @functools.cache
    def read(trust_env: bool, *variables: str | None) -> ssl.SSLContext:
        return httpcore2._ssl.default_ssl_context(_trust_env=trust_env)

    def shared(*, _trust_env: bool = True) -> ssl.SSLContext:
        return read(_trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpcore2, "default_ssl_context", shared)
        yield


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the default settings, but for the upload rate, which would slow the tests down."""
    with Server(tmp_path_factory.mktemp("server") / "data", uploads_per_minute=0) as running:
        yield running


@pytest.fixture(scope="session")
def conformance_data() -> Path:
    """The folder with outside data; a clone without it skips, CI fails."""
    folder = os.environ.get("FILESTEAD_CONFORMANCE_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder)
    if os.environ.get("CI"):
        pytest.fail("FILESTEAD_CONFORMANCE_DATA does not name a folder, and CI must have it")
    pytest.skip("FILESTEAD_CONFORMANCE_DATA is not set: the official description is not at hand")


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> Trials:
    """Counts trials of the promises that the test is marked with; without it, the test counts as one."""

    def add(number: int = 1) -> None:
        request.node.user_properties.append(("trials", number))

    return add


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, like the server."""
    return "asyncio"
