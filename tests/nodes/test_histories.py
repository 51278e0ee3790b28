"""The checker of histories accepts what several nodes may do, and refuses what they must not do."""

import itertools
import random

import pytest

from tests.nodes.histories import (
    BATCH,
    FILE,
    FOREVER,
    MODELS,
    UNKNOWN,
    UPLOAD,
    Model,
    Operation,
    describe,
    is_linearizable,
)

pytestmark = pytest.mark.embedded("is about no installation")


Made = tuple[str, str, float, float]


def history(*operations: Made) -> list[Operation]:
    return [Operation("f", kind, "c", started, outcome, ended) for kind, outcome, started, ended in operations]


CREATED: Made = ("create", "done", 0, 1)
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
        ("create", UNKNOWN, 0, FOREVER), ("read", "missing", 1, 2), ("read", "found", 3, 4)
    ),
    "a creation without an answer has not happened": history(
        ("create", UNKNOWN, 0, FOREVER), ("read", "missing", 1, 2), ("delete", "missing", 3, 4)
    ),
    "a delete without an answer happens late": history(
        CREATED, ("delete", UNKNOWN, 2, FOREVER), ("read", "found", 3, 4), ("read", "missing", 5, 6)
    ),
    "of two deletes the one without an answer has won": history(
        CREATED, ("delete", UNKNOWN, 2, FOREVER), ("delete", "missing", 3, 4)
    ),
    "a repeated creation": history(
        CREATED, ("create", "done", 2, 3), ("delete", "done", 4, 5), ("create", "spent", 6, 7)
    ),
    "many without an answer": history(
        CREATED, *[("delete", UNKNOWN, 2 + n, FOREVER) for n in range(30)], ("read", "found", 90, 91)
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
        ("create", UNKNOWN, 0, FOREVER), ("read", "found", 1, 2), ("read", "missing", 3, 4)
    ),
    "deleted twice": history(CREATED, ("delete", "done", 2, 3), ("delete", "done", 4, 5)),
    "deleted twice at the same time": history(CREATED, ("delete", "done", 2, 5), ("delete", "done", 2, 5)),
    "deleted, and never created": history(("delete", "done", 2, 3)),
    "back after a delete without an answer": history(
        CREATED, ("delete", UNKNOWN, 2, FOREVER), ("read", "missing", 3, 4), ("read", "found", 5, 6)
    ),
    "created again": history(CREATED, ("delete", "done", 2, 3), ("create", "done", 4, 5)),
    "refused as deleted while it is there": history(CREATED, ("create", "spent", 2, 3), ("read", "found", 4, 5)),
}


