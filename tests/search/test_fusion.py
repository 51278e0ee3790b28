"""Reciprocal rank fusion."""

import pytest

from filestead.search.fusion import reciprocal_rank_fusion


def test_what_is_first_everywhere_has_the_score_one() -> None:
    assert reciprocal_rank_fusion([["a", "b"], ["a", "c"]])[0] == ("a", 1.0)


def test_two_middle_ranks_beat_one_first() -> None:
    keys = [key for key, _ in reciprocal_rank_fusion([["a", "b", "c"], ["d", "b", "e"]])]
    assert keys == ["b", "a", "d", "c", "e"]


def test_scores_are_shares_of_the_best_attainable() -> None:
    fused = dict(reciprocal_rank_fusion([[1, 2], [2]], weights=[1, 0.5], k=10))
    best = 1 / 11 + 0.5 / 11
    assert fused == pytest.approx({1: 1 / 11 / best, 2: (1 / 12 + 0.5 / 11) / best})


def test_equal_scores_are_ordered_by_key() -> None:
    assert [key for key, _ in reciprocal_rank_fusion([[(2, 0), (3, 0)], [(1, 9), (1, 1)]])] == [
        (1, 9),
        (2, 0),
        (1, 1),
        (3, 0),
    ]


def test_nothing() -> None:
    assert reciprocal_rank_fusion([]) == reciprocal_rank_fusion([[], []]) == []


def test_there_is_a_weight_for_each_ranking() -> None:
    with pytest.raises(ValueError, match="zip"):
        reciprocal_rank_fusion([["a"]], weights=[1, 2])
