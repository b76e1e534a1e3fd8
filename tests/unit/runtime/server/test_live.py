"""A round in which values change: numbered exchanges, steps that wait for all, and the cut at its end."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fljob_api.strategy import RowAveraging, Weighting
from fljob_runtime.algorithms.async_sgd import Async
from fljob_runtime.algorithms.exchange import ExchangeRule
from fljob_runtime.algorithms.geo import Geo
from fljob_runtime.algorithms.server_optimizers import make
from fljob_runtime.algorithms.step_sync import StepSync
from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.errors import MalformedError, NotReadyError, StaleError
from fljob_runtime.messages import CommitResult
from fljob_runtime.parameters import ModelState
from fljob_runtime.server.live import Answer, Exchange
from fljob_runtime.server.shard import Named, Shard
from fljob_runtime.transport.encode import encode_update
from support.processes import wait_until
from support.shards import LAYOUT, begun, header, push, save_named, update

ITEM = np.array([3])
LOCKSTEP = StepSync(make("SGD", 1.0, {}), weighting=Weighting.UNIFORM, row_averaging=RowAveraging.TOUCHED)


def live(tmp_path: Path, rule: ExchangeRule | None = None, **changes: Any) -> Shard:
    """Return a shard at version 0, all values 0, that takes exchanges of round 1."""
    return begun(tmp_path, exchange=rule or Geo(), **changes)


def exchange(
    shard: Shard, trainer: str, sequence: int, state: ModelState | None = None, round_: int = 1, **changes: object
) -> Answer:
    """Exchange as the service would; values of ITEM are asked for."""
    asked: dict[str, object] = {"members": 1, "share": 1.0, "last": False, "wanted": {"items": ITEM}, **changes}
    staged = None
    if state is not None:
        (payload,) = encode_update(LAYOUT, state, 1)
        intake = shard.open_exchange(header(payload, round_, trainer, attempt=sequence))
        for array in payload.arrays:
            intake.write(np.ascontiguousarray(array).tobytes())
        staged = shard.close_exchange(intake)
    return shard.exchange(Exchange(trainer, sequence, **asked), round_, staged)  # type: ignore[arg-type]


def cut(shard: Shard, *trainers: str, round_: int = 1) -> CommitResult:
    return shard.commit(round_, [Named(trainer, 1, "") for trainer in trainers], checkpoint=False)


def dense(answer: Answer) -> float:
    return float(answer.values[0][0])


def row(answer: Answer) -> float:
    return float(answer.values[1][0, 0])


# Numbers.


def test_the_first_exchange_only_reads_when_its_number_is_0(tmp_path: Path) -> None:
    answer = exchange(live(tmp_path), "a", 0)
    assert (answer.applied, dense(answer), row(answer)) == (0, 0.0, 0.0)


def test_a_contribution_is_seen_in_its_own_answer(tmp_path: Path) -> None:
    answer = exchange(live(tmp_path), "a", 1, update(2.0, {3: 5.0}))
    assert (answer.applied, dense(answer), row(answer)) == (1, 2.0, 5.0)


def test_a_repeated_exchange_changes_nothing(tmp_path: Path) -> None:
    shard = live(tmp_path)
    exchange(shard, "a", 1, update(2.0, {3: 5.0}))
    answer = exchange(shard, "a", 1, update(2.0, {3: 5.0}))
    assert (answer.applied, dense(answer), row(answer)) == (1, 2.0, 5.0)


def test_an_exchange_whose_predecessor_is_not_known_is_told_to_begin_again(tmp_path: Path) -> None:
    with pytest.raises(StaleError, match="only 0 of 'a' are known here: begin the round again"):
        exchange(live(tmp_path), "a", 2, update(1.0))


def test_a_refused_exchange_gives_its_memory_back(tmp_path: Path) -> None:
    shard = live(tmp_path, memory_bytes=700)
    for _ in range(5):
        with pytest.raises(StaleError):
            exchange(shard, "a", 2, update(1.0, {3: 5.0}))
    assert exchange(shard, "a", 1, update(1.0)).applied == 1


def test_a_trainer_that_was_started_anew_learns_how_far_it_was(tmp_path: Path) -> None:
    shard = live(tmp_path)
    for sequence in (1, 2, 3):
        exchange(shard, "a", sequence, update(1.0))
    assert exchange(shard, "a", 0).applied == 3


def test_an_exchange_is_refused_where_the_mode_has_none(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="the job's mode is Sync"):
        exchange(begun(tmp_path), "a", 1, update(1.0))


def test_an_exchange_of_a_later_round_is_not_taken_yet(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="cannot collect round 2"):
        exchange(live(tmp_path), "a", 1, update(1.0), round_=2)


# What contributions do.


def test_geo_adds_dense_changes_by_share_and_rows_whole(tmp_path: Path) -> None:
    shard = live(tmp_path)
    exchange(shard, "a", 1, update(4.0, {3: 4.0}), share=0.25)
    answer = exchange(shard, "b", 1, update(4.0, {3: 4.0}), share=0.75)
    assert (dense(answer), row(answer)) == (4.0, 8.0)


def test_geo_weighs_rows_too_where_they_are_not_summed(tmp_path: Path) -> None:
    shard = live(tmp_path, Geo(sum_rows=False))
    assert row(exchange(shard, "a", 1, update(4.0, {3: 4.0}), share=0.25)) == 1.0


def test_async_steps_against_each_gradient(tmp_path: Path) -> None:
    shard = live(tmp_path, Async(make("SGD", 0.5, {})))
    exchange(shard, "a", 1, update(4.0, {3: 4.0}))
    answer = exchange(shard, "b", 1, update(2.0))
    assert (dense(answer), row(answer)) == (-3.0, -2.0)


def test_staleness_counts_the_changes_since_the_trainer_read(tmp_path: Path) -> None:
    shard = live(tmp_path)
    exchange(shard, "a", 0)
    for sequence in (1, 2):
        exchange(shard, "b", sequence, update(1.0))
    assert exchange(shard, "a", 1, update(1.0)).staleness == 2


def test_a_contribution_that_is_too_stale_is_left_out_and_told(tmp_path: Path) -> None:
    shard = live(tmp_path, max_staleness=1)
    exchange(shard, "a", 0)
    for sequence in (1, 2):
        exchange(shard, "b", sequence, update(1.0))
    answer = exchange(shard, "a", 1, update(100.0))
    assert (answer.dropped, answer.applied, dense(answer)) == (True, 1, 2.0)


# Steps that wait for all.


class Steps:
    """Trainers that each send one contribution from a thread of their own."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.answers: dict[str, Answer] = {}
        self.errors: dict[str, Exception] = {}
        self.threads: dict[str, threading.Thread] = {}

    def send(self, trainer: str, sequence: int, state: ModelState, **changes: Any) -> None:
        def work() -> None:
            try:
                self.answers[trainer] = exchange(self.shard, trainer, sequence, state, **changes)
            except (StaleError, NotReadyError) as error:
                self.errors[trainer] = error

        self.threads[trainer] = threading.Thread(target=work)
        self.threads[trainer].start()

    def join(self) -> Mapping[str, Answer]:
        for thread in self.threads.values():
            thread.join(10.0)
            assert not thread.is_alive()
        return self.answers


