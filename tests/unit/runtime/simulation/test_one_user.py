"""A user's ratings as a client's data: the split by time, rivals, and what negatives are drawn against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fljob_runtime.data.errors import DataError
from fljob_runtime.simulation.one_user import drawer, generated, read_ratings, rivals

LINES = ["7\t10\t5\t300", "7\t20\t3\t100", "7\t30\t4\t200", "3\t10\t1\t5", "3\t40\t1\t7", "3\t20\t1\t6", "3\t50\t2\t1"]


def written(tmp_path: Path, lines: list[str]) -> Path:
    path = tmp_path / "u.data"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_last_rating_is_the_test_and_the_one_before_chooses_the_round(tmp_path: Path) -> None:
    split = read_ratings(written(tmp_path, LINES))  # users 3, 7 and items 10, 20, 30, 40, 50 by number
    assert (split.test.tolist(), split.valid.tolist()) == ([3, 0], [1, 2])
    assert (split.users.tolist(), split.items.tolist()) == ([0, 0, 1], [4, 0, 1])


def test_among_ratings_of_one_second_the_files_order_counts(tmp_path: Path) -> None:
    split = read_ratings(written(tmp_path, ["1\t30\t5\t9", "1\t10\t5\t9", "1\t20\t5\t9"]))
    assert (split.items.tolist(), split.valid.tolist(), split.test.tolist()) == ([2], [0], [1])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*LINES, "7\t10"], "cannot be read"),
        ([*LINES, "7\tx\t1\t1"], "cannot be read"),
        (LINES[:5], "user 3 has fewer than 3 ratings"),
    ],
)
def test_faults_are_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_ratings(written(tmp_path, lines))


def test_no_rival_was_ever_rated_by_its_user() -> None:
    split = generated(20, 300, 30, 0)
    seen = set(zip(*map(np.ndarray.tolist, split.positives(with_held_out=True)), strict=True))
    for drawn in rivals(split, np.random.default_rng(0)):
        assert drawn.shape == (20, 99)
        assert not seen & {(user, item) for user, items in enumerate(drawn.tolist()) for item in items}


def test_only_the_leaky_protocol_spares_held_out_items_as_negatives() -> None:
    split = generated(20, 60, 30, 0)
    held_out = set(enumerate(split.test.tolist())) | set(enumerate(split.valid.tolist()))

    def drawn(*, leaky: bool) -> set[tuple[int, int]]:
        negatives = drawer(split, leaky=leaky).draw_negatives(4, np.random.default_rng(0))
        users = split.users if not leaky else split.positives(with_held_out=True)[0]
        return set(zip(users.repeat(4).tolist(), negatives.tolist(), strict=True))

    assert drawn(leaky=False) & held_out
    assert not drawn(leaky=True) & held_out
