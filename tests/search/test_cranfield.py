"""Quality of the ranking on a judged collection: all questions, as they take two seconds."""

from pathlib import Path

import pytest

from tests.support import cranfield

FLOOR = 0.385


@pytest.mark.data
def test_the_questions_are_ranked_as_well_as_promised(conformance_data: Path) -> None:
    collected = cranfield.load(conformance_data)
    assert cranfield.mean_ndcg(collected, collected.questions) >= FLOOR
