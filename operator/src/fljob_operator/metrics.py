"""The operator's Prometheus metrics, by the names of fljob_api.metric_names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from fljob_api.conditions import State
from fljob_api.fljob import FLJob
from fljob_api.metric_names import OPERATOR, SECONDS_BUCKETS

_HELP = {m.name: m for m in OPERATOR}


class OperatorMetrics:
    """All counters and gauges of one operator process. `jobs` are exported until they are gone."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._reconciles = self._counter("fljob_operator_reconcile_total")
        self._seconds = Histogram(
            *_name("fljob_operator_reconcile_seconds"), registry=self.registry, buckets=SECONDS_BUCKETS
        )
        self._applied = self._counter("fljob_operator_children_applied_total")
        self._requests = self._counter("fljob_operator_api_requests_total")
        self._leader = Gauge(*_name("fljob_operator_leader"), registry=self.registry)
        self.last_event = time.monotonic()
        self.last_list = time.monotonic()
        self._jobs: dict[str, FLJob] = {}
        self._told: dict[str, float] = {}
        self.queue_depth: Callable[[], int] = lambda: 0
        self.queue_age_s: Callable[[], float] = lambda: 0.0
        self.registry.register(_Live(self))

    def reconciled(self, result: str, seconds: float) -> None:
        """Count one reconcile."""
        self._reconciles.labels(result).inc()
        self._seconds.observe(seconds)

    def applied(self, kind: str) -> None:
        """Count one child written."""
        self._applied.labels(kind).inc()

    def requested(self, verb: str, code: int) -> None:
        """Count one API request; code 0 is no answer."""
        self._requests.labels(verb, str(code)).inc()

    def leads(self, leader: bool) -> None:
        """Say whether this process holds the lease."""
        self._leader.set(1.0 if leader else 0.0)

    def saw(self, job: FLJob) -> None:
        """Keep the last numbers of an FLJob."""
        before = self._jobs.get(job.key)
        if before is None or before.status.training != job.status.training:
            self._told[job.key] = time.monotonic()
        self._jobs[job.key] = job

    def forget(self, key: str) -> None:
        """Drop an FLJob that is gone."""
        self._jobs.pop(key, None)
        self._told.pop(key, None)

    def known(self) -> tuple[str, ...]:
        """Return the keys of all FLJobs exported."""
        return tuple(self._jobs)

    def _counter(self, name: str) -> Counter:
        return Counter(*_name(name), _HELP[name].labels, registry=self.registry)

    def families(self) -> Iterable[Metric]:
        """Return the gauges that are read when they are scraped."""
        now = time.monotonic()
        for name, value in (
            ("fljob_operator_queue_depth", float(self.queue_depth())),
            ("fljob_operator_queue_age_seconds", self.queue_age_s()),
            ("fljob_operator_watch_age_seconds", now - max(self.last_event, self.last_list)),
            ("fljob_operator_list_age_seconds", now - self.last_list),
        ):
            yield GaugeMetricFamily(*_name(name), value=value)
        yield from self._job_families(now)

    def _job_families(self, now: float) -> Iterable[Metric]:
        states = dict.fromkeys((state.value for state in State), 0)
        families = {
            m.name: GaugeMetricFamily(m.name, m.help, labels=m.labels) for m in OPERATOR if "fljob_job_" in m.name
        }
        for key, job in list(self._jobs.items()):
            state = job.status.state.value if job.status.state else State.PENDING.value
            states[state] += 1
            labels = [job.metadata.namespace, job.metadata.name]
            families["fljob_job_info"].add_metric([*labels, state, job.spec.model.name], 1.0)
            for name, value in _numbers(job).items():
                families[name].add_metric(labels, value)
            if state in (State.RUNNING.value, State.DEGRADED.value):
                families["fljob_job_progress_age_seconds"].add_metric(labels, now - self._told.get(key, now))
        by_state = GaugeMetricFamily(*_name("fljob_operator_jobs"), labels=("state",))
        for state, count in states.items():
            by_state.add_metric([state], float(count))
        yield by_state
        yield from families.values()


class _Live:
    """Adapter: prometheus_client asks a collector, we ask the metrics."""

    def __init__(self, metrics: OperatorMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """Return the families of now."""
        return self._metrics.families()


def _name(name: str) -> tuple[str, str]:
    return name, _HELP[name].help


def _numbers(job: FLJob) -> dict[str, float]:
    status = job.status
    values = {
        "fljob_job_trainers_failed": float(status.trainer_counts.failed if status.trainer_counts else 0),
        "fljob_job_restarts": float(status.restarts),
    }
    if status.training:
        values["fljob_job_round"] = float(status.training.round)
        told = {m.name: m.value for m in status.training.metrics}
        for metric, name in (("Loss", "fljob_job_loss"), ("AUC", "fljob_job_auc")):
            if told.get(metric):
                values[name] = float(told[metric])
    return values
