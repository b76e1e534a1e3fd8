"""Jobs of a cluster as text: the headline metric by its own name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from fljob_cli.cluster.view import job_table, score, status_page

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(**status: Any) -> dict[str, Any]:
    metadata = {"name": "songs", "namespace": "research"}
    return {"metadata": metadata, "spec": {"rounds": 3, "trainers": [{"name": "a"}]}, "status": status}


def text(shown: Any) -> str:
    console = Console(width=120, color_system=None)
    with console.capture() as captured:
        console.print(shown)
    return captured.get()


def test_a_list_names_each_jobs_metric() -> None:
    jobs = [job(display={"score": "Recall@20=0.3142"}), job(display={"auc": "0.8000"})]
    lines = text(job_table(jobs, NOW, namespaces=False)).splitlines()
    assert "SCORE" in lines[0]
    assert ["Recall@20 0.3142" in lines[1], "AUC 0.8000" in lines[2]] == [True, True]


def test_nothing_is_shown_before_the_first_evaluation() -> None:
    assert score({"loss": "", "auc": ""}) == ""


def test_the_rounds_of_a_job_have_its_metric() -> None:
    recent = [{"round": 1, "loss": "6.5", "score": "0.25", "participants": 1}]
    shown = text(status_page(job(training={"headline": "Recall@20", "recentRounds": recent}), NOW))
    assert "loss  Recall@20" in shown
    assert "0.2500" in shown
