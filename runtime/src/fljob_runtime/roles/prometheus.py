"""Prometheus collectors made from the table in fljob_api.metric_names, for one program. Used by the roles."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from fljob_api.metric_names import SECONDS_BUCKETS, MetricName

_Collector = Counter | Gauge | Histogram


class Metrics:
    """Collectors of one process by name, with namespace, job and the like filled in."""

    def __init__(self, table: Iterable[MetricName], labels: dict[str, str]) -> None:
        self.registry = CollectorRegistry()
        self._labels = labels
        self._names = {row.name: row for row in table}
        self._collectors = {row.name: self._make(row) for row in self._names.values()}

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        child = self._child(name, labels)
        if isinstance(child, Gauge):
            child.set(value)

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        child = self._child(name, labels)
        if isinstance(child, Counter):
            child.inc(amount)

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Add to a histogram."""
        child = self._child(name, labels)
        if isinstance(child, Histogram):
            child.observe(seconds)

    def _child(self, name: str, labels: dict[str, str]) -> _Collector:
        collector = self._collectors[name]
        wanted = self._names[name].labels
        return collector.labels(**{key: {**self._labels, **labels}[key] for key in wanted}) if wanted else collector

    def _make(self, row: MetricName) -> _Collector:
        if row.kind == "counter":
            return Counter(row.name, row.help, row.labels, registry=self.registry)
        if row.kind == "gauge":
            return Gauge(row.name, row.help, row.labels, registry=self.registry)
        return Histogram(row.name, row.help, row.labels, registry=self.registry, buckets=SECONDS_BUCKETS)
