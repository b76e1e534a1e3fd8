from __future__ import annotations

import pytest

from fljob_api.spec import CriterionMetric, CriterionOperator, StopCriterion
from fljob_runtime.rounds.stop import describe, first_met, is_met


def criterion(
    operator: CriterionOperator, value: str | None = None, patience: int = 1, metric: str = "AUC"
) -> StopCriterion:
    return StopCriterion(metric=CriterionMetric(metric), operator=operator, value=value, patience=patience)


def auc(*values: float) -> list[dict[str, float]]:
    return [{"AUC": value} for value in values]


AT_LEAST = CriterionOperator.GREATER_OR_EQUAL
AT_MOST = CriterionOperator.LESS_OR_EQUAL
STUCK = CriterionOperator.NO_IMPROVEMENT


@pytest.mark.parametrize(("values", "met"), [((0.7,), False), ((0.8,), True), ((0.9, 0.7), False)])
def test_greater_or_equal_reads_the_last_evaluation(values: tuple[float, ...], met: bool) -> None:
    assert is_met(criterion(AT_LEAST, "0.8"), auc(*values)) is met


@pytest.mark.parametrize(("values", "met"), [((0.9,), False), ((0.9, 0.9), True), ((0.9, 0.7, 0.9), False)])
def test_patience_asks_for_evaluations_in_a_row(values: tuple[float, ...], met: bool) -> None:
    assert is_met(criterion(AT_LEAST, "0.8", patience=2), auc(*values)) is met


def test_less_or_equal_reads_the_loss() -> None:
    assert is_met(criterion(AT_MOST, "0.5", metric="Loss"), [{"Loss": 0.5}])


@pytest.mark.parametrize(
    ("values", "met"),
    [((0.5, 0.6, 0.6), False), ((0.5, 0.6, 0.6, 0.6), True), ((0.5, 0.6, 0.6, 0.7), False), ((0.5,), False)],
)
def test_no_improvement_counts_evaluations_since_the_best(values: tuple[float, ...], met: bool) -> None:
    assert is_met(criterion(STUCK, patience=2), auc(*values)) is met


def test_an_improvement_smaller_than_the_value_does_not_count() -> None:
    assert is_met(criterion(STUCK, "0.01", patience=2), auc(0.6, 0.605, 0.609))


def test_the_loss_improves_downwards() -> None:
    losses = [{"Loss": value} for value in (0.9, 0.8, 0.7)]
    assert not is_met(criterion(STUCK, patience=1, metric="Loss"), losses)


def test_an_evaluation_without_the_metric_is_passed_over() -> None:
    assert is_met(criterion(AT_LEAST, "0.8"), [{"AUC": 0.9}, {"Loss": 0.1}])


def test_the_first_criterion_met_is_named() -> None:
    met = first_met([criterion(AT_LEAST, "0.99"), criterion(AT_LEAST, "0.8")], auc(0.9))
    assert met is not None
    assert describe(met) == "AUC GreaterOrEqual 0.8 for 1 evaluations"
