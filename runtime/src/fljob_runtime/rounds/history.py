"""What is known of the rounds so far: commits, what is due next, what may be released. Pure.

Kept by the machine, rebuilt from the journal after a restart.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fljob_runtime.rounds.values import (
    NO_VERSION,
    CohortChosen,
    Commit,
    Finished,
    ListAccepted,
    Record,
    Rewound,
    RoundCommitted,
    RoundDurable,
    RoundEvaluated,
    TrainerFailed,
    TrainerMended,
)

HEADLINES = ("AUC", "Recall@20", "Accuracy")  # of clicks, of next items, of classes
_REPEATABLE = 2  # so many newest commits may be named to the shards again: receipts of older ones would only pile up
_RELEASE_WINDOW = 128  # after a restart, how far back versions are named to the shards as releasable


@dataclass
class History:
    """Commits by round, and the recorded beginning of the round that was under way."""

    commits: list[Commit] = field(default_factory=list)
    layout_digest: str = ""
    cohort: CohortChosen | None = None
    accepted: ListAccepted | None = None
    held: set[int] = field(default_factory=set)
    failed: dict[str, TrainerFailed] = field(default_factory=dict)
    rewinds: int = 0
    finished: Finished | None = None

    @property
    def committed(self) -> int:
        """Return the newest committed version, NO_VERSION before the first."""
        return self.commits[-1].round if self.commits else NO_VERSION

    @property
    def last(self) -> Commit | None:
        """Return the newest commit."""
        return self.commits[-1] if self.commits else None

    @property
    def durable(self) -> list[int]:
        """Return the versions that a manifest names, oldest first."""
        return [commit.round for commit in self.commits if commit.durable]

    def evaluations(self) -> list[Mapping[str, float]]:
        """Return the metrics of the evaluated versions, oldest first."""
        return [commit.metrics for commit in self.commits if commit.metrics is not None]

    def best(self, metric: str = "") -> Commit | None:
        """Return the commit with the best of a metric, by default the headline (else the lowest loss).

        The first of equals.
        """
        evaluated = [commit for commit in self.commits if commit.metrics]
        if not evaluated:
            return None
        return max(evaluated, key=lambda commit: quality(commit.metrics or {}, metric))

    def releasable(self, keep: int, best_by: str = "") -> tuple[int, ...]:
        """Return the versions that no reader and no restart will ask for once the next round is committed.

        keep: how many of the newest durable versions stay; the last one and the best, by that metric, always do.
        """
        best = self.best(best_by)
        wanted = {self.committed, *(self.durable[-keep:] if keep else ())}
        if best is not None and best.durable:
            wanted.add(best.round)
        return tuple(sorted(self.held - wanted))

    def apply(self, record: Record) -> None:
        """Take in one record, as it is written or as it is read back."""
        if isinstance(record, CohortChosen):
            self.cohort, self.accepted = record, None
            self.layout_digest = record.layout_digest
        elif isinstance(record, ListAccepted):
            self.accepted = record
        elif isinstance(record, RoundCommitted):
            self._commit(record)
        elif isinstance(record, RoundDurable):
            self._replace(record.round, durable=True)
        elif isinstance(record, RoundEvaluated):
            self._replace(record.round, metrics=dict(record.metrics))
        elif isinstance(record, Rewound):
            self._rewind(record.version)
        elif isinstance(record, TrainerFailed):
            self.failed[record.trainer] = record
        elif isinstance(record, TrainerMended):
            self.failed.pop(record.trainer, None)
        elif isinstance(record, Finished):
            self.finished = record
            self.failed.clear()  # who starts the job again has mended it, or will be told again

    def _rewind(self, version: int) -> None:
        if not NO_VERSION <= version <= self.committed:
            raise ValueError(f"version {version} cannot be gone back to from {self.committed}: the journal is damaged")
        del self.commits[version + 1 :]
        self.rewinds += 1
        self.held = {v for v in self.held if v <= version}
        self.cohort, self.accepted = None, None

    def _commit(self, record: RoundCommitted) -> None:
        if record.round == self.committed:
            self._replace(record.round, durable=record.durable)
            return
        pending = self.accepted
        if pending is None or pending.round != record.round or record.round != self.committed + 1:
            raise ValueError(f"round {record.round} cannot follow {self.committed}: the journal is damaged")
        self.commits.append(
            Commit(
                round=record.round,
                trainers=self._same(tuple(update.trainer for update in pending.accepted)),
                accepted=pending.accepted,
                dropped=pending.dropped,
                num_samples=pending.num_samples,
                seconds=record.seconds,
                durable=record.durable,
                train_metrics=dict(pending.train_metrics),
                num_bytes=pending.num_bytes,
            )
        )
        self._replace(record.round - _REPEATABLE, accepted=())
        self.held = {v for v in self.held if v > record.round - _RELEASE_WINDOW} | {record.round}
        self.cohort, self.accepted = None, None

    def _same(self, trainers: tuple[str, ...]) -> tuple[str, ...]:
        """Return the newest commit's names where they are these, so that a thousand rounds share one list."""
        before = self.commits[-1].trainers if self.commits else ()
        return before if before == trainers else tuple(map(sys.intern, trainers))

    def _replace(self, round_number: int, **changes: object) -> None:
        if 0 <= round_number <= self.committed:
            self.commits[round_number] = replace(self.commits[round_number], **changes)  # type: ignore[arg-type]


def headline(metrics: Mapping[str, float]) -> str:
    """Return the metric by which rounds are compared, "" when there is none but the loss."""
    return next((name for name in HEADLINES if name in metrics), "")


def compared_by(metrics: Mapping[str, float], metric: str = "") -> str:
    """Return the metric by which an evaluation is compared: that one, else the headline, else the loss."""
    name = metric or headline(metrics)
    return name if name in metrics else "Loss"


def quality(metrics: Mapping[str, float], metric: str = "") -> tuple[float, float]:
    """Return what the best evaluation has most of: what it is compared by, then less loss."""
    name = compared_by(metrics, metric)
    value = float("-inf") if name == "Loss" else metrics[name]
    return (value, -metrics.get("Loss", float("inf")))
