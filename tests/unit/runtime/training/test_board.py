"""Events for TensorBoard, read back by its own reader."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from unit.runtime.training.tiny import trainer

from fljob_api.optimizer import Schedule
from fljob_runtime.training import pooled_state
from fljob_runtime.training.board import Board, BoardError
from fljob_runtime.training.pooled import PooledTraining

WARM_UP = Schedule.model_validate({"name": "WarmUp", "warmUpRounds": 2})


def made(**changes: Any) -> PooledTraining:
    """Return a training of five mini-batches of two samples an epoch."""
    return PooledTraining(trainer("MLP", batch_size=2, schedule=WARM_UP, **changes))


def run(training: PooledTraining, folder: Path, epochs: int, histograms: int = 0) -> list[float]:
    """Train, and return the loss of each mini-batch."""
    shown, losses = Board(folder, training, histograms), []

    def step(loss: Tensor) -> None:
        losses.append(float(loss))
        shown.step(loss)

    for _ in range(epochs):
        training.run_epoch(on_step=step)
        shown.epoch({"AUC": 0.5 + training.epoch / 10})
    shown.close()
    return losses


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415 - an extra

    events = EventAccumulator(str(folder), {"scalars": 0, "histograms": 0})
    events.Reload()
    return events


def points(folder: Path, name: str) -> list[tuple[int, Any]]:  # Any: compared with approximations
    return [(event.step, event.value) for event in read(folder).Scalars(name)]


@pytest.mark.tensorboard
def test_the_loss_is_the_mean_since_the_point_before(tmp_path: Path) -> None:
    losses = run(made(), tmp_path, 2)
    wanted = [(5, sum(losses[:5]) / 5), (10, sum(losses[5:]) / 5)]
    assert points(tmp_path, "train/loss") == [(step, pytest.approx(value, abs=1e-6)) for step, value in wanted]


@pytest.mark.tensorboard
def test_rate_and_metrics_are_there(tmp_path: Path) -> None:
    run(made(), tmp_path, 2)
    assert points(tmp_path, "train/learning_rate") == [(5, pytest.approx(0.05)), (10, pytest.approx(0.1))]
    assert points(tmp_path, "evaluation/AUC") == [(5, pytest.approx(0.6)), (10, pytest.approx(0.7))]


@pytest.mark.tensorboard
def test_norms_are_those_of_the_last_gradients(tmp_path: Path) -> None:
    training = made()
    run(training, tmp_path, 1)
    gradients = {name: value.grad for name, value in training.trainer.model.named_parameters()}
    whole = torch.cat([gradient.flatten() for gradient in gradients.values() if gradient is not None])
    weight = float(gradients["output.weight"].norm())
    assert points(tmp_path, "gradient_norm/output.weight") == [(5, pytest.approx(weight, rel=1e-5))]
    assert points(tmp_path, "train/gradient_norm") == [(5, pytest.approx(float(whole.norm()), rel=1e-5))]


@pytest.mark.tensorboard
def test_histograms_come_every_so_many_epochs_of_parameters_and_gradients(tmp_path: Path) -> None:
    training = made()
    run(training, tmp_path, 4, histograms=2)
    events = read(tmp_path)
    names = [name for name, _ in training.trainer.model.named_parameters()]
    assert set(events.Tags()["histograms"]) == {
        f"{kind}/{name}" for kind in ("parameter", "gradient") for name in names
    }
    assert [event.step for event in events.Histograms("parameter/output.weight")] == [10, 20]
    assert events.Histograms("parameter/output.weight")[0].histogram_value.num == 4


@pytest.mark.tensorboard
def test_sparse_gradients_are_shown_as_dense_ones(tmp_path: Path) -> None:
    dense, sparse = made(), made()
    tables = [module for module in sparse.trainer.model.modules() if isinstance(module, torch.nn.Embedding)]
    for table in tables:
        table.sparse = True
    run(dense, tmp_path / "dense", 1, histograms=1)
    run(sparse, tmp_path / "sparse", 1, histograms=1)
    assert tables
    assert all(table.weight.grad is not None and table.weight.grad.is_sparse for table in tables)
    for name, _ in sparse.trainer.model.named_parameters():
        wanted = [
            (5, pytest.approx(value, rel=1e-5)) for _, value in points(tmp_path / "dense", f"gradient_norm/{name}")
        ]
        assert points(tmp_path / "sparse", f"gradient_norm/{name}") == wanted
        assert read(tmp_path / "sparse").Histograms(f"gradient/{name}")[0].histogram_value.num > 0


@pytest.mark.tensorboard
def test_without_histograms_there_are_none(tmp_path: Path) -> None:
    run(made(), tmp_path, 1)
    assert read(tmp_path).Tags()["histograms"] == []


@pytest.mark.tensorboard
def test_a_training_that_goes_on_takes_the_place_of_what_came_after(tmp_path: Path) -> None:
    first, again = made(), made()
    run(first, tmp_path, 1)
    pooled_state.save(first, tmp_path / "state")
    run(first, tmp_path, 1)  # lost: the state on disk is from before
    pooled_state.load(again, tmp_path / "state")
    run(again, tmp_path, 2)
    assert [step for step, _ in points(tmp_path, "evaluation/AUC")] == [5, 10, 15]


def test_without_the_package_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else found(name))
    with pytest.raises(BoardError, match=r"pip install 'fljob-runtime\[tensorboard\]'"):
        Board(tmp_path, made())
