"""A model that is served is asked a part after the other, says which row it cannot score, and ranks as a sort does."""

from __future__ import annotations

import numpy as np
import pytest

from fljob_runtime.serving.feeds import Feed, FeedError
from fljob_runtime.serving.served import Exported, best

SCORES = np.array([[1, 3, 3, 2, 3], [0, 0, 0, 0, 0], [5, 4, 3, 2, 1]], np.float32)


def parts_of(width: int, feed: Feed, rows: int) -> list[int]:
    """Return how many rows a model of so wide an output is asked for at a time."""
    sizes: list[int] = []

    def run(columns: list[np.ndarray]) -> np.ndarray:
        sizes.append(len(columns[0]))
        return np.zeros(len(columns[0]), np.float32)

    Exported({}, (feed,), "scores", run, width=width).score({"x": np.zeros((rows, *feed.shape), np.float32)})
    return sizes


@pytest.mark.parametrize(
    ("width", "shape", "sizes"),
    [(1, (), [16_384, 3_616]), (1023, (), [4096] * 4 + [3616]), (1, (1023,), [4096] * 4 + [3616])],
)
def test_a_part_has_the_fewer_rows_the_more_values_go_in_or_come_out(
    width: int, shape: tuple[int, ...], sizes: list[int]
) -> None:
    assert parts_of(width, Feed("x", shape), 20_000) == sizes


def test_a_part_has_a_row_however_wide_the_output() -> None:
    assert parts_of(1 << 23, Feed("x"), 2) == [1, 1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_whose_output_is_not_finite_is_named(bad: float) -> None:
    model = Exported({}, (Feed("x"),), "scores", lambda columns: np.stack([columns[0], columns[0]], 1), width=1 << 21)
    values = np.array([0, 1, 2, bad, bad], np.float32)
    with pytest.raises(FeedError, match="row 3: the model's output is not finite"):
        model.score({"x": values})


@pytest.mark.parametrize(
    ("count", "places"),
    [
        (1, [[1], [0], [0]]),
        (2, [[1, 2], [0, 1], [0, 1]]),
        (4, [[1, 2, 4, 3], [0, 1, 2, 3], [0, 1, 2, 3]]),
        (5, [[1, 2, 4, 3, 0], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]),
        (9, [[1, 2, 4, 3, 0], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]),
    ],
)
def test_of_equal_scores_the_first_is_the_best(count: int, places: list[list[int]]) -> None:
    assert best(SCORES, count).tolist() == places


def test_the_best_are_those_of_a_stable_sort() -> None:
    scores = np.random.default_rng(0).integers(0, 40, (20, 300)).astype(np.float32)
    assert np.array_equal(best(scores, 50), np.argsort(-scores, axis=1, kind="stable")[:, :50])
