"""Of every registered model: the same seeds give the same bits, and a stopped training ends as an uninterrupted one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from unit.runtime.training.every_model import CASES, Case
from unit.runtime.training.in_process import InProcess, rounds

from fljob_api.catalog import built_in
from fljob_runtime.roles.trainer_setup import local_trainer
from fljob_runtime.training import pooled_state
from fljob_runtime.training.local import TrainPlan
from fljob_runtime.training.pooled import PooledData, PooledTraining

EPOCHS = 3


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute as trainers do, and leave torch's generator where it was."""
    generator, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(generator)


def test_every_registered_model_has_a_case() -> None:
    assert {case.model for case in CASES.values()} == set(built_in().kinds["models"])


def pooled(case: Case) -> PooledTraining:
    spec = case.config().spec
    torch.manual_seed(spec.seed)  # as `fljob train` does
    trainer = local_trainer(spec, TrainPlan.of(spec, "pooled"), PooledData(list(case.sites().values())))
    return PooledTraining(trainer, spec.strategy.local_epochs or 1)


def test_an_epoch_in_one_place_is_the_round_of_a_client_with_all_data(case: Case) -> None:
    training, client = pooled(case), pooled(case).trainer
    client.plan = replace(client.plan, local_epochs=1)
    training.run_epoch()
    client.train(1)
    theirs = dict(client.model.named_parameters())
    for name, ours in training.trainer.model.named_parameters():
        assert torch.equal(ours, theirs[name]), name


def to_the_end(training: PooledTraining, folder: Path) -> dict[str, bytes]:
    """Train the epochs that are left; return all tensors of the state that is written, and the last evaluation."""
    while training.epoch < EPOCHS:
        assert training.run_epoch()
    pooled_state.save(training, folder / "end")
    tensors = {name: tensor.numpy().tobytes() for name, tensor in load_file(folder / "end").items()}
    return {**tensors, "evaluation": training.trainer.evaluate().sums.to_bytes()}


def test_in_one_place_it_goes_on_from_within_an_epoch_bit_for_bit(case: Case, tmp_path: Path) -> None:
    whole = to_the_end(pooled(case), tmp_path)
    first, left = pooled(case), iter(range(2))
    assert first.run_epoch()
    assert not first.run_epoch(stop=lambda: next(left, None) is None)
    pooled_state.save(first, tmp_path / "state")
    torch.rand(7)
    second = pooled(case)
    pooled_state.load(second, tmp_path / "state")
    assert (second.epoch, second.batch) == (1, 2)
    assert to_the_end(second, tmp_path) == whole


def test_a_federation_goes_on_after_a_round_bit_for_bit(case: Case, tmp_path: Path) -> None:
    whole, first = (InProcess(case, tmp_path / name) for name in ("whole", "stopped"))
    measured = rounds(whole, (1, 2, 3, 4))
    assert rounds(first, (1, 2)) == measured[:2]  # and a rerun is the same
    torch.rand(7)
    second = InProcess(case, tmp_path / "stopped", first.saved)
    assert rounds(second, (3, 4)) == measured[2:]
    assert second.values(4) == whole.values(4)
    assert len({tuple(one) for one in measured}) == 4  # it does learn
