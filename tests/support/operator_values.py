"""Values for the operator's tests, that show only what differs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fljob_api import names
from fljob_api.fljob import FLJob
from fljob_api.progress import Finish, Metric, Outcome, Progress, RoundState, Training
from fljob_operator.desired import Defaults
from fljob_operator.observed import JobView, PodView

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DEFAULTS = Defaults("registry/fljob-runtime:1")
UID = "0a1b2c3d-0000-0000-0000-000000000001"


def raw_job(
    name: str = "movies", *, trainers: int = 2, status: dict[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    """Return an FLJob as the API server gives it."""
    value: dict[str, Any] = {
        "apiVersion": "fljob.dev/v1alpha1",
        "kind": "FLJob",
        "metadata": {"name": name, "namespace": "lab", "uid": UID, "generation": 1},
        "spec": {
            "model": {"name": "ncf"},
            "rounds": 5,
            "dataset": {"name": "synthetic"},
            "trainers": [{"name": f"site-{i}"} for i in range(trainers)],
            **spec,
        },
    }
    if status:
        value["status"] = status
    return value


def fljob(name: str = "movies", **changes: Any) -> FLJob:
    """Return an FLJob."""
    return FLJob.from_dict(raw_job(name, **changes))


def running(**changes: Any) -> FLJob:
    """Return an FLJob that was started a minute ago."""
    status = {"incarnation": 1, "startTime": "2026-03-01T11:59:00Z", "resumeTime": "2026-03-01T11:59:00Z"}
    return fljob(status={**status, **changes.pop("status", {})}, **changes)


def job_view(role: str = "trainer", trainer: str = "site-0", **changes: Any) -> JobView:
    """Return a child Job of `movies`."""
    child = (
        names.trainer("movies", trainer) if role == "trainer" else f"movies-{role}" + ("-0" if role == "server" else "")
    )
    return JobView(name=child, role=role, trainer=trainer if role == "trainer" else "", **{"incarnation": 1, **changes})


def all_jobs(**changes: Any) -> dict[str, JobView]:
    """Return the child Jobs of `movies` with two trainers, those named by role or trainer changed."""
    views = [
        job_view("coordinator", **changes.get("coordinator", {})),
        job_view("server", **changes.get("server", {})),
        *(job_view(trainer=t, **changes.get(t.replace("-", "_"), {})) for t in ("site-0", "site-1")),
    ]
    return {view.name: view for view in views}


def pod(role: str = "trainer", trainer: str = "site-0", **changes: Any) -> PodView:
    """Return a pod of `movies`."""
    view = job_view(role, trainer)
    return PodView(child=view.name, role=role, trainer=view.trainer, **{"phase": "Running", **changes})


def progress(
    *, state: RoundState = RoundState.TRAINING, finish: Finish | None = None, incarnation: int = 1, **training: Any
) -> Progress:
    """Return what the coordinator wrote."""
    metrics = [Metric(name="Loss", value="0.5", round=3), Metric(name="AUC", value="0.8", round=3)]
    told = Training(state=state, **{"round": 3, "total": 5, "connected": 2, "metrics": metrics, **training})
    return Progress(uid=UID, incarnation=incarnation, sequence=7, training=told, finish=finish)


def finish(outcome: Outcome, reason: str = "Completed", message: str = "", code: int = 0) -> Finish:
    """Return the coordinator's last word."""
    return Finish(outcome=outcome, reason=reason, message=message, exit_code=code)
