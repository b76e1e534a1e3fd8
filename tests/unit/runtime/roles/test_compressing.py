"""Differences of values, and error feedback over rounds and over the exchanges of a round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fljob_api.strategy import CompressorSpec
from fljob_runtime.compression.chain import make
from fljob_runtime.parameters import ModelState, RowSet, Scope
from fljob_runtime.roles.compressing import Compressing, Unsent
from fljob_runtime.roles.private_state import PrivateStore
from fljob_runtime.transport.encode import Coding, received_update
from support.shards import DIM, LAYOUT, NUM_ITEMS, update

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


# Exchanges of a round.

NOTHING = ModelState({}, {})


def begun(compressing: Compressing, round_number: int, *, whole: bool = True) -> Unsent:
    unsent = compressing.begin(round_number, whole=whole)
    assert unsent is not None
    return unsent


def exchanged(unsent: Unsent, contribution: ModelState) -> ModelState:
    """Let an exchange that counts send half of what is due; return that."""
    due = unsent.due(contribution)
    unsent.keep(due, halved(due))
    return halved(due)


def test_codecs_without_feedback_leave_nothing_to_exchanges() -> None:
    assert Compressing(None).begin(1, whole=True) is None


def test_what_an_exchange_left_goes_with_the_next_one_that_touches_the_row(tmp_path: Path) -> None:
    unsent = begun(opened(tmp_path), 1)
    exchanged(unsent, update(1.0, {3: 4.0}))
    assert first(exchanged(unsent, update(1.0, {2: 8.0}))) == (0.75, [4.0])
    assert first(unsent.due(update(0.0, {2: 0.0, 3: 0.0, 9: 1.0}))) == (0.75, [4.0, 2.0, 1.0])


def test_what_a_round_of_exchanges_left_goes_with_the_next_round(tmp_path: Path) -> None:
    compressing = opened(tmp_path)
    unsent = begun(compressing, 1)
    exchanged(unsent, update(1.0, {3: 4.0}))
    compressing.end(1, unsent)
    assert first(begun(opened(tmp_path), 2).due(update(0.0, {3: 0.0}))) == (0.5, [2.0])


def test_a_round_begun_again_begins_with_what_the_round_before_left(tmp_path: Path) -> None:
    compressing = opened(tmp_path)
    unsent = begun(compressing, 1)
    exchanged(unsent, update(1.0, {3: 4.0}))
    compressing.end(1, unsent)
    exchanged(begun(compressing, 2), update(16.0, {3: 16.0}))
    assert first(begun(compressing, 2).due(update(0.0, {3: 0.0}))) == (0.5, [2.0])


@pytest.mark.parametrize("ends", [True, False])
def test_a_trainer_started_anew_within_a_round_sends_nothing_twice(tmp_path: Path, *, ends: bool) -> None:
    compressing = opened(tmp_path)
    unsent = begun(compressing, 1)
    exchanged(unsent, update(1.0, {3: 4.0}))
    compressing.end(1, unsent)
    if ends:  # the servers had all exchanges of round 2
        compressing.end(2, None)
        again = begun(compressing, 3)
    else:
        again = begun(compressing, 2, whole=False)
    assert first(again.due(update(0.0, {3: 0.0}))) == (0.0, [0.0])


def test_the_end_of_a_round_that_is_known_is_not_written_over(tmp_path: Path) -> None:
    compressing = opened(tmp_path)
    unsent = begun(compressing, 1)
    exchanged(unsent, update(1.0, {3: 4.0}))
    compressing.end(1, unsent)
    compressing.end(1, None)
    assert first(begun(compressing, 2).due(update(0.0, {3: 0.0}))) == (0.5, [2.0])


ROWS = st.dictionaries(st.integers(0, NUM_ITEMS - 1), st.floats(-100, 100, width=32), min_size=1, max_size=8)
CONTRIBUTIONS = st.lists(st.builds(update, st.floats(-100, 100, width=32), ROWS), min_size=1, max_size=6)


def added(total: tuple[np.ndarray, np.ndarray], state: ModelState) -> None:
    """Add a state to dense totals and to totals of all rows, in float64."""
    for name, value in state.dense.items():
        total[0][: value.size] += value.reshape(-1) * (1.0 if name == "weight" else 3.0)
    for rows in state.rows.values():
        total[1][rows.ids] += rows.values


@pytest.mark.parametrize("names", [("topK",), ("sketch",), ("topK", "int8"), ("sketch", "int4"), ("topK", "fp16")])
@pytest.mark.parametrize("shards", [1, 3])
@given(contributions=CONTRIBUTIONS)
@settings(max_examples=25, deadline=None)
def test_all_that_was_sent_and_what_is_left_are_the_true_contributions(
    names: tuple[str, ...], shards: int, contributions: list[ModelState]
) -> None:
    chain = make([CompressorSpec(name=name) for name in names], 0)
    assert chain is not None
    unsent = Unsent(NOTHING)
    true, found = ((np.zeros(9), np.zeros((NUM_ITEMS, DIM))) for _ in range(2))
    for sequence, contribution in enumerate(contributions, start=1):
        due = unsent.due(contribution)
        received = received_update(LAYOUT, due, shards, Coding(chain, 1, sequence, "a"))
        unsent.keep(due, received)
        added(true, contribution)
        added(found, received)
    added(found, unsent.state)
    assert np.allclose(found[0], true[0], atol=1e-2)
    assert np.allclose(found[1], true[1], atol=1e-2)
