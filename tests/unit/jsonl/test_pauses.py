"""A line check pauses for the other threads after some work, not after each slice."""

import time

import pytest

from filestead.domain.files import digester
from filestead.domain.files.digester import WORK_SECONDS, Pauses


def count_sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    sleeps: list[float] = []
    sleep = time.sleep

    def counted(seconds: float) -> None:
        sleeps.append(seconds)
        sleep(seconds)

    monkeypatch.setattr(digester.time, "sleep", counted)
    return sleeps


def test_there_are_no_more_pauses_than_the_work_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps = count_sleeps(monkeypatch)
    began = time.perf_counter()
    pauses = Pauses()
    for _ in range(10_000):
        pauses()
    assert len(sleeps) <= (time.perf_counter() - began) / WORK_SECONDS


def test_after_some_work_there_is_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps = count_sleeps(monkeypatch)
    pauses = Pauses()
    for _ in range(3):
        until = time.perf_counter() + WORK_SECONDS
        while time.perf_counter() < until:
            pass
        pauses()
    assert sleeps == [digester.PAUSE_SECONDS] * 3
