"""The status that people read, from what was observed: roles, trainers, columns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fljob_api import names
from fljob_api.conditions import ConditionType, Reason, State
from fljob_api.fljob import FLJob
from fljob_api.progress import Training
from fljob_api.status import MAX_TRAINERS_SHOWN, Condition, Display, Failure, RoleStatus, TrainerCounts, TrainerStatus
from fljob_operator.conditions import find, is_true
from fljob_operator.desired.roles import members
from fljob_operator.observed import Observed, PodView

_TROUBLED = ("Failed", "Lost", "Pending")


def roles(job: FLJob, observed: Observed) -> list[RoleStatus]:
    """Count the pods of each role."""
    result = []
    for role in (names.ROLE_COORDINATOR, names.ROLE_SERVER, names.ROLE_TRAINER):
        children = [m.child for m in members(job) if m.role == role]
        ready = sum(any(pod.ready for pod in observed.pods_of(child)) for child in children)
        failed = sum(observed.jobs[c].failed for c in children if c in observed.jobs)
        result.append(RoleStatus(name=role, desired=len(children), ready=ready, failed=failed))
    return result


def trainers(job: FLJob, observed: Observed, failures: Iterable[Failure]) -> list[TrainerStatus]:
    """Return the trainers, those in trouble first, at most 32."""
    failed = {f.trainer: f for f in failures}
    told = {t.name: t for t in observed.progress.trainers} if observed.progress else {}
    rows = []
    for member in members(job):
        if member.role != names.ROLE_TRAINER:
            continue
        seen = told.get(member.identity)
        pods = observed.pods_of(member.child)
        view = observed.jobs.get(member.child)
        state, message = _trainer_state(seen.state if seen else "", pods, failed.get(member.identity))
        rows.append(
            TrainerStatus(
                name=member.identity,
                state=state,
                round=seen.round if seen else 0,
                loss=seen.loss if seen else "",
                auc=seen.auc if seen else "",
                samples=seen.samples if seen else 0,
                restarts=view.failed_pods if view else 0,
                message=(message or (seen.message if seen else ""))[:1024],
            )
        )
    rows.sort(key=lambda row: (_TROUBLED.index(row.state) if row.state in _TROUBLED else len(_TROUBLED), row.name))
    return rows[:MAX_TRAINERS_SHOWN]


def _trainer_state(told: str, pods: tuple[PodView, ...], failure: Failure | None) -> tuple[str, str]:
    if failure:
        return "Failed", failure.message
    trouble = next((pod.trouble for pod in pods if pod.trouble), "")
    return told or "Pending", trouble


def counts(job: FLJob, observed: Observed, num_failed: int) -> TrainerCounts:
    """Count all trainers."""
    connected = observed.progress.training.connected if observed.progress else 0
    return TrainerCounts(desired=len(job.spec.trainers), connected=connected, failed=num_failed)


def state(conditions: list[Condition]) -> State:
    """Derive the word of the State column."""
    for kind, word in ((ConditionType.FAILED, State.FAILED), (ConditionType.SUCCEEDED, State.SUCCEEDED)):
        if is_true(conditions, kind):
            return word
    accepted = find(conditions, ConditionType.ACCEPTED)
    if accepted and not is_true(conditions, ConditionType.ACCEPTED):
        return State.INVALID
    suspended = find(conditions, ConditionType.SUSPENDED)
    if suspended and suspended.reason == Reason.SUSPENDING.value:
        return State.SUSPENDING
    if is_true(conditions, ConditionType.SUSPENDED):
        return State.SUSPENDED
    if is_true(conditions, ConditionType.RUNNING):
        return State.DEGRADED if is_true(conditions, ConditionType.DEGRADED) else State.RUNNING
    return State.STARTING if find(conditions, ConditionType.RESOURCES_READY) else State.PENDING


def columns(training: Training | None, total: int, counted: TrainerCounts, reason: str) -> Display:
    """Derive the other columns."""
    metrics = {m.name: m.value for m in training.metrics} if training else {}
    done = training.round if training else 0
    return Display(
        round=f"{done}/{total}",
        trainers=f"{counted.connected}/{counted.desired}",
        loss=_short(metrics.get("Loss", "")),
        auc=_short(metrics.get("AUC", "")),
        score=_score(training, metrics),
        reason=reason,
    )


def _score(training: Training | None, metrics: Mapping[str, str]) -> str:
    """Return the headline metric with its name, as not all models have an AUC; no blank, as in any cell."""
    name = training.headline if training else ""
    return f"{name}={_short(metrics[name])}" if metrics.get(name) else ""


def _short(value: str) -> str:
    return f"{float(value):.4f}" if value else ""
