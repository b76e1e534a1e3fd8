"""Pooled training: all sites as one client, one optimizer throughout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from unit.runtime.training.tiny import TinyData, make_model_of, plan

from fljob_runtime.data.examples import HeldOut, epoch_rng, pairs
from fljob_runtime.schema import Schema
from fljob_runtime.training.local import LocalTrainer
from fljob_runtime.training.pooled import PooledData, train_pooled


class Unranked(TinyData):
    def held_out(self) -> HeldOut:
        return HeldOut(super().held_out().examples)


class Wider(TinyData):
    schema = Schema({"user": 6, "item": 9})


def test_pooled_data_has_the_samples_of_all_sites() -> None:
    data = PooledData([TinyData(), TinyData()])
    epoch = data.epoch(epoch_rng(0, "pooled", 0))
    assert data.num_samples == len(epoch) == 20
    assert np.array_equal(np.bincount(epoch.columns["item"]), 2 * np.bincount(TinyData.train.columns["item"]))


def test_pooled_data_is_shuffled_across_sites() -> None:
    class Other(TinyData):
        train = pairs(TinyData.train.columns["user"] + 2, TinyData.train.columns["item"], TinyData.train.labels)

    users = PooledData([TinyData(), Other()]).epoch(epoch_rng(0, "pooled", 0)).columns["user"]
    assert set(users[:10].tolist()) & {1, 2}
    assert set(users[:10].tolist()) & {3, 4}


def test_ranked_groups_of_all_sites_follow_one_another() -> None:
    held_out = PooledData([TinyData(), TinyData()]).held_out()
    assert held_out.groups is not None
    assert held_out.groups.tolist() == [0, 3, 5, 8, 10]
    assert held_out.examples.labels.tolist() == [1, 0, 0, 1, 0] * 2


def test_pairs_are_not_ranked_when_one_site_does_not_rank() -> None:
    assert PooledData([TinyData(), Unranked()]).held_out().groups is None


def test_sites_that_count_different_items_are_refused() -> None:
    with pytest.raises(ValueError, match="the sites' data differ"):
        PooledData([TinyData(), Wider()])


def test_the_optimizer_keeps_its_memory_from_epoch_to_epoch() -> None:
    data, pooled_plan = PooledData([TinyData()]), plan("Adam", client="pooled")
    model, again = make_model_of(), make_model_of()
    list(train_pooled(LocalTrainer(model, model.layout(), data, pooled_plan), 2))
    trainer = LocalTrainer(again, again.layout(), data, pooled_plan)
    optimizer = torch.optim.Adam(again.parameters(), lr=0.1, fused=True)
    for epoch in (0, 1):
        examples = data.epoch(epoch_rng(0, "pooled", epoch))
        trainer.fit(examples, optimizer, trainer.record(epoch + 1, len(examples)))
    for ours, theirs in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_model_sees_all_sites_examples_once_however_many_epochs_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = make_model_of(), []
    monkeypatch.setattr(type(model), "prepare", lambda _, columns: seen.append(len(columns["item"])))
    list(train_pooled(LocalTrainer(model, model.layout(), PooledData([TinyData(), TinyData()]), plan()), 2))
    assert seen == [20]


def test_metrics_are_told_after_each_epoch() -> None:
    model = make_model_of()
    local = LocalTrainer(model, model.layout(), PooledData([TinyData(), TinyData()]), plan())
    metrics = list(train_pooled(local, 3))
    assert [m.num_samples for m in metrics] == [10, 10, 10]
    assert len({m.loss for m in metrics}) == 3
