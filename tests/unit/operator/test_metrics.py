"""What the operator exports: counts of its own work, and the last numbers of each FLJob until it is gone."""

from __future__ import annotations

import pytest

from fljob_operator.metrics import OperatorMetrics
from support.operator_values import fljob, running

JOB = {"namespace": "lab", "job": "movies"}
TRAINING = {
    "state": "Training",
    "round": 3,
    "total": 5,
    "metrics": [{"name": "Loss", "value": "0.5", "round": 3}, {"name": "AUC", "value": "0.75", "round": 3}],
}


def value(metrics: OperatorMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_reconciles_are_counted_by_result_and_timed() -> None:
    metrics = OperatorMetrics()
    metrics.reconciled("changed", 0.25)
    metrics.reconciled("changed", 0.5)
    assert value(metrics, "fljob_operator_reconcile_total", result="changed") == 2.0
    assert value(metrics, "fljob_operator_reconcile_seconds_sum") == 0.75


def test_writes_and_requests_are_counted() -> None:
    metrics = OperatorMetrics()
    metrics.applied("Job")
    metrics.requested("GET", 200)
    metrics.requested("GET", 0)
    assert value(metrics, "fljob_operator_children_applied_total", kind="Job") == 1.0
    assert value(metrics, "fljob_operator_api_requests_total", verb="GET", code="0") == 1.0


@pytest.mark.parametrize(("leader", "exported"), [(True, 1.0), (False, 0.0)])
def test_leadership_is_a_gauge(leader: bool, exported: float) -> None:
    metrics = OperatorMetrics()
    metrics.leads(leader)
    assert value(metrics, "fljob_operator_leader") == exported


def test_the_queue_is_read_when_it_is_scraped() -> None:
    metrics = OperatorMetrics()
    metrics.queue_depth, metrics.queue_age_s = lambda: 3, lambda: 1.5
    assert value(metrics, "fljob_operator_queue_depth") == 3.0
    assert value(metrics, "fljob_operator_queue_age_seconds") == 1.5


def test_the_age_of_the_watch_is_that_of_the_last_event_or_list() -> None:
    metrics = OperatorMetrics()
    metrics.last_list -= 50.0
    assert 50.0 <= (value(metrics, "fljob_operator_list_age_seconds") or 0.0) < 60.0
    assert 0.0 <= (value(metrics, "fljob_operator_watch_age_seconds") or 0.0) < 10.0


def test_the_last_numbers_of_a_job_are_exported() -> None:
    metrics = OperatorMetrics()
    metrics.saw(running(status={"state": "Running", "restarts": 2, "training": TRAINING}))
    names = ("round", "loss", "auc", "restarts", "trainers_failed")
    assert [value(metrics, f"fljob_job_{name}", **JOB) for name in names] == [3.0, 0.5, 0.75, 2.0, 0.0]
    assert value(metrics, "fljob_job_info", **JOB, state="Running", model="ncf") == 1.0
    assert value(metrics, "fljob_operator_jobs", state="Running") == 1.0


def test_a_job_without_a_round_has_no_loss() -> None:
    metrics = OperatorMetrics()
    metrics.saw(fljob())
    assert value(metrics, "fljob_job_loss", **JOB) is None
    assert value(metrics, "fljob_operator_jobs", state="Pending") == 1.0


def test_a_metric_without_a_value_is_left_out() -> None:
    metrics = OperatorMetrics()
    untold = {**TRAINING, "metrics": [{"name": "Loss", "value": "", "round": 3}]}
    metrics.saw(running(status={"training": untold}))
    assert value(metrics, "fljob_job_loss", **JOB) is None


def test_the_age_of_progress_counts_from_the_last_change() -> None:
    metrics = OperatorMetrics()
    job = running(status={"state": "Running", "training": TRAINING})
    metrics.saw(job)
    metrics._told["lab/movies"] -= 100.0
    metrics.saw(job)
    assert (value(metrics, "fljob_job_progress_age_seconds", **JOB) or 0.0) >= 100.0
    metrics.saw(running(status={"state": "Running", "training": {**TRAINING, "round": 4}}))
    assert (value(metrics, "fljob_job_progress_age_seconds", **JOB) or 0.0) < 10.0


def test_a_job_that_is_gone_is_not_exported() -> None:
    metrics = OperatorMetrics()
    metrics.saw(running(status={"training": TRAINING}))
    metrics.forget("lab/movies")
    assert metrics.known() == ()
    assert value(metrics, "fljob_job_round", **JOB) is None