def test_a_step_is_made_when_every_member_has_sent_its_gradient(tmp_path: Path) -> None:
    steps = Steps(live(tmp_path, LOCKSTEP))
    steps.send("a", 1, update(1.0, {3: 2.0}), members=2)
    steps.send("b", 1, update(3.0), members=2)
    answers = steps.join()
    assert [(dense(answers[name]), row(answers[name])) for name in ("a", "b")] == [(-2.0, -2.0)] * 2


def test_a_step_does_not_wait_for_a_member_that_has_sent_its_last(tmp_path: Path) -> None:
    shard = live(tmp_path, LOCKSTEP)
    steps = Steps(shard)
    steps.send("a", 1, update(1.0), members=2, last=True)
    steps.send("b", 1, update(3.0), members=2)
    steps.join()
    assert dense(exchange(shard, "b", 2, update(1.0), members=2)) == -3.0


def test_who_waits_too_long_is_told_for_whom_and_asks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fljob_runtime.server.live.STEP_WAIT_S", 0.05)
    shard = live(tmp_path, LOCKSTEP)
    exchange(shard, "b", 0, members=3)
    with pytest.raises(NotReadyError, match="step 1 of round 1 waits for b, 1 trainers that have not begun"):
        exchange(shard, "a", 1, update(1.0), members=3)


