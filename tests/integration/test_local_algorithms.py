"""Jobs of real processes with each federated algorithm."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from integration.local_jobs import LocalJob, job
from safetensors.numpy import load

from fljob_api.progress import Outcome, RoundState

SGD = {"name": "SGD", "learningRate": "0.05"}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "FedProx": {"parameters": {"mu": "0.01"}},
    "FedNova": {},
    "Scaffold": {},
}


def algorithmic(name: str, **spec: Any) -> Any:
    strategy = {"name": name, "localEpochs": 4, "batchSize": 20, **ALGORITHMS[name]}
    return job(strategy=strategy, sites=2, rounds=4, optimizer=SGD, **spec)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_job_trains_to_its_end(tmp_path: Path, name: str) -> None:
    run = LocalJob(algorithmic(name), tmp_path)
    assert run.run().outcome is Outcome.SUCCEEDED
    assert [number for number, _, _ in run.metrics()] == [1, 2, 3, 4]
    assert run.metrics()[-1][1] < run.metrics()[0][1]  # the loss falls
    assert run.metrics()[-1][2] > 0.65
    assert not [parameter for parameter in load(run.model()) if "@" in parameter]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> LocalJob:
    run = LocalJob(algorithmic("Scaffold", server={"replicas": 2}), tmp_path_factory.mktemp("quiet"))
    assert run.run().outcome is Outcome.SUCCEEDED
    return run


@pytest.mark.parametrize("process", ["trainer-site-1", "server-1", "coordinator"])
def test_scaffold_ends_as_if_nothing_had_been_killed(tmp_path: Path, quiet: LocalJob, process: str) -> None:
    shot = LocalJob(algorithmic("Scaffold", server={"replicas": 2}), tmp_path)
    shot.once(RoundState.TRAINING, 2, lambda: shot.kill(process))
    assert shot.run().outcome is Outcome.SUCCEEDED
    assert shot.metrics() == quiet.metrics()
    assert shot.model() == quiet.model()


def test_one_shard_and_two_give_the_same_numbers_with_scaffold(tmp_path: Path, quiet: LocalJob) -> None:
    run = LocalJob(algorithmic("Scaffold"), tmp_path)
    run.run()
    assert run.metrics() == quiet.metrics()


def test_a_trainer_that_lost_its_storage_goes_on_with_other_control_variates(tmp_path: Path, quiet: LocalJob) -> None:
    run = LocalJob(algorithmic("Scaffold"), tmp_path)

    def lose() -> None:
        run.kill("trainer-site-1")
        shutil.rmtree(run.folder.storage("site-1"))
        run.folder.storage("site-1").mkdir()

    run.once(RoundState.TRAINING, 2, lose)
    assert run.run().outcome is Outcome.SUCCEEDED
    assert "event=fresh_state" in run.log("trainer-site-1")
    assert run.metrics()[:2] == quiet.metrics()[:2]
    assert run.metrics()[2:] != quiet.metrics()[2:]
