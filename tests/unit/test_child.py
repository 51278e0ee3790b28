"""A check in a process of its own: its refusal arrives, and so does its end without one."""

import os
import signal

import pytest

from filestead.domain.errors import CannotStart, DomainError
from filestead.installation.child import in_a_child


def test_a_check_that_passes() -> None:
    in_a_child(lambda: None)


def test_a_refusal_arrives_with_its_message() -> None:
    def check() -> None:
        raise DomainError("the bucket is missing: crée-le")

    with pytest.raises(CannotStart, match="the bucket is missing: crée-le"):
        in_a_child(check)


@pytest.mark.parametrize("check", [lambda: 1 // 0, lambda: os.kill(os.getpid(), signal.SIGKILL)])
def test_an_end_without_a_result_is_no_pass(check: object) -> None:
    with pytest.raises(CannotStart, match="without a result"):
        in_a_child(check)  # type: ignore[arg-type]


def test_it_is_another_process() -> None:
    def check() -> None:
        raise DomainError(str(os.getpid()))

    with pytest.raises(CannotStart) as refusal:
        in_a_child(check)
    assert int(str(refusal.value)) != os.getpid()
