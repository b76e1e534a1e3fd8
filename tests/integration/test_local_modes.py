"""Jobs of real processes in the modes other than Sync."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from integration.local_jobs import MODES, LocalJob, job

from fljob_api.progress import Outcome, RoundState


def modal(mode: str, strategy: dict[str, Any] | None = None, **spec: Any) -> Any:
    return job(strategy={"localEpochs": 4, "batchSize": 20, **MODES[mode], **(strategy or {})}, **spec)


@pytest.mark.parametrize("mode", MODES)
def test_a_job_trains_to_its_end(tmp_path: Path, mode: str) -> None:
    run = LocalJob(modal(mode), tmp_path)
    assert run.run().outcome is Outcome.SUCCEEDED
    assert [number for number, _, _ in run.metrics()] == [1, 2, 3]
    assert run.metrics()[-1][1] < run.metrics()[0][1]  # the loss falls
    assert run.metrics()[-1][2] > 0.65


@pytest.mark.parametrize(
    ("mode", "process"),
    [
        ("Geo", "trainer-site-1"),
        ("Geo", "coordinator"),
        ("Async", "server-0"),
        ("Buffered", "server-0"),
        ("Buffered", "coordinator"),
    ],
)
def test_a_killed_process_costs_no_round(tmp_path: Path, mode: str, process: str) -> None:
    run = LocalJob(modal(mode), tmp_path)
    run.once(RoundState.TRAINING, 1, lambda: run.kill(process, signal.SIGKILL), durable=True)
    assert run.run().outcome is Outcome.SUCCEEDED
    assert [number for number, _, _ in run.metrics()] == [1, 2, 3]


@pytest.mark.parametrize("process", ["trainer-site-1", "server-0"])
def test_steps_in_lockstep_end_as_if_nothing_had_been_killed(tmp_path: Path, process: str) -> None:
    quiet, shot = (LocalJob(modal("StepSync"), tmp_path / name) for name in ("quiet", "shot"))
    shot.once(RoundState.TRAINING, 1, lambda: shot.kill(process, signal.SIGKILL), durable=True)
    for run in (quiet, shot):
        run.run()
    assert shot.metrics() == quiet.metrics()
    assert shot.model() == quiet.model()


def test_two_shards_exchange_too_and_private_rows_stay_where_they_are(tmp_path: Path) -> None:
    scopes = [{"name": "user_embedding", "scope": "Private"}]
    run = LocalJob(modal("Geo", parameterScopes=scopes, server={"replicas": 2}), tmp_path)
    finish = run.run()
    assert finish.outcome is Outcome.SUCCEEDED, finish


def test_a_buffer_of_all_trainers_gives_the_model_of_sync(tmp_path: Path) -> None:
    scopes = [{"name": "user_embedding", "scope": "Private"}]
    strategy = {"localEpochs": 1, "batchSize": 20}
    sync = LocalJob(job(strategy=strategy, parameterScopes=scopes), tmp_path / "sync")
    whole = {**strategy, "mode": "Buffered", "bufferSize": 3}
    buffered = LocalJob(job(strategy=whole, parameterScopes=scopes, server={"replicas": 2}), tmp_path / "buffered")
    for run in (sync, buffered):
        run.run()
    assert buffered.metrics() == sync.metrics()
    assert buffered.model() == sync.model()


def test_a_paused_trainer_holds_no_version_up(tmp_path: Path) -> None:
    run = LocalJob(modal("Buffered", evaluation={"everyRounds": 5}, rounds=5), tmp_path)
    run.once(RoundState.TRAINING, 0, lambda: run.kill("trainer-site-1", signal.SIGSTOP))
    run.once(RoundState.EVALUATING, 5, lambda: run.kill("trainer-site-1", signal.SIGCONT))
    assert run.run().outcome is Outcome.SUCCEEDED
    made = [{update["trainer"] for update in record["accepted"]} for record in run.records("ListAccepted")]
    assert made[3:] == [{"site-0", "site-2"}] * 3  # what it had trained by then may be in the ones before
