"""`fljob run` with the real programs on small generated sites: output, exit codes, stopping and going on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from support.processes import processes_of

ROOT = Path(__file__).parents[2]
MINIMAL = ROOT / "examples/minimal/fljob.yaml"
LIMIT_S = 120
SMALL = ("spec.dataset.parameters.usersPerSite=20", "spec.dataset.parameters.samplesPerUser=50")


def command(*arguments: str | Path, settings: Sequence[str] = SMALL) -> list[str]:
    flags = [part for setting in settings for part in ("--set", setting)]
    return [sys.executable, "-m", "fljob_cli", *map(str, arguments), *flags]


def fljob(
    *arguments: str | Path, settings: Sequence[str] = (), cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, settings=settings), capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=cwd
    )


def last_json(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr
    value: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return value


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One whole run with the comparison, as a script would start it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    settings = (*SMALL, "spec.rounds=2")
    result = fljob("run", MINIMAL, "--run-dir", folder, "--compare-pooled", "--output", "json", settings=settings)
    return folder, result


def test_the_last_line_of_stdout_is_the_whole_result(finished: tuple[Path, Any]) -> None:
    folder, result = finished
    value = last_json(result)
    assert list(value) == ["job", "state", "headline", "rounds", "pooled", "model", "report"]
    assert (value["job"], value["state"]) == ("minimal", "Succeeded")
    assert [entry["round"] for entry in value["rounds"]] == [1, 2]
    assert value["report"] == str(folder / "report.html")


def test_every_round_tells_its_numbers(finished: tuple[Path, Any]) -> None:
    (entry, _) = last_json(finished[1])["rounds"]
    assert list(entry) == ["round", "loss", "auc", "participants", "dropped", "seconds", "bytes", "score"]
    assert (entry["participants"], entry["dropped"]) == (2, 0)
    assert 0.3 < entry["auc"] == entry["score"] < 1.0
    assert entry["bytes"] > 0


def test_pooled_training_has_an_auc_per_pass(finished: tuple[Path, Any]) -> None:
    assert len(last_json(finished[1])["pooled"]["auc"]) == 2


def test_the_comparison_goes_with_any_ids_too(tmp_path: Path) -> None:
    tables = "spec.tables=[{name: user_embedding, keys: Any}, {name: item_embedding, keys: Any}]"
    settings = (*SMALL, "spec.rounds=2", "spec.dataset.parameters.hashedIds=true", tables)
    folder = tmp_path / "run"
    result = fljob("run", MINIMAL, "--run-dir", folder, "--compare-pooled", "--output", "json", settings=settings)
    aucs = last_json(result)["pooled"]["auc"]
    assert len(aucs) == 2
    assert all(0.3 < auc < 1.0 for auc in aucs)
    assert (folder / "report.html").exists()


def test_progress_goes_to_stderr_without_colours(finished: tuple[Path, Any]) -> None:
    result = finished[1]
    assert "   2/2  " in result.stderr
    assert "\x1b[" not in result.stderr
    assert len(result.stdout.splitlines()) == 1


def test_the_report_shows_both_curves(finished: tuple[Path, Any]) -> None:
    page = (finished[0] / "report.html").read_text(encoding="utf-8")
    assert (page.count("federated, round 2: 0."), page.count("pooled, round 2: 0.")) == (2, 1)


def test_the_report_can_be_made_anew_from_the_folder(finished: tuple[Path, Any], tmp_path: Path) -> None:
    again = tmp_path / "again.html"
    fljob("report", finished[0], "--out", again)
    assert again.read_bytes() == (finished[0] / "report.html").read_bytes()


def test_the_model_is_fetched_and_its_digest_checked(finished: tuple[Path, Any], tmp_path: Path) -> None:
    result = fljob("model", "get", finished[0], "--out", tmp_path)
    assert (result.returncode, result.stdout) == (0, f"{tmp_path / 'model.safetensors'}\n")


def test_a_changed_model_is_refused(finished: tuple[Path, Any], tmp_path: Path) -> None:
    record = json.loads((finished[0] / "run.json").read_text())
    forged = tmp_path / "model.safetensors"
    forged.write_bytes(Path(record["model"]).read_bytes() + b"x")
    (tmp_path / "run.json").write_text(json.dumps(record | {"model": str(forged)}))
    result = fljob("model", "get", tmp_path, "--out", tmp_path / "out")
    assert (result.returncode, list(tmp_path.glob("out/*"))) == (23, [])


def test_a_second_run_does_not_overwrite_the_first(finished: tuple[Path, Any]) -> None:
    result = fljob("run", MINIMAL, "--run-dir", finished[0])
    assert (result.returncode, "add --resume" in result.stderr) == (10, True)


def test_the_same_seed_gives_the_same_numbers(finished: tuple[Path, Any], tmp_path: Path) -> None:
    settings = (*SMALL, "spec.rounds=1")
    again = fljob("run", MINIMAL, "--run-dir", tmp_path / "r", "--output", "json", settings=settings)
    first, second = (last_json(result)["rounds"][0] for result in (finished[1], again))
    assert (first["loss"], first["auc"]) == (second["loss"], second["auc"])


def test_another_seed_gives_other_numbers(finished: tuple[Path, Any], tmp_path: Path) -> None:
    settings = (*SMALL, "spec.rounds=1")
    other = fljob("run", MINIMAL, "--seed", "1", "--run-dir", tmp_path / "r", "--output", "json", settings=settings)
    assert last_json(finished[1])["rounds"][0]["auc"] != last_json(other)["rounds"][0]["auc"]


def test_a_wrong_manifest_is_refused_before_anything_starts(tmp_path: Path) -> None:
    settings = ("spec.model.name=nfc", "spec.optimizer.name=adam")
    result = fljob("run", MINIMAL, settings=settings, cwd=tmp_path)
    assert (result.returncode, list(tmp_path.iterdir())) == (10, [])
    assert "2 problems" in result.stderr
    assert "spec.model.name" in result.stderr
    assert "Did you mean `Adam`?" in result.stderr


def test_missing_data_is_refused_with_what_to_do(tmp_path: Path) -> None:
    result = fljob("run", ROOT / "examples/movielens-ten-sites/fljob.yaml", cwd=tmp_path)
    assert (result.returncode, "--data-root DIR" in result.stderr) == (12, True)


def test_a_manifest_without_volumes_runs_on_the_folders_that_are_given(tmp_path: Path) -> None:
    users = "".join(f"{user}|30|M|other|{user}0000\n" for user in (1, 2))
    ratings = "".join(f"{user}\t{item}\t4\t{item}\n" for user in (1, 2) for item in range(1, 9))
    (tmp_path / "u.user").write_text(users)
    (tmp_path / "u.data").write_text(ratings)
    importing = ("data", "import", "movielens", "--source", tmp_path, "--partition", "zip", "--out", tmp_path / "sites")
    assert fljob(*importing).returncode == 0
    settings = ("spec.dataset={name: movielens}", "spec.trainers=[{name: site-1}, {name: site-2}]", "spec.rounds=1")
    result = fljob("run", MINIMAL, "--data-root", tmp_path / "sites", "--run-dir", tmp_path / "r", settings=settings)
    assert result.returncode == 0, result.stdout


def test_broken_data_of_a_site_that_the_quorum_needs_ends_the_run_and_names_the_file(tmp_path: Path) -> None:
    fljob("data", "generate", "synthetic", "--sites", "2", "--users-per-site", "20", "--out", tmp_path / "sites")
    broken = tmp_path / "sites/site-1/train.parquet"
    broken.write_bytes(broken.read_bytes()[:-10])
    result = fljob("run", MINIMAL, "--data-root", tmp_path / "sites", "--run-dir", tmp_path / "run")
    assert result.returncode == 20
    assert "site-1/train.parquet" in result.stdout
    assert "report" in result.stdout


def read_until(process: subprocess.Popen[str], words: str) -> None:
    """Read lines of stdout until one holds the words; the test's own time limit bounds it."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if words in line:
            return
    raise AssertionError(f"{words!r} never came: {seen}")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_ends_soon_and_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path, stop: int) -> None:
    folder = tmp_path / "run"
    settings = (*SMALL, "spec.rounds=400")
    with subprocess.Popen(
        command("run", MINIMAL, "--run-dir", folder, settings=settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        read_until(process, "   2/400")
        asked = time.monotonic()
        os.killpg(process.pid, stop)
        rest, _ = process.communicate(timeout=30)
        took = time.monotonic() - asked
    assert (process.returncode, took < 10) == (143, True)
    assert f"--run-dir {folder} --resume" in rest
    assert processes_of(folder) == []
    last = json.loads((folder / "run.json").read_text())["rounds"][-1]["round"]
    settings = (*SMALL, f"spec.rounds={last + 1}")
    resumed = fljob("run", MINIMAL, "--run-dir", folder, "--resume", "--output", "json", settings=settings)
    whole = fljob("run", MINIMAL, "--run-dir", tmp_path / "whole", "--output", "json", settings=settings)
    numbers = [[(r["round"], r["loss"], r["auc"]) for r in last_json(one)["rounds"]] for one in (resumed, whole)]
    assert numbers[0] == numbers[1]


def test_resume_without_a_run_is_refused(tmp_path: Path) -> None:
    result = fljob("run", MINIMAL, "--run-dir", tmp_path, "--resume")
    assert (result.returncode, "no run to go on with" in result.stderr) == (10, True)


def test_help_needs_no_torch_and_is_quick() -> None:
    code = (
        "import sys, time; began = time.perf_counter(); sys.argv = ['fljob', '--help']\n"
        "from fljob_cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('heavy:', sorted({'torch', 'numpy', 'kubernetes', 'grpc', 'pydantic'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.splitlines()[-1] == "heavy: []"
