"""A round by exchanges: where it begins, when it begins again, when it is given up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from unit.runtime.training.tiny import trainer

from fljob_api.strategy import StrategySpec
from fljob_runtime.errors import BusyError, NotReadyError, StaleError, TransportError, UnreachableError
from fljob_runtime.messages import Train
from fljob_runtime.parameters import Float32Array, Int64Array, ModelState, RowSet, Scope
from fljob_runtime.roles.compressing import Compressing
from fljob_runtime.roles.exchanges import ExchangedRound, Patience, SupersededError
from fljob_runtime.roles.private_state import PrivateStore
from fljob_runtime.training.stepwise import StepwiseRound, stepwise_round
from fljob_runtime.transport.exchange import Exchanged, Numbered

ASYNC = StrategySpec.model_validate({"mode": "Async", "serverOptimizer": {"name": "SGD"}})
ASKED = Train(1, 0.0, members=3, share=0.5)


@dataclass
class Servers:
    """Counts exchanges as the shards do; fails as scripted, one fault per call. Receives half of what is sent."""

    applied: int = 0
    dropping: bool = False
    sent: list[ModelState] = field(default_factory=list)
    faults: dict[int, TransportError] = field(default_factory=dict)  # by number of the call
    seen: list[Numbered] = field(default_factory=list)

    def exchange(self, number: Numbered, state: ModelState | None, wanted: Mapping[str, Int64Array]) -> Exchanged:
        self.seen.append(number)
        self.sent += [state] if state is not None else []
        fault = self.faults.pop(len(self.seen), None)
        if isinstance(fault, StaleError):
            self.applied = 0
        if fault is not None:
            raise fault
        self.applied = max(self.applied, number.sequence) if state is not None else self.applied
        rows = {name: RowSet(ids, np.zeros((len(ids), WIDTHS[name]), np.float32)) for name, ids in wanted.items()}
        return Exchanged(self.applied, ModelState({}, rows), dropped=self.dropping)

    def as_received(self, round_number: int, attempt: int, state: ModelState) -> ModelState:
        assert (round_number, attempt) == (self.seen[-1].round, self.seen[-1].sequence)
        dense = {name: value / np.float32(2.0) for name, value in state.dense.items()}
        return ModelState(dense, {n: RowSet(r.ids, r.values / np.float32(2.0)) for n, r in state.rows.items()})


LOCAL = trainer()
WIDTHS = {spec.name: spec.shape[1] for spec in LOCAL.layout.shared_tables}


def work() -> StepwiseRound:
    return stepwise_round(LOCAL, ASYNC, 1)  # ten samples by four: three windows


def round_of(
    servers: Servers,
    superseded: Callable[[], bool] = lambda: False,
    newest: Callable[[Train], Train] = lambda known: known,
    reach_s: float = 5.0,
    compressing: Compressing | None = None,
) -> ExchangedRound:
    return ExchangedRound(servers, ASKED, work, Patience(reach_s, superseded, newest), compressing)


def numbers(servers: Servers) -> list[int]:
    return [number.sequence for number in servers.seen]


def test_a_round_asks_how_far_it_is_reads_and_sends_each_window() -> None:
    servers = Servers()
    update = round_of(servers).train()
    assert update is not None
    assert (numbers(servers), update.num_samples) == ([0, 0, 1, 2, 3], 10)
    assert [(n.num_samples, n.last) for n in servers.seen[2:]] == [(4, False), (4, False), (2, True)]
    assert {(n.members, n.share) for n in servers.seen} == {(3, 0.5)}


def test_a_restarted_trainer_goes_on_where_the_servers_are() -> None:
    servers = Servers(applied=2)
    round_of(servers).train()
    assert numbers(servers) == [0, 0, 3]


def test_a_round_that_is_all_there_is_not_trained_again() -> None:
    servers = Servers(applied=3)
    assert round_of(servers).train() is None
    assert numbers(servers) == [0]


def test_a_round_that_the_servers_lost_is_begun_again() -> None:
    servers = Servers(faults={4: StaleError("went back")})
    update = round_of(servers).train()
    assert update is not None
    assert numbers(servers) == [0, 0, 1, 2, 0, 0, 1, 2, 3]


@pytest.mark.parametrize("fault", [UnreachableError("away"), BusyError("full"), NotReadyError("others")])
def test_an_exchange_is_repeated_when_it_may_pass(fault: TransportError) -> None:
    servers = Servers(faults={3: fault})
    round_of(servers).train()
    assert numbers(servers) == [0, 0, 1, 1, 2, 3]


def test_servers_that_stay_away_are_given_up() -> None:
    servers = Servers(faults={1: UnreachableError("away")})
    with pytest.raises(UnreachableError):
        round_of(servers, reach_s=0.0).train()


@pytest.mark.parametrize("fault", [StaleError("committed"), UnreachableError("away"), NotReadyError("others")])
def test_a_round_that_nobody_waits_for_is_dropped(fault: TransportError) -> None:
    servers = Servers(faults={3: fault})
    with pytest.raises(SupersededError, match="round 1 went on without this trainer"):
        round_of(servers, superseded=lambda: len(servers.seen) == 3).train()


def test_a_round_begun_again_with_another_cohort_tells_the_new_one() -> None:
    servers = Servers(faults={3: NotReadyError("waits for c")})
    smaller = Train(1, 0.0, members=2, share=0.75)
    round_of(servers, newest=lambda known: smaller if len(servers.seen) >= 3 else known).train()
    assert [n.members for n in servers.seen] == [3, 3, 3, 2, 2, 2, 2, 2]


# What codecs leave unsent. The model stays at its first values, so that a window's gradient is the same each time.

BIAS = next(spec.name for spec in LOCAL.layout.shared_dense)


def feedback(tmp_path: Path) -> Compressing:
    return Compressing(PrivateStore(tmp_path, LOCAL.layout, job_uid="u", scope=Scope.SHARED))


def dense(servers: Servers) -> list[Float32Array]:
    return [state.dense[BIAS] for state in servers.sent]


def plain() -> list[Float32Array]:
    servers = Servers()
    round_of(servers).train()
    return dense(servers)


def test_each_exchange_takes_along_what_was_left_of_the_one_before(tmp_path: Path) -> None:
    servers, (a, b, c) = Servers(), plain()
    round_of(servers, compressing=feedback(tmp_path)).train()
    assert np.allclose(np.stack(dense(servers)), np.stack([a, b + a / 2, c + b / 2 + a / 4]), atol=1e-7)


def test_a_repeated_exchange_sends_the_same(tmp_path: Path) -> None:
    servers = Servers(faults={4: UnreachableError("away")})
    round_of(servers, compressing=feedback(tmp_path)).train()
    sent = dense(servers)
    assert numbers(servers)[2:] == [1, 2, 2, 3]
    assert sent[1].tobytes() == sent[2].tobytes()


def test_a_contribution_that_was_left_out_leaves_what_was_left_before(tmp_path: Path) -> None:
    servers, (a, b, c) = Servers(dropping=True), plain()
    round_of(servers, compressing=feedback(tmp_path)).train()
    assert np.allclose(np.stack(dense(servers)), np.stack([a, b, c]), atol=1e-7)


def test_the_next_round_begins_with_what_the_last_left(tmp_path: Path) -> None:
    round_of(Servers(), compressing=feedback(tmp_path)).train()
    unsent = feedback(tmp_path).begin(2, whole=True)
    assert unsent is not None
    a, b, c = plain()
    assert np.allclose(unsent.state.dense[BIAS], c / 2 + b / 4 + a / 8, atol=1e-7)


def test_a_round_that_the_servers_lost_begins_with_what_was_left_before_it(tmp_path: Path) -> None:
    servers, (a, _, _) = Servers(faults={4: StaleError("went back")}), plain()
    round_of(servers, compressing=feedback(tmp_path)).train()
    assert np.allclose(dense(servers)[2], a, atol=1e-7)
