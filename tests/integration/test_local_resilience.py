"""A job whose processes are killed ends with the model of an undisturbed one, bit for bit (quorum: all)."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from integration.local_jobs import LocalJob, job

from fljob_api.progress import Outcome, Progress, RoundState


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> LocalJob:
    run = LocalJob(job(), tmp_path_factory.mktemp("undisturbed"))
    assert run.run().outcome is Outcome.SUCCEEDED
    return run


def test_an_undisturbed_job_gets_better_each_round(undisturbed: LocalJob) -> None:
    rounds, losses, _ = zip(*undisturbed.metrics(), strict=True)
    assert rounds == (1, 2, 3)
    assert losses[2] < losses[1] < losses[0]


@pytest.mark.parametrize("process", ["trainer-site-1", "server-0", "coordinator"])
def test_a_process_killed_in_training_changes_nothing(process: str, undisturbed: LocalJob, tmp_path: Path) -> None:
    run = LocalJob(job(), tmp_path)
    run.once(RoundState.TRAINING, 1, lambda: run.kill(process), durable=True)
    assert run.run().outcome is Outcome.SUCCEEDED
    assert not run.hooks
    assert run.metrics() == undisturbed.metrics()
    assert run.model() == undisturbed.model()


def test_all_processes_killed_in_training_change_nothing(undisturbed: LocalJob, tmp_path: Path) -> None:
    run = LocalJob(job(), tmp_path)
    everything = ("coordinator", "server-0", "trainer-site-0", "trainer-site-1", "trainer-site-2")

    def kill_all() -> None:
        for process in everything:
            run.kill(process)

    run.once(RoundState.TRAINING, 1, kill_all, durable=True)
    assert run.run().outcome is Outcome.SUCCEEDED
    assert not run.hooks
    assert run.model() == undisturbed.model()


def test_a_server_killed_in_evaluation_changes_nothing(undisturbed: LocalJob, tmp_path: Path) -> None:
    run = LocalJob(job(), tmp_path)
    run.once(RoundState.EVALUATING, 1, lambda: run.kill("server-0"))
    assert run.run().outcome is Outcome.SUCCEEDED
    assert run.model() == undisturbed.model()


def test_two_shards_make_the_same_model_though_one_is_killed(undisturbed: LocalJob, tmp_path: Path) -> None:
    run = LocalJob(job(server={"replicas": 2}), tmp_path)
    run.once(RoundState.TRAINING, 1, lambda: run.kill("server-1"), durable=True)
    assert run.run().outcome is Outcome.SUCCEEDED
    assert run.metrics() == undisturbed.metrics()


def test_rounds_without_a_checkpoint_are_repeated_after_the_servers_death(
    undisturbed: LocalJob, tmp_path: Path
) -> None:
    checkpoint = {"volumeClaimTemplate": {"storage": "1Gi"}, "everyRounds": 3}
    run = LocalJob(job(checkpoint=checkpoint), tmp_path)
    run.once(RoundState.TRAINING, 2, lambda: run.kill("server-0"))
    assert run.run().outcome is Outcome.SUCCEEDED
    assert [record["version"] for record in run.records("Rewound")] == [0]
    assert run.metrics()[-3:] == undisturbed.metrics()


def test_a_coordinator_that_died_after_its_last_word_says_it_again_though_all_others_are_gone(tmp_path: Path) -> None:
    run = LocalJob(job(), tmp_path)
    assert run.run().outcome is Outcome.SUCCEEDED
    model, words = run.model(), run.records("Finished")
    run.folder.progress.unlink()
    (file,) = run.folder.checkpoint.glob("*/model/model.safetensors")
    file.unlink()
    again = run.supervisor.programs["coordinator"]
    assert (
        subprocess.run([sys.executable, "-m", again.module, *again.arguments], timeout=60, check=False).returncode == 0
    )
    said = Progress.model_validate_json(run.folder.progress.read_bytes())
    assert (said.finish and said.finish.outcome, said.training.round) == (Outcome.SUCCEEDED, 3)
    assert (run.model(), run.records("Finished")) == (model, words)


def test_an_interrupted_run_goes_on_in_its_folder(undisturbed: LocalJob, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    first = LocalJob(job(), tmp_path)
    first.once(RoundState.TRAINING, 1, interrupt, durable=True)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = LocalJob(job(), tmp_path)
    assert second.run().outcome is Outcome.SUCCEEDED
    assert second.model() == undisturbed.model()


def test_a_suspended_job_goes_on_with_the_same_result(undisturbed: LocalJob, tmp_path: Path) -> None:
    first = LocalJob(job(), tmp_path)
    first.once(RoundState.TRAINING, 1, first.suspend)
    paused = first.run()
    assert (paused.outcome, paused.exit_code) == (Outcome.PAUSED, 143)
    first.folder.control.unlink()
    second = LocalJob(job(), tmp_path)
    assert second.run().outcome is Outcome.SUCCEEDED
    assert second.model() == undisturbed.model()


@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 1)])
def test_a_suspended_job_goes_on_with_another_number_of_shards(
    before: int, after: int, undisturbed: LocalJob, tmp_path: Path
) -> None:
    first = LocalJob(job(server={"replicas": before}), tmp_path)
    first.once(RoundState.TRAINING, 1, first.suspend)
    assert first.run().outcome is Outcome.PAUSED
    first.folder.control.unlink()
    second = LocalJob(job(server={"replicas": after}), tmp_path)
    assert second.run().outcome is Outcome.SUCCEEDED
    assert second.metrics() == undisturbed.metrics()
    assert second.model() == undisturbed.model()


def test_the_servers_optimizer_goes_on_with_another_number_of_shards(tmp_path: Path) -> None:
    strategy = {"localEpochs": 4, "batchSize": 20, "serverOptimizer": {"name": "Adam", "learningRate": "0.01"}}
    whole = LocalJob(job(strategy=strategy), tmp_path / "whole")
    assert whole.run().outcome is Outcome.SUCCEEDED
    first = LocalJob(job(strategy=strategy, server={"replicas": 2}), tmp_path / "cut")
    first.once(RoundState.TRAINING, 1, first.suspend)
    assert first.run().outcome is Outcome.PAUSED
    first.folder.control.unlink()
    second = LocalJob(job(strategy=strategy, server={"replicas": 3}), tmp_path / "cut")
    assert second.run().outcome is Outcome.SUCCEEDED
    assert second.model() == whole.model()


def test_a_stopped_coordinator_says_so_by_its_code_and_goes_on(undisturbed: LocalJob, tmp_path: Path) -> None:
    run = LocalJob(job(), tmp_path)
    run.once(RoundState.TRAINING, 1, lambda: run.kill("coordinator", signal.SIGTERM))
    assert run.run().outcome is Outcome.SUCCEEDED
    assert "event=stopped" in run.log("coordinator")
    assert run.model() == undisturbed.model()
