"""The table of metrics keeps Prometheus' naming rules."""

from __future__ import annotations

import pytest

from fljob_api.metric_names import ALL, SCORER, MetricName

EVERY = (*ALL, *SCORER)
BY_NAME = pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.name)


def test_no_name_is_given_twice() -> None:
    names = [metric.name for metric in EVERY]

    assert len(names) == len(set(names))


@BY_NAME
def test_a_counter_and_only_a_counter_ends_in_total(metric: MetricName) -> None:
    assert metric.name.endswith("_total") == (metric.kind == "counter")


@BY_NAME
def test_a_histogram_names_its_unit(metric: MetricName) -> None:
    assert metric.kind != "histogram" or metric.name.endswith(("_seconds", "_updates"))


@BY_NAME
def test_the_help_is_a_sentence(metric: MetricName) -> None:
    assert metric.help.endswith(".")
