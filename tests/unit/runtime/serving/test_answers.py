"""Answers are bounded: what would be too large is not computed, and ranking holds a part of all items at a time."""

from __future__ import annotations

import numpy as np
import pytest

from fljob_runtime.serving.answers import MAX_VALUES, Answers
from fljob_runtime.serving.feeds import Feed, FeedError
from fljob_runtime.serving.served import Exported

PAIR = (Feed("item", (), 40_000), Feed("x", (2,)))


def test_an_answer_too_large_is_refused_before_it_is_computed() -> None:
    asked: list[int] = []

    def run(columns: list[np.ndarray]) -> np.ndarray:
        asked.append(len(columns[0]))
        return np.zeros((len(columns[0]), MAX_VALUES // 2), np.float32)

    answers = Answers(Exported({}, (Feed("x"),), "scores", run, width=MAX_VALUES // 2))
    with pytest.raises(FeedError, match="would have 1572864 values, and may have 1048576: send fewer rows"):
        answers.score({"x": [1, 2, 3]})
    assert asked == []
    assert answers.score({"x": [1, 2]}).size == MAX_VALUES


def test_items_are_ranked_a_part_at_a_time() -> None:
    sizes: list[int] = []

    def run(columns: list[np.ndarray]) -> np.ndarray:
        sizes.append(len(columns[1]))
        scores: np.ndarray = -np.abs(columns[0] - columns[1].sum(1))
        return scores

    ids, scores = Answers(Exported({}, PAIR, "probability", run)).top_k({"x": [[20_000, 345]]}, 3)
    assert (ids.tolist(), scores.tolist()) == ([20_345, 20_344, 20_346], [0, -1, -1])
    assert sizes == [16_384, 16_384, 7_232]


@pytest.mark.parametrize("target", ["probability", "scores"])
def test_an_example_whose_scores_are_not_finite_is_not_ranked(target: str) -> None:
    def run(columns: list[np.ndarray]) -> np.ndarray:
        scores = np.where(columns[-1] > 9, np.nan, columns[-1])
        return scores if target == "probability" else np.stack([scores, scores], 1)

    feeds = (Feed("item", (), 3), Feed("x"))[target == "scores" :]
    answers = Answers(Exported({}, feeds, target, run))
    assert answers.top_k({"x": [8]}, 1)[1].tolist() == [8]
    with pytest.raises(FeedError, match=r"^row 0: the model's output is not finite for these numbers"):
        answers.top_k({"x": [10]}, 1)
