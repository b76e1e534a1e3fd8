"""Where trainers compute: what a job may ask for, what it gets, and that models go along."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from integration.test_local_models import MODELS
from torch import Tensor
from unit.runtime.training.tiny import TinyData, plan, trainer

from fljob_api.fljob import FLJob
from fljob_api.spec import FLJobSpec
from fljob_runtime import registry
from fljob_runtime.data.datasets import OpenRequest, open_dataset
from fljob_runtime.models.base import Batch, RecommenderModel
from fljob_runtime.roles.trainer_setup import federated_plan, local_trainer
from fljob_runtime.training import pooled_state
from fljob_runtime.training.compute import CPU, Compute, ComputeError
from fljob_runtime.training.local import LocalTrainer, TrainPlan
from fljob_runtime.training.pooled import PooledTraining

ELSEWHERE = Compute(device=torch.device("meta"))  # tensors without values: what is elsewhere cannot be computed with
CUDA = Compute(device=torch.device("cuda"))
WITHOUT_VALUES = [
    name for name in MODELS if not name.startswith(("gru4rec", "youtube"))
]  # shapes follow from ids there


def spec(**changes: Any) -> FLJobSpec:
    base = {
        "model": {"name": "ncf"},
        "dataset": {"name": "synthetic"},
        "trainers": [{"name": "site-0"}, {"name": "site-1", "device": "cuda:1"}],
        "rounds": 1,
    }
    job = {"apiVersion": "fljob.dev/v1alpha1", "kind": "FLJob", "metadata": {"name": "j"}, "spec": {**base, **changes}}
    registry.load()
    return FLJob.from_dict(job).spec


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch say that this machine has two; nothing is put there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_job_that_says_nothing_is_on_the_cpu(two_gpus: None) -> None:
    assert Compute.of(spec(), "site-0").device == CPU


def test_a_trainers_own_device_wins(two_gpus: None) -> None:
    job = spec(device="auto")
    found = [Compute.of(job, client).device for client in ("site-0", "site-1", "pooled")]
    assert found == [torch.device("cuda"), torch.device("cuda:1"), torch.device("cuda")]


@pytest.mark.parametrize("wanted", ["auto", "cuda", "cuda:1"])
def test_without_an_accelerator_it_is_the_cpu_and_a_line_says_so(
    no_gpu: None, caplog: pytest.LogCaptureFixture, wanted: str
) -> None:
    assert Compute.of(spec(device=wanted), "site-0").device == CPU
    assert [record.getMessage() for record in caplog.records] == [
        f"event=device trainer=site-0 wanted={wanted} used=cpu message=spec.device: torch finds no accelerator, so "
        "training is on the CPU"
    ]


def test_a_gpu_that_is_not_there_beside_others_is_an_error(two_gpus: None) -> None:
    job = spec(trainers=[{"name": "site-0"}, {"name": "site-1", "device": "cuda:2"}])
    with pytest.raises(ComputeError, match=r"spec\.trainers\[1\]\.device: cuda:2 is not there; .* cuda:0 to cuda:1"):
        Compute.of(job, "site-1")


@pytest.mark.parametrize(
    ("strategy", "why"),
    [
        ({"mode": "Geo"}, "mode Geo exchanges values within a round"),
        ({"name": "FedProx", "parameters": {"mu": "0.1"}}, "FedProx corrects each step by the values"),
    ],
)
def test_a_strategy_that_needs_the_cpu_gets_it_and_a_line_says_why(
    two_gpus: None, caplog: pytest.LogCaptureFixture, strategy: dict[str, Any], why: str
) -> None:
    caplog.set_level(logging.WARNING)
    assert federated_plan(spec(strategy=strategy), "site-1").compute.device == CPU
    assert why in caplog.text


def test_a_plain_round_keeps_its_device(two_gpus: None) -> None:
    assert federated_plan(spec(), "site-1").compute.device == torch.device("cuda:1")


class Stays(RecommenderModel):
    """Makes a tensor on the CPU, wherever its batch is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def logits(self, batch: Batch) -> Tensor:
        return batch["item"] * self.weight + torch.ones(len(batch["item"]))


def one_step(local: LocalTrainer) -> None:
    """Compute the loss and gradients of a mini-batch where no values are."""
    examples = local.round_examples(1)
    local.plan = replace(local.plan, compute=ELSEWHERE)
    local.model.to("meta")
    for batch, labels in local.batches(examples, 10, 0, 10):
        loss, outputs, targets = local.plan.compute.loss(local.model, batch, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        local.measure.known(outputs, targets, trained=False)


@pytest.mark.parametrize("name", WITHOUT_VALUES)
def test_a_model_makes_no_tensor_elsewhere_than_its_batch_is(name: str) -> None:
    case = MODELS[name]
    job = spec(model={"name": case.model or name, "parameters": case.parameters}, dataset=case.dataset)
    data = open_dataset(job.dataset.name, job.dataset.parameters, OpenRequest("site-0", 0, 2, 0, None))
    local = local_trainer(job, TrainPlan.of(job, "site-0"), data)
    one_step(local)
    assert all(p.grad is not None and p.grad.is_meta for p in local.model.parameters())


def test_a_model_that_does_is_noticed() -> None:
    model = Stays()
    with pytest.raises(RuntimeError, match="device"):
        one_step(LocalTrainer(model, model.layout(), TinyData(), plan()))


@pytest.mark.cuda
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adagrad"])
def test_a_gpu_trains_and_measures_as_the_cpu_does(optimizer: str) -> None:
    here, there = trainer(optimizer=optimizer), trainer(optimizer=optimizer, compute=CUDA)
    ours, theirs = there.train(1), here.train(1)
    for name, value in theirs.state.dense.items():
        assert np.allclose(ours.state.dense[name], value, atol=1e-5), name
    assert there.evaluate().sums.mean_loss == pytest.approx(here.evaluate().sums.mean_loss, abs=1e-5)


@pytest.mark.cuda
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adagrad"])
def test_a_training_on_a_gpu_is_saved_and_goes_on(tmp_path: Path, optimizer: str) -> None:
    first, second = (PooledTraining(trainer(optimizer=optimizer, compute=CUDA)) for _ in range(2))
    first.run_epoch()
    pooled_state.save(first, tmp_path / "state")
    pooled_state.load(second, tmp_path / "state")
    first.run_epoch()
    second.run_epoch()
    ours, theirs = (pooled_state.values(training.trainer) for training in (first, second))
    assert all(np.allclose(ours.dense[name], value, atol=1e-6) for name, value in theirs.dense.items())
