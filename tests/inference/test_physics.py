"""The simulated model server's own physics, which the figures of the controller rest on."""

import math

import pytest

from tests.support.model_server.physics import Engine, Machine, Request


def finish_all(engine: Engine) -> list[Request]:
    found = []
    while engine.next_end() is not None:
        found.append(engine.finish())
    return found


def run_together(machine: Machine, number: int, tokens: int = 100, prompt: int = 0) -> float:
    engine = Engine(machine)
    for _ in range(number):
        assert engine.submit(Request(tokens, prompt), 0.0)
    return finish_all(engine)[-1].finished_at


@pytest.mark.parametrize(("running", "seconds"), [(1, 2.0), (8, 2.0), (16, 2.0), (32, 4.0), (64, 8.0)])
def test_steps_take_longer_beyond_the_knee(running: int, seconds: float) -> None:
    assert run_together(Machine(step_seconds=0.02, knee=16), running) == pytest.approx(seconds)


def test_an_overloaded_machine_is_slower_than_in_proportion() -> None:
    assert run_together(Machine(overload=0.5), 64) == pytest.approx(8.0 * math.sqrt(4))
    assert run_together(Machine(overload=0.5), 16) == pytest.approx(2.0)


def test_a_round_knee() -> None:
    machine = Machine(sharpness=4)
    assert machine.step(1) == pytest.approx(0.02, rel=1e-3)
    assert machine.step(16) == pytest.approx(0.02 * 2**0.25)
    assert machine.step(160) == pytest.approx(0.2, rel=1e-3)


def test_requests_beyond_the_slots_wait_in_order() -> None:
    engine = Engine(Machine(slots=2))
    made = [Request(100) for _ in range(5)]
    for request in made:
        engine.submit(request, 0.0)
    assert (len(engine.running), len(engine.waiting)) == (2, 3)
    assert finish_all(engine) == made
    assert [request.finished_at for request in made] == pytest.approx([2, 2, 4, 4, 6])


def test_requests_are_refused_only_beyond_the_bound() -> None:
    engine = Engine(Machine(refuse_beyond=3))
    assert [engine.submit(Request(10), 0.0) for _ in range(4)] == [True, True, True, False]
    engine.finish()
    assert engine.submit(Request(10), engine.now)


def test_requests_that_come_and_go_share_the_steps() -> None:
    engine = Engine(Machine(knee=1))
    first, second = Request(100), Request(50)
    engine.submit(first, 0.0)
    engine.submit(second, 1.0)  # the first has 50 steps left, and each takes twice as long
    assert finish_all(engine) == [first, second]
    assert (first.finished_at, second.finished_at) == pytest.approx((3.0, 3.0))


def test_an_aborted_request_makes_room() -> None:
    engine = Engine(Machine(slots=1))
    running, waiting, gone = Request(1000), Request(100), Request(100)
    for request in (running, gone, waiting):
        engine.submit(request, 0.0)
    engine.abort(gone, 1.0)
    engine.abort(running, 1.0)
    assert finish_all(engine) == [waiting]
    assert waiting.finished_at == pytest.approx(3.0)


def test_reading_a_prompt_stops_all_steps() -> None:
    engine = Engine(Machine(prefill_rate=1000))
    first = Request(100)
    engine.submit(first, 0.0)
    engine.submit(Request(200, prompt_tokens=500), 1.0)
    assert engine.finish() is first
    assert first.finished_at == pytest.approx(2.5)


def test_a_cached_prefix_is_read_once() -> None:
    machine = Machine(prefill_rate=1000, cached_prefixes=2)

    def ask(engine: Engine, prefix: str) -> Request:
        request = Request(1, 1000, prefix, 900)
        engine.submit(request, engine.now)
        engine.finish()
        return request

    engine = Engine(machine)
    assert [ask(engine, prefix).is_hit for prefix in "aabbaab"] == [False, True, False, True, True, True, True]
    again = ask(engine, "a")
    assert (again.cached_tokens, again.finished_at - again.submitted_at) == (900, pytest.approx(0.12))
    assert [ask(engine, prefix).is_hit for prefix in "caba"] == [False, True, False, True]  # c drops b, b drops c
    assert (engine.hits, engine.misses) == (8, 4)


def test_a_prefix_is_not_there_while_it_is_read_for_the_first_time() -> None:
    engine = Engine(Machine(prefill_rate=1000, cached_prefixes=2))
    requests = [Request(1, 1000, "a", 900) for _ in range(3)]
    for request in requests:
        engine.submit(request, 0.0)
    assert [request.is_hit for request in requests] == [False] * 3


@pytest.mark.parametrize("number", [4, 16, 32])
def test_goodput_is_what_the_formula_says(number: int) -> None:
    machine = Machine(knee=16, slots=24, prefill_rate=10_000)
    engine = Engine(machine)
    done, until = 0, 400.0
    for _ in range(number):
        engine.submit(Request(60, 80), 0.0)
    while engine.now < until:
        engine.finish()
        done += 1
        engine.submit(Request(60, 80), engine.now)
    assert done * 70 / until == pytest.approx(machine.goodput(number, 60, 80), rel=0.03)
