"""Local training: plain SGD bit for bit, rounds as functions of their number, rows and weights, evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from unit.runtime.training.tiny import NUM_ITEMS, NUM_USERS, TinyData, make_model_of, plan, trainer

from fljob_api.spec import FLJobSpec
from fljob_runtime import registry
from fljob_runtime.algorithms.fedavg import DenseMean, average_rows
from fljob_runtime.data.examples import Examples, HeldOut, epoch_rng
from fljob_runtime.models.base import Batch
from fljob_runtime.parameters import (
    Float32Array,
    Kind,
    ModelError,
    ModelState,
    RowSet,
    Scope,
    pack_dense,
    unpack_dense,
)
from fljob_runtime.training.local import (
    LocalTrainer,
    LocalUpdate,
    TrainPlan,
)
from fljob_runtime.training.record import PROGRESS_EVERY_BATCHES, DivergedError, TrainProgress


def flat(state: ModelState) -> bytes:
    """Return everything in a state as bytes, by name."""
    rows = {name: (r.ids.tobytes(), r.values.tobytes(), r.weights.tobytes()) for name, r in state.rows.items()}
    return repr((sorted((n, v.tobytes()) for n, v in state.dense.items()), sorted(rows.items()))).encode()


def parameters_of(local: LocalTrainer) -> dict[str, Float32Array]:
    return {name: value.detach().numpy().copy() for name, value in local.model.named_parameters()}


def fold(local: LocalTrainer, update: LocalUpdate, before: ModelState) -> ModelState:
    """Commit the update of one client as the server does."""
    specs = local.layout.shared_dense
    mean = DenseMean(local.layout.dense_size)
    mean.add(pack_dense(specs, update.state.dense), update.num_samples)
    rows = {name: average_rows([update.state.rows[name]], before.rows[name]) for name in before.rows}
    return ModelState(unpack_dense(specs, mean.result()), rows)


@pytest.mark.parametrize("mode", ["GMF", "MLP", "NeuMF"])
def test_one_client_with_one_inner_step_is_plain_sgd_bit_for_bit(mode: str) -> None:
    local = trainer(mode, local_epochs=0, inner_steps=1)
    state = local.initial_state()
    for round_number in range(1, 8):  # three batches an epoch: two epochs and a batch of the third
        local.load(state)
        state = fold(local, local.train(round_number), state)
    local.load(state)

    model = make_model_of(mode)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = []
    for epoch in range(3):
        e = TinyData().epoch(epoch_rng(0, "site-0", epoch))
        batches += [e.take(slice(s, s + 4)) for s in (0, 4, 8)]
    for part in batches[:7]:
        optimizer.zero_grad()
        logits = model.logits({name: torch.from_numpy(values) for name, values in part.columns.items()})
        binary_cross_entropy_with_logits(logits, torch.from_numpy(part.labels)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    plain = {name: value.detach().numpy() for name, value in model.named_parameters()}
    ours = parameters_of(local)
    assert {name: value.tobytes() for name, value in ours.items()} == {n: v.tobytes() for n, v in plain.items()}


def test_inner_steps_go_on_where_the_round_before_ended() -> None:
    # 5 steps of 3 batches an epoch: round 2 is steps 5 to 9, that is epoch 1 from its last batch, epoch 2, epoch 3
    examples = trainer(local_epochs=0, inner_steps=5).round_examples(2)
    epochs = [TinyData().epoch(epoch_rng(0, "site-0", epoch)).columns["item"] for epoch in (1, 2, 3)]
    expected = np.concatenate([epochs[0][8:], epochs[1], epochs[2][:4]])
    assert np.array_equal(examples.columns["item"], expected)


def test_local_epochs_are_numbered_on_from_round_to_round() -> None:
    examples = trainer(local_epochs=2).round_examples(3)
    epochs = [TinyData().epoch(epoch_rng(0, "site-0", epoch)).columns["item"] for epoch in (4, 5)]
    assert np.array_equal(examples.columns["item"], np.concatenate(epochs))


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adagrad"])
def test_a_restarted_trainer_repeats_a_round_bit_for_bit(optimizer: str) -> None:
    worn, fresh = trainer(optimizer=optimizer), trainer(optimizer=optimizer)
    start = worn.initial_state()
    worn.train(1)
    worn.evaluate()
    worn.load(start)
    assert flat(worn.train(7).state) == flat(fresh.train(7).state)


def test_asking_for_rows_first_does_not_change_the_round() -> None:
    asked, straight = trainer(), trainer()
    asked.needed_rows(1, evaluation=True)
    assert flat(asked.train(1).state) == flat(straight.train(1).state)


@pytest.mark.parametrize("change", [{"seed": 1}, {"client": "site-1"}])
def test_seed_and_client_change_the_order_of_the_data(change: dict[str, Any]) -> None:
    assert flat(trainer(**change).train(1).state) != flat(trainer().train(1).state)


def test_an_update_has_the_touched_rows_and_how_often_they_were_trained() -> None:
    rows = trainer("GMF", local_epochs=2).train(1).state.rows
    users, items = rows["user_embedding.gmf.weight"], rows["item_embedding.gmf.weight"]
    assert (users.ids.tolist(), users.weights.tolist()) == ([1, 2], [12.0, 8.0])
    assert (items.ids.tolist(), items.weights.tolist()) == ([0, 1, 2, 3, 4], [8.0, 4.0, 4.0, 2.0, 2.0])


def test_an_update_has_the_values_after_training() -> None:
    local = trainer("GMF")
    update = local.train(1)
    now = parameters_of(local)
    assert np.array_equal(update.state.rows["user_embedding.gmf.weight"].values, now["user_embedding.gmf.weight"][1:3])
    assert np.array_equal(update.state.dense["output.weight"], now["output.weight"])


def test_training_further_does_not_change_an_update_already_made() -> None:
    local = trainer()
    update = local.train(1)
    before = flat(update.state)
    local.train(2)
    assert flat(update.state) == before


def test_rows_that_no_sample_uses_stay_as_they_were() -> None:
    local = trainer("GMF", optimizer="Adam")
    before = parameters_of(local)["user_embedding.gmf.weight"]
    local.train(1)
    after = parameters_of(local)["user_embedding.gmf.weight"]
    assert np.array_equal(after[[0, 3, 4, 5]], before[[0, 3, 4, 5]])
    assert not np.array_equal(after[[1, 2]], before[[1, 2]])


def test_needed_rows_are_those_of_training_or_of_evaluation_or_of_both() -> None:
    local = trainer("GMF")
    item = "item_embedding.gmf.weight"
    assert local.needed_rows(1)[item].tolist() == [0, 1, 2, 3, 4]
    assert local.needed_rows(evaluation=True)[item].tolist() == [5, 6, 7]
    assert local.needed_rows(1, evaluation=True)[item].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_nothing_asked_needs_no_row() -> None:
    assert [ids.tolist() for ids in trainer("GMF").needed_rows().values()] == [[], []]


def test_the_initial_state_has_every_row_with_weight_one() -> None:
    local = trainer("GMF")
    rows = local.initial_state().rows["item_embedding.gmf.weight"]
    assert rows.ids.tolist() == list(range(NUM_ITEMS))
    assert rows.weights.tolist() == [1.0] * NUM_ITEMS
    assert np.array_equal(rows.values, parameters_of(local)["item_embedding.gmf.weight"])


def test_loading_leaves_rows_and_parameters_that_are_not_given() -> None:
    local = trainer("GMF")
    before = parameters_of(local)
    row = RowSet(np.array([3], np.int64), np.array([[7.0, 8.0]], np.float32))
    local.load(ModelState({"output.bias": np.array([9.0], np.float32)}, {"user_embedding.gmf.weight": row}))
    after = parameters_of(local)
    assert after["user_embedding.gmf.weight"][3].tolist() == [7.0, 8.0]
    assert np.array_equal(after["user_embedding.gmf.weight"][:3], before["user_embedding.gmf.weight"][:3])
    assert np.array_equal(after["output.weight"], before["output.weight"])


def test_read_only_values_can_be_loaded() -> None:
    bias = np.array([9.0], np.float32)
    bias.flags.writeable = False
    local = trainer("GMF")
    local.load(ModelState({"output.bias": bias}, {}))
    assert parameters_of(local)["output.bias"].tolist() == [9.0]


def test_values_are_copies_of_the_rows_asked_for() -> None:
    local = trainer("GMF")
    ids = np.array([1, 4], np.int64)
    state = local.values({"item_embedding.gmf.weight": ids})
    before = flat(state)
    local.train(1)
    assert state.rows["item_embedding.gmf.weight"].ids.tolist() == [1, 4]
    assert flat(state) == before


def test_private_parameters_are_in_the_update_and_not_in_its_shared_part() -> None:
    model = make_model_of("GMF")
    layout = model.layout().with_scopes({"user_embedding": Scope.PRIVATE})
    update = LocalTrainer(model, layout, TinyData(), plan()).train(1)
    assert "user_embedding.gmf.weight" in update.state.rows
    assert "user_embedding.gmf.weight" not in update.state.shared(layout).rows


def test_training_metrics_are_those_of_the_predictions_trained_on() -> None:
    local = trainer("GMF", batch_size=10, learning_rate=1e-9)
    logits = local._known(TinyData.train)[:, 0]
    metrics = local.train(1).metrics.compute()
    loss = np.logaddexp(0, logits) - TinyData.train.labels * logits
    assert metrics.num_samples == 10
    assert metrics.loss == pytest.approx(float(loss.mean()), rel=1e-6)


class LongData(TinyData):
    """The ten pairs forty times over."""

    @property
    def num_samples(self) -> int:
        return 400

    def epoch(self, rng: np.random.Generator) -> Examples:  # noqa: ARG002 - always the same order
        return Examples.joined([self.train] * 40)


def test_progress_is_told_every_few_batches_with_the_loss_since() -> None:
    model = make_model_of("GMF")
    local = LocalTrainer(model, model.layout(), LongData(), plan(batch_size=2, learning_rate=1e-9))
    told: list[TrainProgress] = []
    local.train(1, told.append)
    done = [2 * PROGRESS_EVERY_BATCHES * number for number in range(1, 400 // (2 * PROGRESS_EVERY_BATCHES) + 1)]
    assert [(p.samples_done, p.samples_total) for p in told] == [(samples, 400) for samples in done]
    assert all(p.loss == pytest.approx(math.log(2), abs=1e-2) for p in told)  # embeddings of 0.01 score about 0


def test_progress_tells_the_auc_of_the_predictions_since_the_last() -> None:
    model = make_model_of("GMF")
    local = LocalTrainer(model, model.layout(), LongData(), plan(batch_size=10, learning_rate=1e-9, local_epochs=2))
    score_items(local, [0.0, 1.0, 2.0, 3.0, 4.0, 0, 0, 0])
    told: list[TrainProgress] = []
    local.train(1, told.append)
    # items of positives 0 3 0 1 2, of negatives 1 2 4 0 0
    # of 25 pairs positives win 0 + 4 + 0 + 2 + 3 and tie 2 + 0 + 2 + 1 + 1
    assert [p.auc for p in told] == [pytest.approx((9 + 6 / 2) / 25)]


def test_a_loss_that_is_not_finite_is_told_with_what_to_do() -> None:
    with pytest.raises(DivergedError, match=r"client site-0: .*lower spec\.optimizer\.learningRate"):
        trainer(learning_rate=1e30).train(1)


def test_values_broken_by_the_last_step_alone_are_told() -> None:
    local = trainer("GMF", local_epochs=0, inner_steps=1, learning_rate=3e38, batch_size=10)
    with torch.no_grad():
        local.model.get_parameter("output.weight").fill_(1e4)  # the loss of the only step is finite, its step is not
        local.model.get_parameter("user_embedding.gmf.weight").fill_(1e3)
        local.model.get_parameter("item_embedding.gmf.weight").fill_(1e3)
    with pytest.raises(DivergedError, match=r"output\.weight.* not finite"):
        local.train(1)


def test_an_evaluation_that_is_not_finite_is_told() -> None:
    local = trainer("GMF")
    with torch.no_grad():
        local.model.get_parameter("output.bias").fill_(math.nan)
    with pytest.raises(DivergedError, match="client site-0: predictions are not finite"):
        local.evaluate()


def score_items(local: LocalTrainer, scores: list[float]) -> None:
    """Make the model score items by a list, whatever the user."""
    with torch.no_grad():
        for name, value in local.model.named_parameters():
            value.fill_(1.0 if name == "output.weight" else 0.0)
        local.model.get_parameter("user_embedding.gmf.weight")[:, 0] = 1.0
        local.model.get_parameter("item_embedding.gmf.weight")[:, 0] = torch.tensor(scores)


def test_evaluation_by_hand() -> None:
    local = trainer("GMF")
    score_items(local, [0, 0, 0, 0, 0, 2.0, 1.0, 0.0])
    evaluation = local.evaluate()
    metrics = evaluation.sums.compute()
    # user 1: item 5 (score 2) against 1 and 0, first; user 2: item 6 (score 1) against 2, second
    assert metrics.ndcg_at_10 == pytest.approx((1 + 1 / math.log2(3)) / 2)
    assert metrics.mrr_at_10 == pytest.approx((1 + 1 / 2) / 2)
    # positives 2, 1; negatives 1, 0, 2: 2 beats 1 and 0, ties with 2; 1 ties with 1, beats 0, loses to 2
    assert evaluation.auc == pytest.approx((2.5 + 1.5) / 6)
    assert metrics.auc == pytest.approx((2.5 + 1.5) / 6)


def test_a_tie_with_the_positive_counts_half_a_rank() -> None:
    local = trainer("GMF")
    score_items(local, [1.0] * NUM_ITEMS)
    # ranks 1.0 (two ties) and 0.5 (one tie)
    assert local.evaluate().sums.compute().mrr_at_10 == pytest.approx((1 / 2 + 1 / 1.5) / 2)


def test_evaluation_changes_nothing() -> None:
    local = trainer()
    before = flat(local.initial_state())
    local.evaluate()
    assert flat(local.initial_state()) == before


class Unranked(TinyData):
    """Held-out pairs without groups."""

    def held_out(self) -> HeldOut:
        return HeldOut(super().held_out().examples)


def test_pairs_without_groups_are_not_ranked() -> None:
    model = make_model_of("GMF")
    metrics = LocalTrainer(model, model.layout(), Unranked(), plan()).evaluate().sums.compute()
    assert (metrics.num_samples, math.isnan(metrics.hit_rate_at_10)) == (5, True)


@pytest.mark.parametrize(
    ("changes", "samples"), [({"local_epochs": 3}, 30), ({"local_epochs": 0, "inner_steps": 2}, 8)]
)
def test_the_samples_of_a_round_follow_from_the_plan(changes: dict[str, Any], samples: int) -> None:
    local = trainer(**changes)
    assert local.samples_per_round == samples == local.train(1).num_samples


@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [({"localEpochs": 3}, (3, 0)), ({"innerSteps": 7}, (0, 7)), ({}, (1, 0))],
)
def test_the_plan_is_read_from_the_spec(strategy: dict[str, int], wanted: tuple[int, int]) -> None:
    registry.load()
    spec = FLJobSpec.model_validate(
        {
            "model": {"name": "ncf"},
            "dataset": {"name": "synthetic"},
            "optimizer": {"name": "Adam", "learningRate": "0.005"},
            "trainers": [{"name": "site-3"}],
            "strategy": {"batchSize": 32, **strategy},
            "rounds": 1,
            "seed": 4,
        }
    )
    read = TrainPlan.of(spec, "site-3")
    assert (read.local_epochs, read.inner_steps) == wanted
    assert (read.client, read.seed, read.learning_rate, read.batch_size) == ("site-3", 4, 0.005, 32)


def test_training_learns_the_pairs() -> None:
    local = trainer(optimizer="Adam", learning_rate=0.05, local_epochs=60)
    still = torch.optim.SGD(local.model.parameters(), lr=0.0)
    before = local.fit(TinyData.train, still, local.record(1, 10)).compute().loss
    local.train(1)
    after = local.fit(TinyData.train, still, local.record(1, 10)).compute().loss
    assert before == pytest.approx(math.log(2), abs=0.05)
    assert after < 0.45  # (1, 0) and (2, 0) repeat with one label each: every pair can be told apart


def test_the_layout_has_the_tables_of_the_whole_dataset() -> None:
    layout = trainer("GMF").layout
    assert [spec.shape[0] for spec in layout.specs if spec.kind is Kind.ROWS] == [NUM_USERS, NUM_ITEMS]


def test_a_model_sees_all_examples_of_the_site_once_before_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    worn, fresh, seen = trainer(local_epochs=0, inner_steps=1), trainer(local_epochs=0, inner_steps=1), []
    monkeypatch.setattr(type(worn.model), "prepare", lambda _, columns: seen.append(columns["item"].tolist()))
    worn.train(1)
    worn.train(5)
    assert [len(items) for items in seen] == [10]
    fresh.train(5)  # what went on after a restart saw the same
    assert seen == [seen[0]] * 2


def test_the_data_of_a_model_without_use_for_them_are_not_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    local, asked = trainer(), []

    def epoch(rng: np.random.Generator) -> Examples:
        asked.append(rng)
        return TinyData.train

    monkeypatch.setattr(local.data, "epoch", epoch)
    local.train(1)
    assert len(asked) == 1


@pytest.mark.parametrize("logits", [lambda batch: batch["usr"], lambda batch: torch.ones(len(batch["user"]), 1)])
def test_a_model_whose_code_fails_is_named_with_what_it_was_given(
    logits: Callable[[Batch], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    local = trainer()
    monkeypatch.setattr(local.model, "logits", logits)
    with pytest.raises(ModelError, match=r"model 'Ncf' fails: .*; a batch has user \[4\], item \[4\]"):
        local.train(1)
    monkeypatch.setattr(local.model, "logits", lambda batch: batch["usr"])
    with pytest.raises(ModelError, match="model 'Ncf' fails: KeyError: 'usr'"):
        local.evaluate()
