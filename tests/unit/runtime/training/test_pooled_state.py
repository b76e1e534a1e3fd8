"""A training in one place that stops anywhere and goes on from its file is the one that never stopped, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from unit.runtime.training.keyed import pair
from unit.runtime.training.tiny import trainer

from fljob_api.optimizer import Schedule
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import ModelState
from fljob_runtime.training import pooled_state
from fljob_runtime.training.local import LocalTrainer
from fljob_runtime.training.optimizers import make_optimizer
from fljob_runtime.training.pooled import PooledTraining

EPOCHS = 3
OPTIMIZERS = {"SGD": {"momentum": "0.9"}, "Adam": {}, "Adagrad": {"initialAccumulator": "0.5"}}


def made(optimizer: str, *, keyed: bool) -> LocalTrainer:
    local: LocalTrainer = pair()[1] if keyed else trainer()
    object.__setattr__(local.plan, "optimizer", make_optimizer(optimizer, OPTIMIZERS[optimizer]))
    return local


def after(batches: int) -> Callable[[], bool]:
    """Return what stops a training before its mini-batch number `batches`, from 0."""
    left = iter(range(batches))
    return lambda: next(left, None) is None


def to_the_end(training: PooledTraining) -> tuple[ModelState, list[float]]:
    losses = []
    while training.epoch < EPOCHS:
        assert training.run_epoch()
        losses.append(training.trainer.evaluate().sums.compute().loss)
    return pooled_state.values(training.trainer), losses


def assert_equal(ours: ModelState, theirs: ModelState) -> None:
    for name, value in theirs.dense.items():
        assert np.array_equal(ours.dense[name], value), name
    for name, rows in theirs.rows.items():
        assert np.array_equal(ours.rows[name].ids, rows.ids), name
        assert np.array_equal(ours.rows[name].values, rows.values), name


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "keyed"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_training_stopped_within_an_epoch_ends_as_the_uninterrupted_one(
    tmp_path: Path, optimizer: str, keyed: bool
) -> None:
    whole, _ = to_the_end(PooledTraining(made(optimizer, keyed=keyed)))
    first, second = (PooledTraining(made(optimizer, keyed=keyed)) for _ in range(2))
    first.run_epoch()
    assert not first.run_epoch(stop=after(2))
    pooled_state.save(first, tmp_path / "state")
    pooled_state.load(second, tmp_path / "state")
    assert (second.epoch, second.batch) == (1, 2)
    assert_equal(to_the_end(second)[0], whole)


def test_the_metrics_after_going_on_are_the_same() -> None:
    whole, again = (to_the_end(PooledTraining(trainer(optimizer="Adam")))[1] for _ in range(2))
    assert whole == again


def test_the_generator_of_torch_goes_on_too(tmp_path: Path) -> None:
    training = PooledTraining(trainer())
    before = torch.get_rng_state()
    pooled_state.save(training, tmp_path / "state")
    drawn = torch.rand(3)
    pooled_state.load(training, tmp_path / "state")
    assert torch.equal(torch.rand(3), drawn)
    torch.set_rng_state(before)


def test_the_rate_follows_the_round_and_not_the_epoch() -> None:
    schedule = Schedule.model_validate({"name": "WarmUp", "warmUpRounds": 2})
    training = PooledTraining(trainer(schedule=schedule), epochs_per_round=2)
    rates = []
    for _ in range(4):
        training.run_epoch()
        rates.append(training.optimizer.param_groups[0]["lr"])
    assert rates == [0.05, 0.05, 0.1, 0.1]


def test_the_state_of_another_training_is_refused(tmp_path: Path) -> None:
    pooled_state.save(PooledTraining(trainer(seed=1)), tmp_path / "state")
    with pytest.raises(CheckpointError, match=r"another training \(seed 1\)"):
        pooled_state.load(PooledTraining(trainer()), tmp_path / "state")


def test_the_state_of_a_training_with_another_seed_of_the_model_is_refused(tmp_path: Path) -> None:
    pooled_state.save(PooledTraining(trainer(model_seed=5)), tmp_path / "state")
    with pytest.raises(CheckpointError, match=r"another training \(seed 0/0/5\)"):
        pooled_state.load(PooledTraining(trainer()), tmp_path / "state")


def test_a_torn_state_is_refused(tmp_path: Path) -> None:
    pooled_state.save(PooledTraining(trainer()), tmp_path / "state")
    text = (tmp_path / "state").read_bytes()
    (tmp_path / "state").write_bytes(text[: len(text) // 2])
    with pytest.raises(CheckpointError, match="cannot be gone on with"):
        pooled_state.load(PooledTraining(trainer()), tmp_path / "state")
