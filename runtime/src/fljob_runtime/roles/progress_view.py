"""The Progress object of a moment, from the machine and what the trainers last said. Pure.

Called by the coordinator's loop; the same numbers go to the log line and to Prometheus.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fljob_api.progress import (
    Finish,
    Metric,
    Outcome,
    Progress,
    RoundState,
    RoundSummary,
    TrainerProgress,
    Training,
    Waiting,
)
from fljob_runtime.metrics.sums import Metrics, MetricsError, MetricSums
from fljob_runtime.rounds.history import compared_by, headline
from fljob_runtime.rounds.machine import RoundMachine
from fljob_runtime.rounds.values import Commit, Finished

_RECENT = 10
_SHOWN_TRAINERS = 128
_NAMES = {
    "loss": "Loss",
    "auc": "AUC",
    "auc_bound": "AUCBound",
    "mae": "MAE",
    "rmse": "RMSE",
    "actual_ctr": "ActualCTR",
    "predicted_ctr": "PredictedCTR",
    "copc": "COPC",
    "bucket_error": "BucketError",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "average_precision": "AveragePrecision",
    "hit_rate_at_10": "HR@10",
    "ndcg_at_10": "NDCG@10",
    "mrr_at_10": "MRR@10",
    "recall_at_20": "Recall@20",
    "ndcg_at_20": "NDCG@20",
    "mrr_at_20": "MRR@20",
}


@dataclass
class TrainerView:
    """What one trainer last said of itself."""

    state: str = ""
    round: int = 0
    samples: int = 0
    loss: float = math.nan
    auc: float = math.nan
    seconds: float = math.nan
    message: str = ""
    exit_code: int | None = None
    heard_at: float = 0.0


@dataclass(frozen=True)
class Identity:
    """Whose progress it is, and where its checkpoints lie ("" when nothing outlives the pods)."""

    uid: str
    incarnation: int
    durable: bool


def summarise(sums: Sequence[bytes]) -> dict[str, float]:
    """Merge trainers' MetricSums and return the ratios by their public names; undefined ones left out.

    Raises MetricsError on malformed sums.
    """
    total = MetricSums()
    for text in sums:
        total = total.merge(_parse(text))
    return named(total.compute())


def named(metrics: Metrics) -> dict[str, float]:
    """Return metrics by their public names; undefined ones left out."""
    values = vars(metrics)
    return {name: values[key] for key, name in _NAMES.items() if math.isfinite(values[key])}


def in_order(names: Iterable[str]) -> list[str]:
    """Return public names of metrics, each once, in the order in which `named` has them."""
    wanted = set(names)
    return [name for name in _NAMES.values() if name in wanted]


@functools.lru_cache(maxsize=64)
def _parse(text: bytes) -> MetricSums:
    """Parse a report's sums once for its check, its trainer's row and the round's total."""
    return MetricSums.from_bytes(text)


def check_metrics(text: bytes) -> str:
    """Return what is wrong with a trainer's sums, "" if nothing."""
    try:
        _parse(text)
    except MetricsError as error:
        return str(error)
    return ""


def view(machine: RoundMachine, trainers: Mapping[str, TrainerView], who: Identity, finish: Finish | None) -> Progress:
    """Return the Progress of this moment (sequence 0: the publisher counts)."""
    shown = sorted(trainers.items(), key=lambda item: (item[1].state not in {"Failed", "Lost"}, item[0]))
    return Progress(
        uid=who.uid,
        incarnation=who.incarnation,
        training=_training(machine, who),
        trainers=[_trainer(name, seen) for name, seen in shown[:_SHOWN_TRAINERS]],
        finish=finish,
    )


def finish_of(ending: Finished) -> Finish:
    """Return the last word as the operator reads it."""
    return Finish(
        outcome=Outcome(ending.outcome.value),
        reason=ending.reason,
        message=ending.message[:1024],
        exit_code=int(ending.exit_code),
    )


def number(value: float) -> str:
    """Return a number as decimal text of 6 significant digits; empty when undefined."""
    return f"{value:.6g}" if math.isfinite(value) else ""


def summary(commit: Commit) -> RoundSummary:
    """Return one committed round as shown to people."""
    metrics = commit.metrics or {}
    return RoundSummary(
        round=commit.round,
        loss=number(metrics.get("Loss", math.nan)),
        auc=number(metrics.get("AUC", math.nan)),
        score=number(metrics.get(headline(metrics), math.nan)),
        train_loss=number(commit.train_metrics.get("Loss", math.nan)),
        participants=len(commit.trainers),
        dropped=len(commit.dropped),
        seconds=number(commit.seconds),
        bytes=commit.num_bytes,
    )


def _training(machine: RoundMachine, who: Identity) -> Training:
    history = machine.history
    last = history.last
    evaluated = next((c for c in reversed(history.commits) if c.metrics), None)
    best = history.best(machine.rules.best_by)
    rounds = [commit for commit in history.commits[-_RECENT - 1 :] if commit.round > 0][-_RECENT:]
    return Training(
        state=machine.state,
        round=max(history.committed, 0),
        total=machine.control.rounds,
        participants=len(last.trainers) if last and last.round else 0,
        dropped=len(last.dropped) if last else 0,
        connected=len(machine.roster.present()),
        headline=headline(evaluated.metrics or {}) if evaluated else "",
        metrics=_metrics(evaluated),
        best=_best(best, machine.rules.best_by),
        recent_rounds=[summary(commit) for commit in rounds],
        checkpoint=f"version {history.durable[-1]}" if who.durable and history.durable else None,
        waiting_for=_waiting(machine),
    )


def _metrics(commit: Commit | None) -> list[Metric]:
    if commit is None:
        return []
    return [Metric(name=k, value=number(v), round=commit.round) for k, v in (commit.metrics or {}).items()]


def _best(commit: Commit | None, metric: str) -> Metric | None:
    if commit is None or commit.metrics is None:
        return None
    name = compared_by(commit.metrics, metric)
    return Metric(name=name, value=number(commit.metrics.get(name, math.nan)), round=commit.round)


def _waiting(machine: RoundMachine) -> Waiting | None:
    wait = machine.waiting()
    if wait is None or machine.state is RoundState.FINISHING:
        return None
    return Waiting(name=wait.name[:1024], since=_time(wait.since), deadline=_time(wait.deadline))


def _trainer(name: str, seen: TrainerView) -> TrainerProgress:
    return TrainerProgress(
        name=name,
        state=seen.state,
        round=seen.round,
        samples=seen.samples,
        loss=number(seen.loss),
        auc=number(seen.auc),
        seconds=number(seen.seconds),
        exit_code=seen.exit_code,
        message=seen.message[:1024],
    )


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
