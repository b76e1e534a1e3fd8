"""Jobs of real processes that are suspended and go on from a checkpoint that builds upon others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from integration.local_jobs import MODES, UID, LocalJob, job
from safetensors.numpy import load_file

from fljob_api.progress import Outcome, RoundState
from fljob_runtime.checkpoints.chain import open_chain
from fljob_runtime.checkpoints.manifest import complete_versions

ROUNDS = 24  # so many that the suspension does not come too late


def wide(mode: dict[str, Any]) -> Any:
    """Return a job of two shards whose rounds touch few rows of many."""
    parameters = {"usersPerSite": 20, "items": 2000, "samplesPerUser": 40}
    return job(
        rounds=ROUNDS,
        strategy={"innerSteps": 3, "batchSize": 10, **mode},
        dataset={"name": "synthetic", "parameters": parameters},
        server={"replicas": 2},
    )


def suspended_and_resumed(root: Path, mode: dict[str, Any]) -> LocalJob:
    """Suspend a job after two rounds at least, check that it left increments, and run it to its end."""
    first = LocalJob(wide(mode), root)
    first.once(RoundState.TRAINING, 2, first.suspend)
    assert first.run().outcome is Outcome.PAUSED
    newest = complete_versions(first.folder.checkpoint, first.config.uid)[0]
    assert all(len(open_chain(first.folder.checkpoint, file).paths) > 1 for file in newest.files)
    first.folder.control.unlink()
    second = LocalJob(wide(mode), root)
    assert second.run().outcome is Outcome.SUCCEEDED
    return second


@pytest.mark.parametrize("mode", ["Geo", "Async", "Buffered"])
def test_a_suspended_job_goes_on_from_an_increment(tmp_path: Path, mode: str) -> None:
    run = suspended_and_resumed(tmp_path, MODES[mode])
    assert [number for number, _, _ in run.metrics()] == list(range(1, ROUNDS + 1))
    assert run.records("Rewound") == []


def test_steps_in_lockstep_resumed_from_an_increment_give_the_model_of_an_undisturbed_run(tmp_path: Path) -> None:
    adagrad = {**MODES["StepSync"], "serverOptimizer": {"name": "Adagrad", "learningRate": "0.05"}}  # it has a state
    quiet = LocalJob(wide(adagrad), tmp_path / "quiet")
    assert quiet.run().outcome is Outcome.SUCCEEDED
    resumed = suspended_and_resumed(tmp_path / "resumed", adagrad)
    assert resumed.metrics() == quiet.metrics()
    assert resumed.model() == quiet.model()


PRIVATE = {"parameterScopes": [{"name": "user_embedding", "scope": "Private"}]}
SMALL = {"usersPerSite": 20, "items": 60, "samplesPerUser": 40}
KINDS: dict[str, dict[str, Any]] = {
    "private": {"model": {"name": "mf", "parameters": {"factors": 4}}, **PRIVATE},
    "keyed": {
        "tables": [{"name": name, "keys": "Any"} for name in ("user_embedding", "item_embedding")],
        "dataset": {"name": "synthetic", "parameters": {**SMALL, "hashedIds": "true"}},
        **PRIVATE,
    },
}


def stored(run: LocalJob, rounds: int) -> dict[str, Any]:
    """Return what the trainers keep of the last round."""
    name = f"private-{UID}/private-{rounds:06d}.safetensors"
    files = {site: load_file(run.folder.storage(site) / name) for site in ("site-0", "site-1")}
    return {f"{site}/{key}": value.tolist() for site, kept in files.items() for key, value in kept.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_suspended_job_ends_as_an_undisturbed_one_also_where_state_stays_with_trainers(
    tmp_path: Path, kind: str
) -> None:
    strategy = {"innerSteps": 3, "batchSize": 10}
    spec = job(sites=2, rounds=12, strategy=strategy, optimizer={"learningRate": "0.01"}, **KINDS[kind])
    quiet, first = (LocalJob(spec, tmp_path / name) for name in ("quiet", "stopped"))
    assert quiet.run().outcome is Outcome.SUCCEEDED
    first.once(RoundState.TRAINING, 2, first.suspend)
    assert first.run().outcome is Outcome.PAUSED
    first.folder.control.unlink()
    second = LocalJob(spec, tmp_path / "stopped")
    assert second.run().outcome is Outcome.SUCCEEDED
    assert second.metrics() == quiet.metrics()
    assert second.model() == quiet.model()
    assert stored(second, 12) == stored(quiet, 12)
