"""`fljob train` as a process: its lines, what it keeps, stopping and going on."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from integration.test_cli_run import LIMIT_S, MINIMAL, SMALL, command, fljob

SETTINGS = (*SMALL, "spec.rounds=4", "spec.dataset.parameters.samplesPerUser=300")


def lines(result: subprocess.CompletedProcess[str], code: int = 0) -> list[dict[str, Any]]:
    assert result.returncode == code, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    result = fljob("train", MINIMAL, "--run-dir", folder, "--keep", "1", "--output", "json", settings=SETTINGS)
    return folder, lines(result)


def test_every_epoch_is_a_line_of_metrics(whole: tuple[Path, Any]) -> None:
    epochs = whole[1][:-1]
    assert [line["epoch"] for line in epochs] == [1, 2, 3, 4]
    assert epochs[-1]["metrics"]["AUC"] > 0.6
    assert epochs[-1]["metrics"]["Loss"] == epochs[-1]["loss"]


def test_the_newest_and_the_best_epoch_are_kept(whole: tuple[Path, Any]) -> None:
    aucs = [line["metrics"]["AUC"] for line in whole[1][:-1]]
    best = 1 + aucs.index(max(aucs))
    kept = {int(path.parent.name) for path in (whole[0] / "epochs").glob("*/model.safetensors")}
    assert kept == {best, 4}
    assert (whole[1][-1]["best"], whole[1][-1]["kept"]) == (best, sorted(kept))


def test_ctrl_c_stops_and_a_second_call_ends_as_if_nothing_had_been(whole: tuple[Path, Any], tmp_path: Path) -> None:
    words = ("train", MINIMAL, "--run-dir", tmp_path / "run", "--keep", "1", "--output", "json")
    with subprocess.Popen(command(*words, settings=SETTINGS), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=LIMIT_S)[0].splitlines()
        assert (process.returncode, json.loads(rest[-1])["state"]) == (143, "Interrupted")
    again = lines(fljob(*words, "--resume", settings=SETTINGS))
    told = [first, *map(json.loads, rest[:-1]), *again[:-1]]
    assert [line["metrics"] for line in told] == [line["metrics"] for line in whole[1][:-1]]
    model, wanted = (folder / "epochs/4/model.safetensors" for folder in (tmp_path / "run", whole[0]))
    assert model.read_bytes() == wanted.read_bytes()


def test_a_training_goes_on_with_what_it_began_with(whole: tuple[Path, Any]) -> None:
    words = ("train", MINIMAL, "--run-dir", whole[0], "--resume")
    before = (whole[0] / "run.json").read_bytes()
    result = fljob(*words, settings=(*SETTINGS, "spec.strategy.batchSize=7", "spec.optimizer.learningRate=0.5"))
    assert (result.returncode, (whole[0] / "run.json").read_bytes() == before) == (10, True)
    assert "holds a training with another spec.optimizer, spec.strategy" in result.stderr


def test_what_a_record_has_beyond_the_state_is_trained_anew(whole: tuple[Path, Any], tmp_path: Path) -> None:
    words = ("train", MINIMAL, "--run-dir", tmp_path / "run", "--keep", "1", "--output", "json")
    settings = [one for one in SETTINGS if not one.startswith("spec.rounds")]
    lines(fljob(*words, settings=(*settings, "spec.rounds=1")))
    state = (tmp_path / "run/state.safetensors").read_bytes()
    lines(fljob(*words, "--resume", settings=(*settings, "spec.rounds=2")))
    (tmp_path / "run/state.safetensors").write_bytes(state)  # as a kill between the two leaves them
    end = lines(fljob(*words, "--resume", settings=SETTINGS))[-1]
    assert [entry["metrics"] for entry in end["rounds"]] == [line["metrics"] for line in whole[1][:-1]]


def test_a_training_that_diverged_at_once_says_what_can_be_done(tmp_path: Path) -> None:
    words = ("train", MINIMAL, "--run-dir", tmp_path / "run")
    first = fljob(*words, settings=(*SMALL, "spec.optimizer.learningRate=1e30"))
    assert first.returncode not in {0, 1}, first.stderr
    again = fljob(*words, "--resume", settings=SMALL)
    assert (again.returncode, "another spec.optimizer" in again.stderr) == (10, True)


def test_steps_of_federated_rounds_are_told_to_be_whole_epochs_here(tmp_path: Path) -> None:
    words = ("train", MINIMAL, "--run-dir", tmp_path / "run")
    result = fljob(*words, settings=(*SMALL, "spec.rounds=1", "spec.strategy.innerSteps=3"))
    assert (result.returncode, "innerSteps is for federated rounds" in result.stdout) == (0, True), result.stderr


def test_a_run_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = fljob("train", MINIMAL, "--run-dir", tmp_path / "file")
    assert (result.returncode, "--run-dir" in result.stderr, "Traceback" in result.stderr) == (10, True, False)


def test_one_site_alone_has_its_own_samples_and_stop_criteria_count(tmp_path: Path) -> None:
    stop = "spec.stopCriteria=[{metric: AUC, operator: GreaterOrEqual, value: '0.1', patience: 2}]"
    words = ("train", MINIMAL, "--site", "site-1", "--run-dir", tmp_path / "run", "--output", "json")
    *epochs, end = lines(fljob(*words, settings=(*SMALL, "spec.rounds=4", stop)))
    assert (len(epochs), end["site"], end["rounds"][0]["participants"]) == (2, "site-1", 1)
    assert end["message"] == "stopped by criterion AUC GreaterOrEqual 0.1 for 2 evaluations"


def test_an_unknown_site_is_refused_with_what_was_meant(tmp_path: Path) -> None:
    result = fljob("train", MINIMAL, "--site", "site1", cwd=tmp_path)
    assert (result.returncode, list(tmp_path.iterdir())) == (10, [])
    assert "did you mean `site-1`?" in result.stderr


def test_a_profile_is_shown_and_written_and_folders_are_told_as_they_are_called(tmp_path: Path) -> None:
    run_dir = tmp_path / "run[bold]:car:"
    words = ("train", MINIMAL, "--run-dir", run_dir, "--profile", tmp_path / "profile", "--profile-batches", "3")
    result = fljob(*words, settings=(*SMALL, "spec.rounds=1"))
    assert result.returncode == 0, result.stderr
    assert "3 mini-batches profiled" in result.stdout
    assert f"best    {run_dir / 'epochs/1'}\n" in result.stdout
    assert "Optimizer.step#Adam.step" in (tmp_path / "profile/operators.txt").read_text("utf-8")
    assert json.loads((tmp_path / "profile/trace.json").read_text("utf-8"))["traceEvents"]


@pytest.mark.tensorboard
def test_events_for_tensorboard_are_written(tmp_path: Path) -> None:
    words = ("train", MINIMAL, "--run-dir", tmp_path / "run", "--tensorboard", tmp_path / "events", "--histograms", "1")
    result = fljob(*words, settings=(*SMALL, "spec.rounds=1"))
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "events").glob("events.out.tfevents.*"))) == 1
