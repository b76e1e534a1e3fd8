"""Generated sessions: the best recall by hand, one chain for all sites, everything from the seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fljob_runtime.data.datasets import OpenRequest
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.synthetic_sessions import SyntheticSessions, SyntheticSessionsParameters
from fljob_runtime.schema import PADDING


def made(index: int = 0, seed: int = 0, **parameters: float) -> SyntheticSessions:
    request = OpenRequest(f"site-{index}", index, 2, seed, None)
    return SyntheticSessions(SyntheticSessionsParameters.model_validate(parameters), request)


def sessions(data: SyntheticSessions) -> np.ndarray:
    values: np.ndarray = data.held_out().examples.columns["items"]
    return values


def test_the_best_recall_is_the_share_of_the_likeliest_successors() -> None:
    data = made(items=4, exponent=1.0)  # 1, 1/2, 1/3 and 1/4 of 25/12
    assert data.best_recall(2) == pytest.approx(1.5 * 12 / 25)
    assert data.best_recall(4) == pytest.approx(1.0)


def test_one_successor_is_likeliest_at_all_sites() -> None:
    follows: dict[int, set[int]] = {}
    for index in range(2):
        rows = sessions(made(index, items=6, exponent=10.0, test_per_site=50))
        for before, after in zip(rows[:, :-1].flat, rows[:, 1:].flat, strict=True):
            if after != PADDING:
                follows.setdefault(int(before), set()).add(int(after))
    assert sorted(follows) == list(range(6))
    assert sum(len(after) for after in follows.values()) <= 8  # the second successor comes once in 1,025


def test_sites_differ_and_each_follows_from_the_seed() -> None:
    assert (sessions(made()) == sessions(made())).all()
    assert (sessions(made(1)) != sessions(made())).any()
    assert (sessions(made(seed=1)) != sessions(made())).any()


def test_sessions_have_two_items_at_least() -> None:
    rows = sessions(made(longest=3))
    assert set((rows != PADDING).sum(1).tolist()) == {2, 3}


def test_a_folder_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="makes its own data"):
        SyntheticSessions(SyntheticSessionsParameters(), OpenRequest("site-0", 0, 1, 0, tmp_path))