ATTACHED: Made = ("attach", "done", 2, 3)
GOOD_ATTACHMENTS = {
    "one after the other": history(
        CREATED,
        ("look", "missing", 1.2, 1.4),
        ATTACHED,
        ("look", "found", 4, 5),
        ("detach", "done", 6, 7),
        ("look", "missing", 8, 9),
        ("read", "found", 8, 9),
        ("attach", "done", 10, 11),
        ("look", "found", 12, 13),
    ),
    "attached again beside a detachment, in its order": history(
        CREATED, ATTACHED, ("attach", "done", 4, 9), ("detach", "done", 4, 9), ("look", "found", 10, 11)
    ),
    "an attachment without an answer happens after a detachment": history(
        CREATED, ATTACHED, ("attach", UNKNOWN, 4, FOREVER), ("detach", "done", 5, 6), ("look", "found", 7, 8)
    ),
    "deleted beside a look": history(CREATED, ATTACHED, ("delete", "done", 4, 9), ("look", "found", 5, 6)),
    "deleted, and not to be attached": history(
        CREATED, ATTACHED, ("delete", "done", 4, 5), ("attach", "missing", 6, 7), ("detach", "missing", 6, 7)
    ),
}
BAD_ATTACHMENTS = {
    "in the vector store after the delete": history(
        CREATED, ATTACHED, ("delete", "done", 4, 5), ("look", "found", 6, 7)
    ),
    "not in the vector store": history(CREATED, ATTACHED, ("look", "missing", 4, 5)),
    "in it after it was detached": history(CREATED, ATTACHED, ("detach", "done", 4, 5), ("look", "found", 6, 7)),
    "detached twice": history(CREATED, ATTACHED, ("detach", "done", 4, 5), ("detach", "done", 6, 7)),
    "attached after the delete": history(CREATED, ("delete", "done", 1.2, 1.4), ATTACHED),
    "in it twice by one attachment without an answer": history(
        CREATED,
        ("attach", UNKNOWN, 2, FOREVER),
        ("look", "found", 3, 4),
        ("detach", "done", 5, 6),
        ("look", "found", 7, 8),
    ),
}
GOOD_UPLOADS = {
    "completed, and once more": history(
        ("add", "done", 0, 1), ("read", "missing", 1, 2), ("complete", "done", 3, 4), ("complete", "done", 5, 6),
        ("read", "found", 7, 8), ("cancel", "over", 9, 10), ("add", "over", 9, 10),
    ),
    "cancelled beside a completion": history(("complete", "over", 0, 9), ("cancel", "done", 0, 9)),
    "completed without an answer": history(("complete", UNKNOWN, 0, FOREVER), ("cancel", "over", 2, 3)),
}  # fmt: skip
BAD_UPLOADS = {
    "completed and cancelled": history(("complete", "done", 0, 9), ("cancel", "done", 0, 9)),
    "a file of an upload that was cancelled": history(("cancel", "done", 0, 1), ("read", "found", 2, 3)),
    "no file of a completed upload": history(("complete", "done", 0, 1), ("read", "missing", 2, 3)),
    "a part after the completion": history(("complete", "done", 0, 1), ("add", "done", 2, 3)),
    "refused as over while it is pending": history(("cancel", "over", 0, 1), ("add", "done", 2, 3)),
}
STARTED: Made = ("create", "running", 0, 1)
GOOD_BATCHES = {
    "cancelled": history(
        ("read", "missing", -2, -1), STARTED, ("read", "running", 2, 3), ("cancel", "cancelling", 4, 5),
        ("read", "cancelling", 6, 7), ("read", "cancelled", 8, 9), ("create", "cancelled", 10, 11),
        ("cancel", "cancelled", 10, 11),
    ),
    "cancelled by a request without an answer": history(
        STARTED, ("cancel", UNKNOWN, 2, FOREVER), ("read", "running", 3, 4), ("read", "cancelled", 5, 6)
    ),
}  # fmt: skip
BAD_BATCHES = {
    "runs again": history(STARTED, ("cancel", "cancelling", 2, 3), ("read", "running", 4, 5)),
    "cancelled by nobody": history(STARTED, ("read", "cancelling", 2, 3)),
    "back from its end": history(
        STARTED, ("cancel", "cancelling", 2, 3), ("read", "cancelled", 4, 5), ("read", "cancelling", 6, 7)
    ),
    "forgotten": history(STARTED, ("read", "missing", 2, 3)),
}


def named(**groups: tuple[Model, dict[str, list[Operation]]]) -> list[object]:
    """Cases of tests."""
    return [
        pytest.param(model, operations, id=f"{group}: {name}")
        for group, (model, histories) in groups.items()
        for name, operations in histories.items()
    ]


@pytest.mark.parametrize(
    ("model", "operations"),
    named(
        files=(FILE, GOOD),
        attachments=(FILE, GOOD_ATTACHMENTS),
        uploads=(UPLOAD, GOOD_UPLOADS),
        batches=(BATCH, GOOD_BATCHES),
    ),
)
def test_the_checker_accepts(model: Model, operations: list[Operation]) -> None:
    assert is_linearizable(model, operations)


@pytest.mark.parametrize(
    ("model", "operations"),
    named(
        files=(FILE, BAD),
        attachments=(FILE, BAD_ATTACHMENTS),
        uploads=(UPLOAD, BAD_UPLOADS),
        batches=(BATCH, BAD_BATCHES),
    ),
)
def test_the_checker_refuses(model: Model, operations: list[Operation]) -> None:
    assert not is_linearizable(model, operations)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("seed", range(10))
def test_the_checker_agrees_with_trying_every_order(model: Model, seed: int) -> None:
    dice = random.Random(seed)
    verdicts = []
    for _ in range(100):
        operations = []
        for _ in range(dice.randint(1, 5)):
            kind, outcome = dice.choice(list(model.transitions))
            started = dice.uniform(0, 10)
            ended = FOREVER if outcome == UNKNOWN else started + dice.uniform(0, 5)
            operations.append(Operation("f", kind, "c", started, outcome, ended))
        verdicts.append(is_linearizable(model, operations))
        assert verdicts[-1] == explained(model, operations), describe(model, operations)
    assert {True, False} == set(verdicts)


def explained(model: Model, operations: list[Operation]) -> bool:
    """The definition: some order of the known operations, and of some of the others, explains the outcomes."""
    known = [one for one in operations if one.ended < FOREVER]
    unknown = [one for one in operations if one.ended == FOREVER]
    for count in range(len(unknown) + 1):
        for chosen in itertools.combinations(unknown, count):
            for order in itertools.permutations([*known, *chosen]):
                if any(later.ended < one.started for one, later in itertools.combinations(order, 2)):
                    continue
                state: str | None = model.start
                for one in order:
                    state = model.transitions[one.kind, one.outcome].get(state or "")
                if state:
                    return True
    return False
