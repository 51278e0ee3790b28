"""The checker of histories accepts what several nodes may do, and refuses what they must not do."""

import itertools
import random

import pytest

from tests.nodes.histories import FOREVER, TRANSITIONS, Kind, Operation, describe, is_linearizable

pytestmark = pytest.mark.embedded("is about no installation")


def history(*operations: tuple[Kind, str, float, float]) -> list[Operation]:
    return [Operation("f", kind, "c", started, outcome, ended) for kind, outcome, started, ended in operations]


CREATED: tuple[Kind, str, float, float] = ("create", "done", 0, 1)
GOOD = {
    "nothing": history(),
    "one after the other": history(
        ("read", "missing", -2, -1),
        CREATED,
        ("read", "found", 2, 3),
        ("delete", "done", 4, 5),
        ("read", "missing", 6, 7),
    ),
    "a read beside the creation finds it": history(("read", "found", 0.5, 0.6), CREATED),
    "a read beside the creation misses it": history(CREATED, ("read", "missing", 0.5, 0.6)),
    "reads beside a delete, in its order": history(
        CREATED, ("delete", "done", 2, 9), ("read", "found", 3, 4), ("read", "missing", 5, 6)
    ),
    "a creation without an answer has happened": history(
        ("create", "unknown", 0, FOREVER), ("read", "missing", 1, 2), ("read", "found", 3, 4)
    ),
    "a creation without an answer has not happened": history(
        ("create", "unknown", 0, FOREVER), ("read", "missing", 1, 2), ("delete", "missing", 3, 4)
    ),
    "a delete without an answer happens late": history(
        CREATED, ("delete", "unknown", 2, FOREVER), ("read", "found", 3, 4), ("read", "missing", 5, 6)
    ),
    "of two deletes the one without an answer has won": history(
        CREATED, ("delete", "unknown", 2, FOREVER), ("delete", "missing", 3, 4)
    ),
    "a repeated creation": history(
        CREATED, ("create", "done", 2, 3), ("delete", "done", 4, 5), ("create", "spent", 6, 7)
    ),
    "many without an answer": history(
        CREATED, *[("delete", "unknown", 2 + n, FOREVER) for n in range(30)], ("read", "found", 90, 91)
    ),
}
BAD = {
    "found before the creation": history(("read", "found", -2, -1), CREATED),
    "missing after the creation": history(CREATED, ("read", "missing", 2, 3)),
    "found after the delete": history(CREATED, ("delete", "done", 2, 3), ("read", "found", 4, 5)),
    "found, although an overlapping read has missed it before": history(
        CREATED, ("delete", "done", 2, 9), ("read", "missing", 3, 4), ("read", "found", 5, 6)
    ),
    "a lost creation, as a later read found it": history(
        ("create", "unknown", 0, FOREVER), ("read", "found", 1, 2), ("read", "missing", 3, 4)
    ),
    "deleted twice": history(CREATED, ("delete", "done", 2, 3), ("delete", "done", 4, 5)),
    "deleted twice at the same time": history(CREATED, ("delete", "done", 2, 5), ("delete", "done", 2, 5)),
    "deleted, and never created": history(("delete", "done", 2, 3)),
    "back after a delete without an answer": history(
        CREATED, ("delete", "unknown", 2, FOREVER), ("read", "missing", 3, 4), ("read", "found", 5, 6)
    ),
    "created again": history(CREATED, ("delete", "done", 2, 3), ("create", "done", 4, 5)),
    "refused as deleted while it is there": history(CREATED, ("create", "spent", 2, 3), ("read", "found", 4, 5)),
}


@pytest.mark.parametrize("operations", GOOD.values(), ids=GOOD)
def test_the_checker_accepts(operations: list[Operation]) -> None:
    assert is_linearizable(operations)


@pytest.mark.parametrize("operations", BAD.values(), ids=BAD)
def test_the_checker_refuses(operations: list[Operation]) -> None:
    assert not is_linearizable(operations)


@pytest.mark.parametrize("seed", range(20))
def test_the_checker_agrees_with_trying_every_order(seed: int) -> None:
    dice = random.Random(seed)
    verdicts = []
    for _ in range(50):
        operations = []
        for _ in range(dice.randint(1, 5)):
            kind, outcome = dice.choice(list(TRANSITIONS))
            started = dice.uniform(0, 10)
            ended = FOREVER if outcome == "unknown" else started + dice.uniform(0, 5)
            operations.append(Operation("f", kind, "c", started, outcome, ended))
        verdicts.append(is_linearizable(operations))
        assert verdicts[-1] == explained(operations), describe(operations)
    assert {True, False} == set(verdicts)


def explained(operations: list[Operation]) -> bool:
    """The definition: some order of the known operations, and of some of the others, explains the outcomes."""
    known = [one for one in operations if one.ended < FOREVER]
    unknown = [one for one in operations if one.ended == FOREVER]
    for count in range(len(unknown) + 1):
        for chosen in itertools.combinations(unknown, count):
            for order in itertools.permutations([*known, *chosen]):
                if any(later.ended < one.started for one, later in itertools.combinations(order, 2)):
                    continue
                state = "absent"
                for one in order:
                    state = TRANSITIONS[one.kind, one.outcome].get(state, "")  # type: ignore[call-overload]
                if state:
                    return True
    return False
