"""The round machine of mode Buffered (FedBuff, Nguyen et al. 2022, https://arxiv.org/abs/2106.06639).

A round is a version made of `buffer_size` updates. Each trainer has one task at a time: it trains from the version
that was the newest when it was told to, and its update waits in the buffer (`under_way.reports`, in order of arrival)
for the version that takes it up; then it is told to train again, from the newest version. Others train on meanwhile.
Tasks are not journalled: after a restart, or when a shard was lost, each trainer is asked again. Version 0 is made as
in mode Sync.
Pure, as `machine`, whose subclass this is; docs/decisions/017 says why.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice

from fljob_api.progress import RoundState
from fljob_api.strategy import Mode
from fljob_runtime.messages import AcceptedUpdate, Committed, Evaluate, Instruction, Train
from fljob_runtime.rounds.history import History
from fljob_runtime.rounds.machine import RoundMachine
from fljob_runtime.rounds.rules import Control, Rules
from fljob_runtime.rounds.under_way import Summarise, names_of
from fljob_runtime.rounds.values import (
    CohortChosen,
    CommitMissing,
    Event,
    GaveUp,
    Joined,
    ListAccepted,
    Lost,
    Restore,
    Restored,
    Trained,
)

S = RoundState


@dataclass
class Task:
    """What one trainer is at: an update made from version `round` - 1. told: since its stream was last opened."""

    round: int
    told: bool = False


class BufferedMachine(RoundMachine):
    """Decides which updates make a version; remembers which trainer works from which one."""

    def __init__(self, rules: Rules, control: Control, *, history: History, summarise: Summarise, now: float) -> None:
        super().__init__(rules, control, history=history, summarise=summarise, now=now)
        self._tasks: dict[str, Task] = {}
        self._done: Counter[str] = Counter()
        self._count()

    # Facts.

    @property
    def _begun(self) -> bool:
        """Return whether there is a version to train from."""
        return self.history.committed >= 0

    @property
    def _attempt(self) -> int:
        """Return what tells updates from versions that were taken back from the others."""
        return 1 + self.history.rewinds

    def _count(self) -> None:
        """Count whose updates the versions are made of, anew."""
        self._done = Counter(trainer for commit in self.history.commits[1:] for trainer in commit.trainers)

    def _wait_name(self) -> str:
        if self.state is not S.TRAINING or not self._shards_ready or not self._begun:
            return super()._wait_name()
        there = f"{len(self.under_way.reports)} of {self.rules.buffer_size}"
        return f"updates of round {self.round} ({there} are there){names_of(self._unreported())}"

    # Events.

    def _take(self, event: Event, now: float) -> None:
        if isinstance(event, Joined | Lost) and event.trainer in self._tasks:
            self._tasks[event.trainer].told = False
        super()._take(event, now)

    def _trained(self, event: Trained) -> None:
        if not self._begun:
            super()._trained(event)
            return
        task, report = self._tasks.get(event.trainer), event.report
        if task is not None and (report.round, report.attempt) == (task.round, self._attempt):
            self.under_way.reports.setdefault(event.trainer, report)

    def _give_up(self, event: GaveUp, now: float) -> None:
        super()._give_up(event, now)
        if event.trainer in self.roster.failed:
            self._tasks.pop(event.trainer, None)

    def _missing(self, event: CommitMissing, now: float) -> None:
        """A shard lost updates that cannot be sent again, as it lost their versions too: all go back."""
        if not self._begun:
            super()._missing(event, now)
            return
        self._shards_ready = False
        self._do(Restore(self.history.committed, anew=True))

    def _restored(self, event: Restored, now: float) -> None:
        if self._begun:
            self._take_back(event.version, now)
        super()._restored(event, now)
        if self._begun and self.state is S.TRAINING:
            self._dispatch()

    def _take_back(self, version: int, now: float) -> None:
        """Forget the list under way and all updates; keep the tasks that the shards can still take up."""
        if self.state is S.COMMITTING:
            self.history.accepted = None  # the shards that had folded it have undone that
            self._to(S.TRAINING, now, self.rules.round_timeout_s)
        self.under_way.reports.clear()
        for trainer, task in list(self._tasks.items()):
            task.told = False
            if task.round != version + 1 or version != self.history.committed:
                self._call_off(trainer)

    def _rewind(self, version: int, now: float) -> None:
        super()._rewind(version, now)
        self._count()

    # States.

    def _enough(self, now: float) -> bool:
        """Nobody is waited for between two versions; `_train` knows who is missed."""
        return (self._begun and self.state is S.SELECTING) or super()._enough(now)

    def _choose_cohort(self, now: float) -> None:
        if not self._begun:
            super()._choose_cohort(now)
            return
        self._check_layouts(now)
        if self.over:
            return
        members = tuple(name for name in self.rules.trainers if name not in self.roster.failed)
        samples = tuple(self.roster.samples.get(name, 0) for name in members)
        number, digest = self.history.committed + 1, self.roster.layout_digest
        self._note(CohortChosen(number, members, self.roster.present(), digest, samples))
        self._begin_training(members, now)

    def _begin_training(self, cohort: tuple[str, ...], now: float) -> None:
        if not self._begun:
            super()._begin_training(cohort, now)
            return
        self.under_way.number, self.under_way.cohort = self.history.committed + 1, cohort
        self._round_start = now
        self._to(S.TRAINING, now, self.rules.round_timeout_s)
        self._dispatch()

    def _train(self, now: float) -> None:
        if not self._begun:
            super()._train(now)
            return
        there, least = len(self.under_way.reports), self.rules.quorum(len(self.under_way.cohort))
        possible = [name for name in self._unreported() if name not in self.roster.failed]
        expected = [name for name in possible if not self.roster.gone(name, now, self.rules.absence_grace_s)]
        if not self._shards_ready:
            self._time_out(now)
        elif there >= self.rules.buffer_size or (there >= least and not expected):
            self._accept(now)
        elif there + len(possible) < least:
            self._redraw(now)
        elif self._pause_at is not None and now >= self._pause_at:
            self._finish_paused(now)
        elif now >= self._deadline and there >= least:
            self._accept(now)
        else:
            self._time_out(now)

    # Steps.

    def _dispatch(self) -> None:
        """Give work to everyone who has none, and repeat it to those who may not have heard."""
        for trainer in self.under_way.cohort:
            task = self._tasks.get(trainer)
            idle = trainer not in self.under_way.reports and (task is None or not task.told)
            if idle and self.roster.is_present(trainer):
                self._tell(trainer, self._instruction(trainer))

    def _instruction(self, trainer: str) -> Instruction:
        if not self._begun:
            return super()._instruction(trainer)
        task = self._tasks.setdefault(trainer, Task(self.history.committed + 1))
        task.told = True
        return Train(
            task.round, self._deadline, len(self.under_way.cohort), task=self._done[trainer] + 1, attempt=self._attempt
        )

    def _evaluation(self, trainer: str, coming: int = 0) -> Evaluate:
        """Return what a trainer is told; what it trains on next is not the version's rows alone."""
        del coming
        return Evaluate(self.history.committed, next_task=self._done[trainer] + 1)

    def _listed(self) -> ListAccepted:
        """Return the first updates that arrived, and whose tasks will be too old for the version after this one."""
        if not self._begun:
            return super()._listed()
        reports = sorted(islice(self.under_way.reports.items(), self.rules.buffer_size))
        taken = {name for name, _ in reports}
        oldest = self.round - self.rules.max_staleness
        return ListAccepted(
            round=self.round,
            accepted=tuple(AcceptedUpdate(name, r.attempt, r.receipts, r.round) for name, r in reports),
            dropped=tuple(sorted(n for n, t in self._tasks.items() if n not in taken and t.round - 1 < oldest)),
            num_samples=sum(report.num_samples for _, report in reports),
            train_metrics=self._summarise([report.metrics for _, report in reports]),
            num_bytes=sum(report.bytes_sent + report.bytes_received for _, report in reports),
        )

    def _releasable(self, listed: ListAccepted, keep: int) -> tuple[int, ...]:
        """Return what may go: not the versions that tasks under way started from."""
        ending = {*(update.trainer for update in listed.accepted), *listed.dropped}
        bases = [task.round - 1 for name, task in self._tasks.items() if name not in ending]
        oldest = min(bases, default=self.history.committed)
        return tuple(v for v in self.history.releasable(keep, self.rules.best_by) if v < oldest)

    def _tell_committed(self, listed: ListAccepted) -> None:
        if listed.round == 0:
            super()._tell_committed(listed)
            return
        for update in listed.accepted:
            self._done[update.trainer] += 1
            self._tasks.pop(update.trainer, None)
            self.under_way.reports.pop(update.trainer, None)
            if self.roster.is_present(update.trainer):
                self._tell(update.trainer, Committed(update.round, accepted=True))
        for trainer in listed.dropped:
            self._call_off(trainer)

    def _call_off(self, trainer: str) -> None:
        """Have a trainer drop its task: it gets another one."""
        task = self._tasks.pop(trainer, None)
        self.under_way.reports.pop(trainer, None)
        if task is not None and self.roster.is_present(trainer):
            self._tell(trainer, Committed(task.round, accepted=False))


def make_machine(rules: Rules, control: Control, *, history: History, summarise: Summarise, now: float) -> RoundMachine:
    """Return the machine of the job's mode."""
    kind = BufferedMachine if rules.mode is Mode.BUFFERED else RoundMachine
    return kind(rules, control, history=history, summarise=summarise, now=now)
