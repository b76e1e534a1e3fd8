"""Rounds in windows: with one client they are plain training, and any window can be begun at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from unit.runtime.training.tiny import TinyData, make_model_of, trainer

from fljob_api.strategy import Mode, RowAveraging, StrategySpec, Weighting
from fljob_runtime.algorithms.async_sgd import Async
from fljob_runtime.algorithms.exchange import Contribution, ExchangeRule, LiveState
from fljob_runtime.algorithms.geo import Geo
from fljob_runtime.algorithms.server_optimizers import make
from fljob_runtime.algorithms.step_sync import StepSync
from fljob_runtime.data.examples import epoch_rng
from fljob_runtime.parameters import Float32Array, Int64Array, ModelState, RowSet, Scope, pack_dense, unpack_dense
from fljob_runtime.training import stepwise
from fljob_runtime.training.local import LocalTrainer
from fljob_runtime.training.record import DivergedError
from fljob_runtime.training.stepwise import StepwiseRound, stepwise_round

RATE = 0.1
SGD = {"name": "SGD", "learningRate": str(RATE)}
STEP_SYNC = StepSync(make("SGD", RATE, {}), weighting=Weighting.SAMPLES, row_averaging=RowAveraging.ALL)
GEO = StrategySpec.model_validate({"mode": "Geo", "geoStep": 1})
GRADIENTS = StrategySpec.model_validate({"mode": "Async", "serverOptimizer": SGD})


class Server:
    """All values, changed by a rule: one shard without a wire."""

    def __init__(self, local: LocalTrainer, rule: ExchangeRule) -> None:
        self._specs = local.layout.shared_dense
        shared = local.initial_state().shared(local.layout)
        tables = {name: rows.values for name, rows in shared.rows.items()}
        self._state = LiveState(pack_dense(self._specs, shared.dense), tables)
        self._rule = rule

    def apply(self, made: stepwise.Contribution) -> None:
        dense = pack_dense(self._specs, made.state.dense)
        self._rule.apply(self._state, [Contribution(dense, made.state.rows, made.num_samples, 1.0)])

    def values(self, rows: dict[str, Int64Array]) -> ModelState:
        dense = {name: value.copy() for name, value in unpack_dense(self._specs, self._state.dense).items()}
        return ModelState(dense, {name: RowSet(ids, self._state.tables[name][ids]) for name, ids in rows.items()})

    def everything(self) -> dict[str, Float32Array]:
        return {**self.values({}).dense, **self._state.tables}


def run(work: StepwiseRound, server: Server, first: int = 0) -> None:
    for window in range(first, work.num_windows):
        work.renew(server.values(work.rows(window)))
        server.apply(work.train(window))


def plain_sgd(epochs: int) -> dict[str, Float32Array]:
    model = make_model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for epoch in range(epochs):
        e = TinyData().epoch(epoch_rng(0, "site-0", epoch))
        for cut in (slice(0, 4), slice(4, 8), slice(8, 12)):
            optimizer.zero_grad()
            logits = model.logits({name: torch.from_numpy(values[cut]) for name, values in e.columns.items()})
            loss = binary_cross_entropy_with_logits(logits, torch.from_numpy(e.labels[cut]))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return {name: value.detach().numpy() for name, value in model.named_parameters()}


@pytest.mark.parametrize(
    ("strategy", "rule"),
    [(GRADIENTS, Async(make("SGD", RATE, {}))), (GRADIENTS, STEP_SYNC), (GEO, Geo())],
    ids=["Async", "StepSync", "Geo"],
)
def test_one_client_that_exchanges_each_step_is_plain_sgd(strategy: StrategySpec, rule: ExchangeRule) -> None:
    local = trainer()
    server = Server(local, rule)
    for train_round in (1, 2, 3, 4):
        run(stepwise_round(local, strategy, train_round), server)
    ours, plain = server.everything(), plain_sgd(4)
    assert max(float(np.abs(ours[name] - plain[name]).max()) for name in plain) <= 1e-6


def test_geo_with_momentum_sends_in_the_end_all_that_the_replica_moved() -> None:
    local = trainer(optimizer="Adam", learning_rate=0.01, local_epochs=3)
    server = Server(local, Geo())
    run(stepwise_round(local, GEO, 1), server)
    replica = {name: value.detach().numpy() for name, value in local.model.named_parameters()}
    ours = server.everything()
    assert max(float(np.abs(ours[name] - replica[name]).max()) for name in replica) <= 1e-6


def test_a_geo_replica_keeps_what_it_has_not_sent_when_others_change_the_values() -> None:
    local = trainer(optimizer="Adam", learning_rate=0.01)
    work = stepwise_round(local, GEO, 1)
    work.train(0)
    name = "item_embedding.gmf.weight"
    untouched = np.setdiff1d(np.arange(8), work.rows(0)[name])
    unsent = local.model.get_parameter(name).detach().numpy()
    before = unsent[untouched].copy()
    known = make_model_of().get_parameter(name).detach().numpy()[untouched]
    work.renew(ModelState({}, {name: RowSet(untouched, known + np.float32(1.0))}))
    assert np.allclose(local.model.get_parameter(name).detach().numpy()[untouched], before + 1.0, atol=1e-6)


def test_windows_hold_the_rounds_examples_once() -> None:
    work = stepwise_round(trainer(local_epochs=2), GRADIENTS, 1)
    assert (work.num_windows, work.num_samples) == (5, 20)  # 20 samples by 4
    assert [work.train(window).num_samples for window in range(5)] == [4] * 5


def test_the_last_window_may_be_shorter() -> None:
    work = stepwise_round(trainer(), GRADIENTS, 1)
    assert [work.train(window).num_samples for window in range(work.num_windows)] == [4, 4, 2]


def test_past_the_last_window_nothing_is_read() -> None:
    work = stepwise_round(trainer(), GRADIENTS, 1)
    assert {name: ids.size for name, ids in work.rows(3).items() if ids.size} == {}


def test_a_window_is_the_same_for_a_trainer_that_begins_there() -> None:
    whole, late = (stepwise_round(trainer(), GRADIENTS, 1) for _ in range(2))
    whole_rows, late_rows = whole.rows(2), late.rows(2)
    assert {n: i.tolist() for n, i in whole_rows.items()} == {n: i.tolist() for n, i in late_rows.items()}
    late.skip(2)
    assert late.train(2).num_samples == 2


def test_rows_carry_how_many_samples_trained_each() -> None:
    made = stepwise_round(trainer(batch_size=10), GRADIENTS, 1).train(0)
    rows = made.state.rows["user_embedding.gmf.weight"]
    assert (rows.ids.tolist(), rows.weights.tolist()) == ([1, 2], [6.0, 4.0])


def test_private_values_are_trained_here_and_never_sent() -> None:
    shared = trainer()
    layout = shared.layout.with_scopes({"user_embedding": Scope.PRIVATE})
    local = LocalTrainer(shared.model, layout, TinyData(), shared.plan)
    before = local.model.get_parameter("user_embedding.gmf.weight").detach().numpy().copy()
    work = stepwise_round(local, GRADIENTS, 1)
    made = work.train(0)
    after = work.finish().state.rows["user_embedding.gmf.weight"]
    assert not any(name.startswith("user_embedding") for name in made.state.rows)
    assert after.ids.tolist() == [1, 2]
    assert (after.values != before[after.ids]).any()


@pytest.mark.parametrize("mode", [Mode.GEO, Mode.ASYNC])
def test_a_contribution_that_is_not_finite_is_never_made(mode: Mode) -> None:
    local = trainer(learning_rate=1e30)
    work = stepwise_round(local, GEO if mode is Mode.GEO else GRADIENTS, 1)
    with torch.no_grad():
        local.model.get_parameter("output.weight").fill_(float("nan"))
    with pytest.raises(DivergedError, match=r"not finite; lower spec\.optimizer\.learningRate"):
        work.train(0)


def test_a_model_sees_all_examples_of_the_site_once_before_the_first_window(monkeypatch: pytest.MonkeyPatch) -> None:
    local, seen = trainer(local_epochs=0, inner_steps=1), []
    monkeypatch.setattr(type(local.model), "prepare", lambda _, columns: seen.append(columns["item"].tolist()))
    for train_round in (1, 2):
        stepwise_round(local, GRADIENTS, train_round)
    assert [len(items) for items in seen] == [10]