def test_a_smaller_cohort_frees_those_that_waited_for_the_larger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fljob_runtime.server.live.STEP_WAIT_S", 0.05)
    shard = live(tmp_path, LOCKSTEP)
    with pytest.raises(NotReadyError):
        exchange(shard, "a", 1, update(1.0), members=2)
    answer = exchange(shard, "a", 0, members=1)
    assert (answer.applied, dense(answer)) == (1, -1.0)


def test_those_that_wait_are_freed_when_the_servers_go_back(tmp_path: Path) -> None:
    shard = live(tmp_path, LOCKSTEP)
    exchange(shard, "b", 0, members=2)
    steps = Steps(shard)
    steps.send("a", 1, update(1.0), members=2)
    wait_until("a's contribution to wait", lambda: shard.load().num_waiting == 1, 10.0)
    shard.restore(0)
    steps.join()
    assert "begin the round again" in str(steps.errors["a"])


def test_after_going_back_the_round_begins_from_the_version(tmp_path: Path) -> None:
    shard = live(tmp_path)
    exchange(shard, "a", 1, update(7.0))
    shard.restore(0)
    answer = exchange(shard, "a", 0)
    assert (answer.applied, dense(answer)) == (0, 0.0)


# The cut.


def test_the_cut_makes_the_values_a_version(tmp_path: Path) -> None:
    shard = live(tmp_path)
    exchange(shard, "a", 1, update(2.0, {3: 5.0}), last=True)
    assert cut(shard, "a").missing == ()
    model = shard.model()
    assert (model.newest, model.dense(1)[0], model.rows(1, "items", ITEM)[0, 0]) == (1, 2.0, 5.0)
    assert (model.dense(0)[0], model.rows(0, "items", ITEM)[0, 0]) == (0.0, 0.0)


def test_a_cut_names_whose_exchanges_are_not_all_here(tmp_path: Path) -> None:
    shard = live(tmp_path)
    exchange(shard, "a", 1, update(2.0), last=True)
    exchange(shard, "b", 1, update(2.0))
    assert cut(shard, "a", "b", "c").missing == ("b", "c")


def test_a_repeated_cut_gives_the_same_digest(tmp_path: Path) -> None:
    shard = live(tmp_path)
    exchange(shard, "a", 1, update(2.0, {3: 5.0}), last=True)
    assert cut(shard, "a") == cut(shard, "a")


def test_after_the_cut_the_round_takes_no_more(tmp_path: Path) -> None:
    shard = live(tmp_path)
    exchange(shard, "a", 1, update(2.0), last=True)
    cut(shard, "a")
    with pytest.raises(StaleError, match="round 1 is committed"):
        exchange(shard, "b", 1, update(2.0))


def test_optimizer_state_goes_on_over_a_checkpoint(tmp_path: Path) -> None:
    momentum = make("Momentum", 1.0, {})
    one = live(tmp_path, Async(momentum), optimizer=momentum)
    exchange(one, "a", 1, update(1.0, {3: 1.0}), last=True)
    written = save_named(one, 1, [Named("a", 1, "")])
    other = live(tmp_path, Async(momentum), optimizer=momentum)
    other.restore(1, [ShardFileName(written.checkpoint, written.checkpoint_digest)])
    ends = [exchange(shard, "a", 1, update(1.0, {3: 1.0}), round_=2) for shard in (one, other)]
    assert dense(ends[0]) == dense(ends[1]) != -2.0
    assert row(ends[0]) == row(ends[1]) != -2.0


def test_rounds_means_go_through_the_servers_optimizer(tmp_path: Path) -> None:
    shard = begun(tmp_path, optimizer=make("SGD", 0.5, {}))
    shard.commit(1, [Named("a", 0, push(shard, update(4.0, {3: 2.0}), 1, "a").digest)], checkpoint=False)
    model = shard.model()
    assert (model.dense(1)[0], model.rows(1, "items", ITEM)[0, 0]) == (2.0, 1.0)
