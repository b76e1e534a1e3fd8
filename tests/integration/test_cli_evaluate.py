"""`fljob evaluate` gives the numbers that the run gave, round by round; what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from integration.test_cli_run import MINIMAL, SMALL, fljob, last_json

SETTINGS = (*SMALL, "spec.rounds=3", "spec.parameterScopes=[{name: user_embedding, scope: Private}]")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("run") / "run"
    rounds = last_json(fljob("run", MINIMAL, "--run-dir", folder, "--output", "json", settings=SETTINGS))["rounds"]
    return folder, rounds


def test_every_kept_round_has_the_metrics_that_the_run_told(run: tuple[Path, Any]) -> None:
    result = fljob("evaluate", run[0], "--rounds", "2..3", "--output", "json")
    assert result.returncode == 0, result.stderr
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [entry["round"] for entry in found] == [2, 3]
    for entry, told in zip(found, run[1][1:], strict=True):
        assert entry["metrics"]["Loss"] == pytest.approx(told["loss"], rel=1e-5)
        assert entry["metrics"]["AUC"] == pytest.approx(told["auc"], rel=1e-5)
        assert sum(site["samples"] for site in entry["sites"].values()) == entry["samples"]


def test_a_table_has_a_line_for_all_and_one_for_each_site(run: tuple[Path, Any]) -> None:
    result = fljob("evaluate", run[0], "--site", "site-1", "--max-batches", "1")
    head, whole, site = (line.split() for line in result.stdout.splitlines())
    assert head[:5] == ["round", "site", "samples", "Loss", "AUC"]
    assert (whole[:3], site[:3]) == (["3", "global", "128"], ["3", "site-1", "128"])
    assert whole[3:] == site[3:]


def test_a_field_of_the_runs_own_manifest_can_be_changed(run: tuple[Path, Any]) -> None:
    words = ("evaluate", run[0], "--max-batches", "1", "--output", "json")
    assert last_json(fljob(*words, settings=("spec.strategy.batchSize=10",)))["samples"] == 20
    result = fljob(*words, settings=("spec.nonsense=1",))
    assert (result.returncode, "unknown key `nonsense`" in result.stderr) == (10, True)


def test_a_round_that_is_not_kept_is_refused(run: tuple[Path, Any]) -> None:
    result = fljob("evaluate", run[0], "--rounds", "7")
    assert (result.returncode, "not kept: 7; kept are" in result.stderr) == (12, True)


def test_data_of_another_schema_are_refused(run: tuple[Path, Any]) -> None:
    settings = (*SETTINGS, "spec.dataset.parameters.items=61")
    result = fljob("evaluate", run[0], "--manifest", MINIMAL, settings=settings)
    assert result.returncode == 13, result.stderr
    assert "item_embedding" in result.stderr
