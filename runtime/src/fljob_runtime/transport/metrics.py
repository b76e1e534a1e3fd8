"""Prometheus metrics of one program, made from the table in `fljob_api.metric_names` and nowhere else.

Used by the three programs. A name that is not in the table cannot be exported.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from fljob_api.metric_names import COUNT_BUCKETS, SECONDS_BUCKETS, MetricName

_KINDS: dict[str, type[MetricWrapperBase]] = {"counter": Counter, "gauge": Gauge}


class Metrics:
    """The metric families of one program. `constant` gives label values to all families that have these labels."""

    def __init__(self, table: Sequence[MetricName], constant: Mapping[str, str]) -> None:
        self._registry = CollectorRegistry()
        self._constants = {row.name: {k: v for k, v in constant.items() if k in row.labels} for row in table}
        self._families = {row.name: self._make(row) for row in table}
        self._children: dict[tuple[str, tuple[tuple[str, str], ...]], MetricWrapperBase] = {}
        self._totals: dict[tuple[str, ...], float] = {}
        self._lock = threading.Lock()

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

    def total(self, name: str, value: float, **labels: str) -> None:
        """Raise a counter to a total that is counted elsewhere and only rises."""
        key = (name, *labels.values())
        with self._lock:
            before = self._totals.get(key, 0.0)
            self._totals[key] = max(before, value)
        self.add(name, max(0.0, value - before), **labels)

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
        if row.labels and row.kind != "gauge" and set(row.labels) == set(self._constants[row.name]):
            family.labels(
                **self._constants[row.name]
            )  # there from the start at 0: Prometheus' increase() misses a first 1
        return family

    def _labelled(self, name: str, labels: Mapping[str, str]) -> MetricWrapperBase:
        key = (name, tuple(labels.items()))
        found = self._children.get(key)
        if found is None:  # the library's own look-up took two thirds of the time that counting takes
            found = self._children[key] = self._families[name].labels(**self._constants[name], **labels)
        return found
