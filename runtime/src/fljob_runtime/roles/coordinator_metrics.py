"""What the coordinator exports to Prometheus; names and help are in fljob_api.metric_names. Called by its loop."""

from __future__ import annotations

from collections.abc import Mapping

from fljob_api.metric_names import COORDINATOR
from fljob_runtime.roles.progress_view import TrainerView
from fljob_runtime.rounds.machine import RoundMachine
from fljob_runtime.transport.metrics import Metrics

_EVALUATED = {"fljob_loss": "Loss", "fljob_auc": "AUC", "fljob_auc_bound": "AUCBound"}


class CoordinatorMetrics:
    """Exports the numbers of the machine: the same values as in Progress and the log."""

    def __init__(self, *, namespace: str, job: str) -> None:
        self._metrics = Metrics(COORDINATOR, {"namespace": namespace, "job": job})
        self.text = self._metrics.text
        self._repeated = 0
        self._counted = -1
        self._wait = ""

    def progress_error(self) -> None:
        """Count a failed write of the progress object."""
        self._metrics.add("fljob_progress_errors_total")

    def observe(self, machine: RoundMachine, now: float) -> None:
        """Export what changes from moment to moment."""
        self._metrics.set("fljob_rounds_total_wanted", machine.control.rounds)
        self._metrics.set("fljob_trainers_connected", len(machine.roster.present()))
        wait = machine.waiting()
        name = str(machine.state)
        if self._wait and self._wait != name:
            self._metrics.set("fljob_waiting_seconds", 0.0, wait=self._wait)
        if wait is not None:
            self._metrics.set("fljob_waiting_seconds", now - wait.since, wait=name)
        self._wait = name
        if machine.repeated > self._repeated:
            self._metrics.add("fljob_rounds_repeated_total", machine.repeated - self._repeated)
            self._repeated = machine.repeated

    def committed(self, machine: RoundMachine, trainers: Mapping[str, TrainerView]) -> None:
        """Export the last commit, and its evaluation when it has one."""
        commit = machine.history.last
        if commit is None:
            return
        self._metrics.set("fljob_round", commit.round)
        self._metrics.set("fljob_participants", len(commit.trainers))
        if "Loss" in commit.train_metrics:
            self._metrics.set("fljob_train_loss", commit.train_metrics["Loss"])
        for name, key in _EVALUATED.items():
            if key in (commit.metrics or {}):
                self._metrics.set(name, (commit.metrics or {})[key])
        if commit.round != self._counted and commit.round > 0:
            self._counted = commit.round
            self._metrics.observe("fljob_round_seconds", commit.seconds)
            for trainer in set(commit.dropped) & set(trainers):
                self._metrics.add("fljob_stragglers_total", trainer=trainer)
