"""Stop criteria: when the evaluations so far say that training may end. Pure; called by the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fljob_api.spec import CriterionMetric, CriterionOperator, StopCriterion

Metrics = Mapping[str, float]


def first_met(criteria: Sequence[StopCriterion], evaluations: Sequence[Metrics]) -> StopCriterion | None:
    """Return the first criterion that the evaluations (oldest first) meet, if any.

    An evaluation without the criterion's metric counts neither for nor against.
    """
    return next((c for c in criteria if is_met(c, evaluations)), None)


def is_met(criterion: StopCriterion, evaluations: Sequence[Metrics]) -> bool:
    """Return whether the last `patience` evaluations all meet the criterion."""
    values = [e[criterion.metric] for e in evaluations if criterion.metric in e]
    bound = float(criterion.value or 0)
    if criterion.operator is CriterionOperator.NO_IMPROVEMENT:
        return _stalled(values, criterion, bound)
    recent = values[-criterion.patience :]
    if len(recent) < criterion.patience:
        return False
    if criterion.operator is CriterionOperator.GREATER_OR_EQUAL:
        return all(value >= bound for value in recent)
    return all(value <= bound for value in recent)


def _stalled(values: Sequence[float], criterion: StopCriterion, least_change: float) -> bool:
    sign = -1.0 if criterion.metric is CriterionMetric.LOSS else 1.0
    best, since_best = float("-inf"), 0
    for value in values:
        if sign * value > best + least_change:
            best, since_best = sign * value, 0
        else:
            since_best += 1
    return since_best >= criterion.patience


def describe(criterion: StopCriterion) -> str:
    """Return the criterion as a person would say it."""
    value = f" {criterion.value}" if criterion.value is not None else ""
    return f"{criterion.metric} {criterion.operator}{value} for {criterion.patience} evaluations"
