"""Differences of values, and error feedback over rounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fljob_runtime.parameters import ModelState, RowSet, Scope
from fljob_runtime.roles.compressing import Compressing
from fljob_runtime.roles.private_state import PrivateStore
from support.shards import LAYOUT, update

BASE = update(1.0, {2: 1.0, 3: 2.0, 9: 3.0})
NEW = update(1.75, {3: 2.5, 9: 1.0})


def opened(tmp_path: Path) -> Compressing:
    return Compressing(PrivateStore(tmp_path, LAYOUT, job_uid="u", scope=Scope.SHARED))


def halved(state: ModelState) -> ModelState:
    """Stand for a codec that sends half of everything."""
    dense = {name: value / np.float32(2.0) for name, value in state.dense.items()}
    return ModelState(dense, {n: RowSet(r.ids, r.values / np.float32(2.0)) for n, r in state.rows.items()})


def first(state: ModelState) -> tuple[float, list[float]]:
    return float(state.dense["weight"][0, 0]), state.rows["items"].values[:, 0].tolist()


def test_an_update_is_how_far_values_moved() -> None:
    due = Compressing(None).due(1, BASE, NEW)
    assert first(due) == (0.75, [0.5, -2.0])
    assert due.rows["items"].weights.tolist() == [1.0, 1.0]


def test_a_row_that_was_not_pulled_is_an_error() -> None:
    with pytest.raises(KeyError, match="4"):
        Compressing(None).due(1, BASE, update(1.0, {4: 1.0}))


def test_what_was_not_sent_is_due_in_the_next_round(tmp_path: Path) -> None:
    compressing = opened(tmp_path)
    compressing.keep(1, compressing.due(1, BASE, NEW), halved)
    assert first(compressing.due(2, BASE, NEW)) == (1.125, [0.75, -3.0])


def test_a_row_waits_until_it_is_touched_again(tmp_path: Path) -> None:
    compressing = opened(tmp_path)
    compressing.keep(1, compressing.due(1, BASE, NEW), halved)
    compressing.keep(2, compressing.due(2, BASE, update(1.0, {2: 1.0})), halved)
    assert first(compressing.due(3, BASE, NEW))[1] == [0.75, -3.0]


def test_what_is_kept_outlives_the_process(tmp_path: Path) -> None:
    compressing = opened(tmp_path)
    compressing.keep(1, compressing.due(1, BASE, NEW), halved)
    assert first(opened(tmp_path).due(2, BASE, NEW)) == first(compressing.due(2, BASE, NEW))


def test_a_round_done_again_begins_with_what_the_one_before_left(tmp_path: Path) -> None:
    compressing = opened(tmp_path)
    compressing.keep(1, compressing.due(1, BASE, NEW), halved)
    before = first(compressing.due(2, BASE, NEW))
    compressing.keep(2, compressing.due(2, BASE, NEW), halved)
    compressing.discard_after(1)
    assert first(compressing.due(2, BASE, NEW)) == before


@pytest.mark.parametrize("rounds", [1, 5])
def test_all_that_was_sent_and_what_is_left_make_the_whole_way(tmp_path: Path, rounds: int) -> None:
    compressing, sent = opened(tmp_path), 0.0
    for number in range(1, rounds + 1):
        due = compressing.due(number, BASE, NEW)
        sent += first(halved(due))[0]
        compressing.keep(number, due, halved)
    left = first(compressing.due(rounds + 1, BASE, update(1.0, {3: 2.0})))[0]
    assert sent + left == 0.75 * rounds
