"""What the lines of a batch hold while they are in flight: all of it is returned, however they end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from filestead.domain.forwarding.interfaces import FileMode
from filestead.inference.endpoints import Endpoints, Exchange, Lane
from filestead.worker.batches import dispatcher as module
from filestead.worker.batches.dispatcher import Dispatch, Dispatcher
from filestead.worker.batches.file_lines import FileLines
from filestead.worker.batches.line_queue import LineQueue
from filestead.worker.batches.throttle import Throttle
from tests.inference.endpoints import PATH, body, config, running
from tests.support.model_server import ModelServer
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
LINES = 4


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class NoFiles:
    """A `FileResolver` of lines that name no files."""

    def concerns(self, content: bytes, mode: FileMode) -> bool:
        return False

    async def resolve(self, project_id: str, content: bytes, mode: FileMode) -> bytes:
        raise NotImplementedError


class Lines:
    """A `LineSource` of equal lines."""

    path = PATH
    project_id = "proj_1"

    def __init__(self, model: str = "m") -> None:
        self.content = body(model=model)
        self.exchanges: list[Exchange] = []
        self.errors: list[Exception] = []

    def size(self, position: int) -> int:
        return len(self.content)

    def group(self, position: int) -> bytes:
        return b"group"

    def idempotency_key(self, position: int) -> str:
        return f"batch_req_{position}"

    async def read_body(self, position: int) -> bytes:
        return self.content

    def responded(self, position: int, exchange: Exchange, upstream: str) -> None:
        self.exchanges.append(exchange)

    def failed(self, error: Exception) -> None:
        self.errors.append(error)


def dispatch_of(lines: Lines, model: str = "m") -> Dispatch:
    queue = LineQueue("proj_1", time.time() + 3_600, range(LINES), range(LINES), [1] * LINES)
    return Dispatch(lines, queue, model)


@contextlib.asynccontextmanager
async def dispatching(endpoints: Endpoints) -> AsyncIterator[Dispatcher]:
    made = Dispatcher(endpoints, FileLines(NoFiles()), time.monotonic, Throttle(time.monotonic))
    try:
        yield made
    finally:
        await made.close()


async def cancel(dispatch: Dispatch) -> int:
    """As the end of a batch does; returns how many lines were in flight."""
    tasks = list(dispatch.tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return len(tasks)


def lane_of(endpoints: Endpoints) -> Lane:
    (endpoint,) = endpoints.for_model("m")
    return endpoint.lane("m")


@pytest.mark.parametrize("turns", range(8))
async def test_lines_that_are_cancelled_at_any_moment_return_their_places(turns: int) -> None:
    async with ModelServer() as server, running(config(server)) as endpoints, dispatching(endpoints) as dispatcher:
        lane = lane_of(endpoints)
        for _ in range(3):
            dispatch = dispatch_of(Lines())
            dispatcher.add(dispatch)
            await until(lambda dispatch=dispatch: len(dispatch.tasks) == LINES)  # type: ignore[misc]
            dispatcher.remove(dispatch)
            for _ in range(turns):
                await asyncio.sleep(0)
            assert await cancel(dispatch) == LINES
            assert lane.in_flight == 0


async def test_the_turn_in_which_lines_are_sent_is_a_moment_to_cancel_them() -> None:
    async with ModelServer() as server, running(config(server)) as endpoints, dispatching(endpoints) as dispatcher:
        lane, lines = lane_of(endpoints), Lines()
        for _ in range(lane.limit):
            dispatch = dispatch_of(lines)
            dispatcher.add(dispatch)
            async with asyncio.timeout(10):
                while not dispatch.tasks:  # looks in each turn, which `until` does not
                    await asyncio.sleep(0)
            dispatcher.remove(dispatch)
            assert await cancel(dispatch) == LINES
        assert (lane.in_flight, lines.exchanges) == (0, [])
        assert dispatcher.reserve(module.MAX_IN_FLIGHT_BYTES), "no bytes are counted"
        assert not dispatcher.reserve(1)
        dispatcher.release(module.MAX_IN_FLIGHT_BYTES)
        last = dispatch_of(lines)
        dispatcher.add(last)
        await until(lambda: len(lines.exchanges) == LINES)
        assert lines.errors == []


def models_of_this_loop() -> int:
    """The tasks of models that have lines, or had some a moment ago."""
    return sum("_Model" in repr(task.get_coro()) for task in asyncio.all_tasks())


@pytest.mark.parametrize("how", ["completed", "removed before"])
async def test_a_model_without_lines_is_forgotten(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Also if the last lines of a batch end in one turn, or it is removed while its lines wait."""
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.05)
    async with (
        ModelServer(instant=True, models=("m", "n")) as server,
        running(config(server)) as endpoints,
        dispatching(endpoints) as dispatcher,
    ):
        for model in ("m", "n"):
            lines = Lines(model)
            dispatch = dispatch_of(lines, model)
            if how == "completed":
                dispatcher.add(dispatch)
                await until(lambda lines=lines: len(lines.exchanges) == LINES)  # type: ignore[misc]
                await asyncio.sleep(0.01)  # the task of the model waits
            else:
                dispatch.queue.paused = True
                dispatcher.add(dispatch)
                await asyncio.sleep(0.01)
            dispatcher.remove(dispatch)
            assert models_of_this_loop() >= 1
        await until(lambda: models_of_this_loop() == 0)
