"""The round under way: its cohort, what has been reported of it, and what its members are told. Pure.

Kept by `machine`, which decides what follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from fljob_api.strategy import Weighting
from fljob_runtime.messages import AcceptedUpdate, EvaluateReport, Initialize, Instruction, Repush, Train, TrainReport
from fljob_runtime.rounds.rules import Rules
from fljob_runtime.rounds.values import CohortChosen, ListAccepted

Summarise = Callable[[Sequence[bytes]], Mapping[str, float]]


class UnderWay:
    """One round, or the evaluation that follows it."""

    def __init__(self, rules: Rules, number: int) -> None:
        self.number = number
        self.cohort: tuple[str, ...] = ()
        self.reports: dict[str, TrainReport] = {}
        self.evaluations: dict[str, EvaluateReport] = {}
        self.pinned: ListAccepted | None = None  # a list that some shards have folded: it may not change
        self._rules = rules

    def begin(self, number: int, cohort: Sequence[str]) -> None:
        """Go on to a round."""
        self.number, self.cohort, self.reports = number, tuple(cohort), {}

    def begin_evaluation(self, members: Iterable[str]) -> None:
        """Go on to the evaluation of the last round."""
        self.cohort, self.evaluations = tuple(members), {}

    def unreported(self) -> list[str]:
        """Return the members whose update is not there."""
        return [name for name in self.cohort if name not in self.reports]

    def unevaluated(self, failed: Iterable[str]) -> list[str]:
        """Return the members that may still report their evaluation."""
        lost = set(failed)
        return [name for name in self.cohort if name not in self.evaluations and name not in lost]

    @property
    def needed(self) -> set[str]:
        """Return the members without whose update the round cannot be committed."""
        return {update.trainer for update in self.pinned.accepted} if self.pinned else set()

    def listed(self, summarise: Summarise) -> ListAccepted:
        """Return the list of all that is reported."""
        reports = sorted(self.reports.items())
        return self.pinned or ListAccepted(
            round=self.number,
            accepted=tuple(AcceptedUpdate(name, report.attempt, report.receipts) for name, report in reports),
            dropped=tuple(sorted(self.unreported())),
            num_samples=sum(report.num_samples for _, report in reports),
            train_metrics=summarise([report.metrics for _, report in reports]) if self.number else {},
            num_bytes=sum(report.bytes_sent + report.bytes_received for _, report in reports),
        )

    def instruction(self, trainer: str, recorded: CohortChosen | None, deadline: float) -> Instruction:
        """Return what a member is told."""
        if self.number == 0:
            return Initialize()
        if self.pinned is not None:
            return self.again(trainer, recorded, deadline)
        return Train(self.number, deadline, len(self.cohort), self._share(trainer, recorded))

    def again(self, trainer: str, recorded: CohortChosen | None, deadline: float) -> Instruction:
        """Ask for an update that a shard has lost; where values were exchanged the trainer begins the round again."""
        if self._rules.exchanges and self.number:
            return Train(self.number, deadline, len(self.cohort), self._share(trainer, recorded))
        return Repush(self.number)

    def _share(self, trainer: str, recorded: CohortChosen | None) -> float:
        """Return a trainer's part of the samples of the cohort, as recorded with it."""
        samples = dict(zip(recorded.cohort, recorded.samples, strict=False)) if recorded else {}
        if self._rules.weighting is Weighting.UNIFORM or not samples.get(trainer):
            return 1 / max(1, len(self.cohort))
        return samples[trainer] / sum(samples.values())


def names_of(trainers: Sequence[str]) -> str:
    """Return the end of a sentence that names some trainers, the first eight of them."""
    return f": {', '.join(trainers[:8])}{' and more' if len(trainers) > 8 else ''}" if trainers else ""
