"""What a job whose pods were deleted is held against, and that a seed says which are deleted."""

from __future__ import annotations

from collections import Counter
from typing import Any

from chaos_cluster import TARGETS, judge, schedule

from support.jobs import Numbers

QUIET = Numbers({1: (0.7, 0.5), 2: (0.6, 0.75)}, "sha256:1")


def status(auc: str = "0.75", digest: str = "sha256:1", state: str = "Succeeded") -> dict[str, Any]:
    rounds = [{"round": 1, "loss": "0.7", "auc": "0.5"}, {"round": 2, "loss": "0.6", "auc": auc}]
    return {"state": state, "failure": "words", "training": {"recentRounds": rounds, "modelDigest": digest}}


def test_a_seed_names_the_strikes() -> None:
    assert schedule(5) == schedule(5) != schedule(6)


def test_every_pod_is_deleted_gracefully_and_by_force_by_some_seed() -> None:
    struck = {(s.target, s.force) for seed in range(100) for s in schedule(seed)}
    assert struck == {(target, force) for target in TARGETS for force in (False, True)}


def test_no_pod_is_deleted_so_often_that_its_job_waits_for_a_minute() -> None:
    assert max(max(Counter(s.target for s in schedule(seed)).values()) for seed in range(300)) == 2


def test_the_same_numbers_and_model_are_no_fault() -> None:
    assert judge(status(), QUIET) == ""


def test_a_metric_off_by_one_bit_is_a_fault() -> None:
    assert "0.7500000000000001" in judge(status(auc="0.7500000000000001"), QUIET)


def test_another_model_is_a_fault() -> None:
    assert judge(status(digest="sha256:2"), QUIET) == "the model's digest differs, its metrics do not"


def test_a_job_that_failed_is_a_fault_with_its_words() -> None:
    assert judge(status(state="Failed"), QUIET) == "ended as Failed: words"
