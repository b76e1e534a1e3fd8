"""Prometheus metrics of one program, made from the table in `fljob_api.metric_names` and nowhere else.

Used by the three programs. A name that is not in the table cannot be exported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from fljob_api.metric_names import COUNT_BUCKETS, SECONDS_BUCKETS, MetricName

_KINDS: dict[str, type[MetricWrapperBase]] = {"counter": Counter, "gauge": Gauge}


class Metrics:
    """The metric families of one program. `constant` gives the label values that all of them share."""

    def __init__(self, table: Sequence[MetricName], constant: Mapping[str, str]) -> None:
        self._registry = CollectorRegistry()
        self._constant = dict(constant)
        self._families = {row.name: self._make(row) for row in table}

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        family = self._labelled(name, labels)
        assert isinstance(family, Gauge), f"{name} is no gauge"  # noqa: S101
        family.set(value)

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        family = self._labelled(name, labels)
        assert isinstance(family, Counter), f"{name} is no counter"  # noqa: S101
        family.inc(amount)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add an observation to a histogram."""
        family = self._labelled(name, labels)
        assert isinstance(family, Histogram), f"{name} is no histogram"  # noqa: S101
        family.observe(value)

    def text(self) -> bytes:
        """Return all of them in the exposition format."""
        return generate_latest(self._registry)

    def _make(self, row: MetricName) -> MetricWrapperBase:
        family: MetricWrapperBase
        if row.kind == "histogram":
            buckets = SECONDS_BUCKETS if row.name.endswith("_seconds") else COUNT_BUCKETS
            family = Histogram(row.name, row.help, row.labels, registry=self._registry, buckets=buckets)
        else:
            family = _KINDS[row.kind](row.name, row.help, row.labels, registry=self._registry)
        if row.labels and row.kind != "gauge" and set(row.labels) == set(self._constant):
            family.labels(**self._constant)  # there from the start at 0: Prometheus' increase() misses a first 1
        return family

    def _labelled(self, name: str, labels: Mapping[str, str]) -> MetricWrapperBase:
        family = self._families[name]
        return family.labels(**self._constant, **labels)
