"""The round state machine: events in, actions out, time as an argument.

    Waiting -> Selecting -> Training -> Committing -> Evaluating -> (Selecting | Finishing) -> Done
    Paused after Finishing; any state -> Failed.

Called by the coordinator's shell alone, from one thread. It must not do I/O, read a clock or import grpc.
Selecting is the round border: whatever is due next (a recorded cohort, a recorded list, an evaluation, a pause,
the end) is decided there, so that a restarted coordinator goes on exactly where the journal ends.
"""

from __future__ import annotations

from fljob_api.exit_codes import ExitCode, meaning
from fljob_api.progress import RoundState
from fljob_runtime.messages import (
    Committed,
    Evaluate,
    Finish,
    Instruction,
    Outcome,
)
from fljob_runtime.rounds import stop
from fljob_runtime.rounds.history import History
from fljob_runtime.rounds.roster import Roster
from fljob_runtime.rounds.rules import Control, Rules
from fljob_runtime.rounds.states import TERMINAL, TRANSITIONS, TransitionError, Wait
from fljob_runtime.rounds.under_way import Summarise, UnderWay, names_of
from fljob_runtime.rounds.values import (
    NO_VERSION,
    Action,
    CohortChosen,
    CommitDone,
    CommitMissing,
    ControlChanged,
    DoCommit,
    Durable,
    Evaluated,
    Event,
    Finished,
    GaveUp,
    Joined,
    ListAccepted,
    Lost,
    Note,
    Record,
    Restore,
    Restored,
    Rewound,
    RoundCommitted,
    RoundDurable,
    RoundEvaluated,
    Save,
    Saved,
    ShardLost,
    Stop,
    Tell,
    Trained,
    TrainerFailed,
    TrainerMended,
    Unrecoverable,
)

S = RoundState


class RoundMachine:
    """Decides; remembers in `history` what a restart will find in the journal."""

    def __init__(self, rules: Rules, control: Control, *, history: History, summarise: Summarise, now: float) -> None:
        self.rules = rules
        self.control = control
        self.history = history
        self.state = S.WAITING
        self.roster = Roster(rules.trainers, now, history.layout_digest, history.failed)
        self.under_way = UnderWay(rules, history.committed + 1)
        self.repeated = 0
        self._summarise = summarise
        self._since = now
        self._round_start = now
        self._deadline = now + rules.startup_deadline_s
        self._pause_at: float | None = now if control.suspend else None
        self._shards_ready = False
        self._started = False
        self._ending: Finished | None = None
        self._actions: list[Action] = []

    # Facts.

    @property
    def over(self) -> bool:
        """Return whether nothing will ever happen again."""
        return self.state in TERMINAL

    @property
    def round(self) -> int:
        """Return the number of the round under way."""
        return self.under_way.number

    @property
    def cohort(self) -> tuple[str, ...]:
        """Return the trainers of the round under way."""
        return self.under_way.cohort if self.state in {S.TRAINING, S.COMMITTING} else ()

    def start(self) -> list[Action]:
        """Return the first actions: find out what the shards hold, or end this start of the job as it had ended.

        Who died after the last word was written had told some shards and trainers of it, and those are gone for good.
        """
        last_word = self.history.finished
        if last_word is None or last_word.incarnation != self.rules.incarnation:
            return [Restore(self.history.committed)]
        self._shards_ready = True  # none is needed
        self._ending = last_word
        if last_word.outcome is Outcome.FAILED:
            self._to(S.FAILED, self._since, 0)
            self._do(Stop(last_word))
        else:
            self._to(S.FINISHING, self._since, self.rules.startup_deadline_s)
            self._save()
        return self._actions

    def waiting(self) -> Wait | None:
        """Return what the machine is waiting for; None when it is over."""
        if self.over:
            return None
        return Wait(self._wait_name(), self._since, self._deadline)

    def _wait_name(self) -> str:
        if not self._shards_ready:
            return "servers to be reachable and hold the model"
        if self.state in {S.WAITING, S.SELECTING}:
            absent = self.roster.absent()
            return f"trainers to join ({len(self.roster.present())} of {len(self.rules.trainers)}){names_of(absent)}"
        if self.state is S.TRAINING:
            return f"updates of round {self.round}{names_of(self._unreported())}"
        if self.state is S.COMMITTING:
            return f"servers to commit round {self.round}"
        if self.state is S.EVALUATING:
            return f"evaluation of round {self.history.committed}{names_of(self._unevaluated())}"
        return "the last checkpoint and the model file"

    # Events.

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in one event and return what is to be done, in this order."""
        if self.over:
            return [self._farewell(event.trainer)] if isinstance(event, Joined) else []
        self._actions = []
        self._take(event, now)
        before = None
        while not self.over and before is not self.state:
            before = self.state
            self._advance(now)
        return self._actions

    def _take(self, event: Event, now: float) -> None:
        if isinstance(event, Joined):
            self._join(event, now)
        elif isinstance(event, Lost):
            self.roster.leave(event.trainer, now)
        elif isinstance(event, GaveUp):
            self._give_up(event, now)
        elif isinstance(event, Trained):
            self._trained(event)
        elif isinstance(event, Evaluated):
            if self.state is S.EVALUATING and event.report.version == self.history.committed:
                self.under_way.evaluations[event.trainer] = event.report
        elif isinstance(event, ShardLost):
            self._shards_ready = False
            self._do(Restore(self.history.committed, anew=self.rules.begins_anew))
        elif isinstance(event, Restored):
            self._restored(event, now)
        else:
            self._take_rest(event, now)

    def _take_rest(self, event: Event, now: float) -> None:
        if isinstance(event, CommitDone) and event.round == self.round and self.state is S.COMMITTING:
            self._committed(event, now)
        elif isinstance(event, Durable) and event.round <= self.history.committed:
            self._note(RoundDurable(event.round))
        elif isinstance(event, CommitMissing) and event.round == self.round and self.state is S.COMMITTING:
            self._missing(event, now)
        elif isinstance(event, ControlChanged) and isinstance(event.control, Control):
            self._change_control(event.control, now)
        elif isinstance(event, Unrecoverable):
            self._fail(event.exit_code, event.message, now)
        elif isinstance(event, Saved) and self.state is S.FINISHING:
            self._saved(event, now)

    def _join(self, event: Joined, now: float) -> None:
        if event.trainer not in self.rules.trainers:
            self._refuse(event.trainer, ExitCode.IDENTITY_REFUSED, "this job has no trainer of that name")
            return
        if not event.layout_digest:
            return  # it came to say that it gives up
        if event.trainer in self.roster.failed:
            self._note(TrainerMended(event.trainer))
        self.roster.join(event.trainer, event.layout_digest, event.num_samples)
        if self.state is S.TRAINING and event.trainer in self.under_way.cohort:
            if event.trainer not in self.under_way.reports:
                self._tell(event.trainer, self._instruction(event.trainer))
        elif self.state is S.EVALUATING and event.trainer not in self.under_way.evaluations:
            self._tell(event.trainer, self._evaluation(event.trainer))
        if self.roster.layout_digest:
            self._check_layouts(now)

    def _check_layouts(self, now: float) -> None:
        """Refuse trainers whose model differs; before the first cohort the majority is right."""
        for trainer in self.roster.settle_layout():
            message = f"{trainer}: its model has another layout than the other trainers'; import all data together"
            self._give_up(GaveUp(trainer, ExitCode.LAYOUT_MISMATCH, message), now)

    def _refuse(self, trainer: str, code: ExitCode, message: str) -> None:
        self._tell(trainer, Finish(Outcome.REFUSED, meaning(code).reason, message, code))

    def _give_up(self, event: GaveUp, now: float) -> None:
        if event.exit_code is ExitCode.DIVERGED:
            self._fail(ExitCode.DIVERGED, f"{event.trainer}: {event.message}", now)
        elif 10 <= event.exit_code < 30:
            self._refuse(event.trainer, event.exit_code, event.message)  # it waits for that word before it ends
            if event.trainer in self.rules.trainers:
                self.roster.fail(event.trainer, now)
                self._note(TrainerFailed(event.trainer, event.exit_code, event.message))
            self.under_way.reports.pop(event.trainer, None)
            self._check_possible(now)
        else:
            self.roster.leave(event.trainer, now)

    def _check_possible(self, now: float) -> None:
        failed = self.history.failed
        allowed = self.rules.max_failed_trainers
        left = len(self.rules.trainers) - len(failed)
        if left >= self.rules.required and (allowed is None or len(failed) <= allowed):
            return
        words = "; ".join(f"{name}: {record.message}" for name, record in sorted(failed.items()))
        self._fail(
            ExitCode.QUORUM_IMPOSSIBLE,
            f"{left} of {len(self.rules.trainers)} trainers are left, {self.rules.required} are needed"
            f"{'' if allowed is None else f', at most {allowed} may fail'}. Failed for good: {words}",
            now,
        )

    def _trained(self, event: Trained) -> None:
        wanted = self.state is S.TRAINING and event.report.round == self.round
        if wanted and event.trainer in self.under_way.cohort and event.trainer not in self.roster.failed:
            self.under_way.reports[event.trainer] = event.report

    def _change_control(self, control: Control, now: float) -> None:
        self.control = control
        if not control.suspend:
            self._pause_at = None
        elif self._pause_at is None:
            self._pause_at = now + self.rules.suspend_grace_s

    def _restored(self, event: Restored, now: float) -> None:
        first, self._started = not self._started, True
        self._shards_ready = True
        if event.version < self.history.committed:
            self._rewind(event.version, now)
        elif self.state is S.TRAINING and not first:
            for trainer in self.under_way.reports:
                self._tell(trainer, self._again(trainer))
            self.under_way.reports.clear()
        elif self.state is S.COMMITTING:
            self._name_list()
        elif self.state is S.FINISHING:
            self._save()

    def _rewind(self, version: int, now: float) -> None:
        self.repeated += self.history.committed - version
        self._note(Rewound(version))
        self.under_way.pinned = None
        if self.state not in {S.WAITING, S.SELECTING}:
            self._to(S.SELECTING, now, self.rules.round_timeout_s)

    def _missing(self, event: CommitMissing, now: float) -> None:
        self.under_way.pinned = self.history.accepted if event.folded else None
        accepted = self.history.accepted
        self.history.accepted = None
        if not self.under_way.cohort:
            self.under_way.cohort = tuple(u.trainer for u in (accepted or _NOTHING).accepted)
        for trainer in event.trainers:
            self.under_way.reports.pop(trainer, None)
        for trainer in self._unreported():  # after a restart of the coordinator also those that are not missing
            self._tell(trainer, self._again(trainer))
        deadline = self._deadline
        self._to(S.TRAINING, now, 0)
        self._deadline = max(deadline, now + self.rules.absence_grace_s)

    def _committed(self, event: CommitDone, now: float) -> None:
        listed = self.history.accepted or _NOTHING
        self._note(RoundCommitted(event.round, now - self._round_start, event.durable))
        self.under_way.pinned = None
        self._tell_committed(listed)
        if self.evaluation_due():
            self._begin_evaluation(now)
        else:
            self._to(S.SELECTING, now, self.rules.round_timeout_s)

    def _tell_committed(self, listed: ListAccepted) -> None:
        accepted = {update.trainer for update in listed.accepted}
        for trainer in self.roster.present():
            self._tell(trainer, Committed(listed.round, trainer in accepted))
        self.under_way.reports.clear()

    def _saved(self, event: Saved, now: float) -> None:
        last = self.history.last
        if last is not None and event.durable and not last.durable:
            self._note(RoundCommitted(last.round, last.seconds, durable=True))
        ending = self._ending or self._last_word(Outcome.SUCCEEDED, "Completed", "", ExitCode.DONE)
        self._to(S.PAUSED if ending.outcome is Outcome.PAUSED else S.DONE, now, 0)
        if ending != self.history.finished:
            self._note(ending)
        self._do(Stop(ending))

    # States.

    def _advance(self, now: float) -> None:
        if self.state is S.WAITING:
            self._wait(now)
        elif self.state is S.SELECTING:
            self._select(now)
        elif self.state is S.TRAINING:
            self._train(now)
        elif self.state is S.EVALUATING:
            self._evaluate(now)
        elif now >= self._deadline:
            self._fail(ExitCode.TEMPORARY, f"waited too long for {self._wait_name()}", now)

    def _wait(self, now: float) -> None:
        if self._pause_at is not None and self._shards_ready:
            self._finish_paused(now)
        elif self._shards_ready and (not self._work_left() or self._enough(now)):
            self._to(S.SELECTING, now, self.rules.round_timeout_s)
        elif now >= self._deadline:
            seconds = f"{self.rules.startup_deadline_s:g} s"
            self._fail(ExitCode.STARTUP_TIMEOUT, f"after {seconds} still waiting for {self._wait_name()}", now)

    def _select(self, now: float) -> None:
        if not self._shards_ready:
            self._time_out(now)
        elif self.history.accepted is not None:
            self._resume_commit(now)
        elif self.evaluation_due():
            self._begin_evaluation(now)
        elif not self._work_left():
            self._finish_done(now)
        elif self._pause_at is not None:
            self._finish_paused(now)
        elif self.history.cohort is not None:
            self._begin_training(self.history.cohort.cohort, now)
        elif self._enough(now):
            self._choose_cohort(now)
        else:
            self._time_out(now)

    def _train(self, now: float) -> None:
        missing = self._unreported()
        quorum = self.rules.quorum(len(self.under_way.cohort))
        enough = len(self.under_way.reports) >= quorum and not self.under_way.needed & set(missing)
        possible = [name for name in missing if name not in self.roster.failed]
        expected = [name for name in possible if not self.roster.gone(name, now, self.rules.absence_grace_s)]
        if not self._shards_ready:
            self._time_out(now)
        elif enough and not expected:
            self._accept(now)
        elif len(self.under_way.reports) + len(possible) < quorum or (self.round == 0 and not expected):
            self._redraw(now)
        elif (
            self.rules.lockstep
            and self.round
            and len(self.under_way.cohort) - len(missing) + len(expected) >= quorum > 0
            and len(expected) < len(missing)
        ):
            self._leave_behind(now)
        elif self._pause_at is not None and now >= self._pause_at:
            self._finish_paused(now)
        elif now >= self._deadline:
            if enough:
                self._accept(now)
            else:
                self._time_out(now)

    def _evaluate(self, now: float) -> None:
        members = set(self.under_way.evaluations) | set(self._unevaluated())
        missing = self._unevaluated()
        expected = [n for n in missing if not self.roster.gone(n, now, self.rules.absence_grace_s)]
        enough = len(self.under_way.evaluations) >= self.rules.quorum(len(members))
        if self._pause_at is not None and now >= self._pause_at:
            self._finish_paused(now)
        elif enough and (not expected or now >= self._deadline):
            self._end_evaluation(now)
        else:
            self._time_out(now)

    # Steps.

    def _enough(self, now: float) -> bool:
        present = self.roster.present()
        grace = self.rules.absence_grace_s
        late = [name for name in self.roster.absent() if not self.roster.gone(name, now, grace)]
        return len(present) >= self.rules.required and not late

    def _work_left(self) -> bool:
        return self.history.committed < self.control.rounds and self._criterion() is None

    def _criterion(self) -> str | None:
        met = stop.first_met(self.control.stop_criteria, self.history.evaluations())
        return stop.describe(met) if met else None

    def evaluation_due(self) -> bool:
        """Return whether the last commit is one to evaluate and has no metrics yet."""
        last = self.history.last
        if last is None or last.round == 0 or last.metrics is not None:
            return False
        return last.round % self.rules.evaluate_every == 0 or last.round >= self.control.rounds

    def _choose_cohort(self, now: float) -> None:
        self._check_layouts(now)
        if self.over or not self._enough(now):
            return
        candidates = self.roster.present()
        number = self.history.committed + 1
        size = 1 if number == 0 else self.rules.cohort_size
        cohort = (
            candidates[:1] if number == 0 else self.rules.selector.select(self.rules.seed, number, candidates, size)
        )
        samples = tuple(self.roster.samples[name] for name in cohort)
        self._note(CohortChosen(number, cohort, candidates, self.roster.layout_digest, samples))
        self._begin_training(cohort, now)

    def _begin_training(self, cohort: tuple[str, ...], now: float) -> None:
        self.under_way.begin(self.history.committed + 1, cohort)
        self._round_start = now
        self._to(S.TRAINING, now, self.rules.round_timeout_s)
        for trainer in cohort:
            if self.roster.is_present(trainer):
                self._tell(trainer, self._instruction(trainer))

    def _instruction(self, trainer: str) -> Instruction:
        return self.under_way.instruction(trainer, self.history.cohort, self._deadline)

    def _again(self, trainer: str) -> Instruction:
        return self.under_way.again(trainer, self.history.cohort, self._deadline)

    def _unreported(self) -> list[str]:
        return self.under_way.unreported()

    def _unevaluated(self) -> list[str]:
        return self.under_way.unevaluated(self.roster.failed)

    def _accept(self, now: float) -> None:
        self._note(self._listed())
        self._to(S.COMMITTING, now, self.rules.round_timeout_s)
        self._name_list()

    def _listed(self) -> ListAccepted:
        return self.under_way.listed(self._summarise)

    def _resume_commit(self, now: float) -> None:
        self._round_start = now
        recorded = self.history.cohort
        self.under_way.begin(self.history.committed + 1, recorded.cohort if recorded else ())
        self._to(S.COMMITTING, now, self.rules.round_timeout_s)
        self._name_list()

    def _name_list(self) -> None:
        listed = self.history.accepted or _NOTHING
        last_round = self.round >= self.control.rounds
        checkpoint = last_round or self.round % self.rules.checkpoint_every == 0 or self._pause_at is not None
        release = self._releasable(listed, self.rules.keep - 1 if checkpoint else self.rules.keep)
        self.history.held -= set(release)
        self._do(DoCommit(self.round, listed.accepted, checkpoint, release))

    def _releasable(self, _: ListAccepted, keep: int) -> tuple[int, ...]:
        return self.history.releasable(keep, self.rules.best_by)

    def _leave_behind(self, now: float) -> None:
        """Begin a round of steps anew without those that are gone: the others cannot step without them."""
        self._do(Restore(self.history.committed, anew=True))
        self._redraw(now)

    def _redraw(self, now: float) -> None:
        self.history.cohort = None
        self._to(S.SELECTING, now, self.rules.round_timeout_s)

    def _begin_evaluation(self, now: float) -> None:
        self.under_way.begin_evaluation(name for name in self.rules.trainers if self._expects(name, now))
        self._to(S.EVALUATING, now, self.rules.round_timeout_s)
        everyone = self.rules.cohort_size == len(self.rules.trainers)
        coming = self.history.committed + 1 if everyone and self.history.committed < self.control.rounds else 0
        for trainer in self.roster.present():
            self._tell(trainer, self._evaluation(trainer, coming))

    def _evaluation(self, trainer: str, coming: int = 0) -> Evaluate:  # noqa: ARG002 - `buffered` needs it
        return Evaluate(self.history.committed, coming)

    def _expects(self, trainer: str, now: float) -> bool:
        everyone = self.rules.required == self.rules.cohort_size
        gone = self.roster.gone(trainer, now, self.rules.absence_grace_s)
        return trainer not in self.roster.failed and (everyone or not gone)

    def _end_evaluation(self, now: float) -> None:
        reports = [report.metrics for _, report in sorted(self.under_way.evaluations.items())]
        metrics = self._summarise(reports)
        self._note(RoundEvaluated(self.history.committed, metrics))
        self._to(S.SELECTING, now, self.rules.round_timeout_s)

    # Ends.

    def _time_out(self, now: float) -> None:
        if now >= self._deadline:
            waited = f"{now - self._since:.0f} s"
            self._fail(ExitCode.ROUND_TIMEOUT, f"after {waited} still waiting for {self._wait_name()}", now)

    def _finish_done(self, now: float) -> None:
        criterion = self._criterion()
        reason = "StopCriterionMet" if criterion else "Completed"
        words = f"{self.history.committed} rounds{f': {criterion}' if criterion else ''}"
        self._finish(self._last_word(Outcome.SUCCEEDED, reason, words, ExitCode.DONE), now)

    def _finish_paused(self, now: float) -> None:
        words = f"suspended after round {max(self.history.committed, 0)}"
        self._finish(self._last_word(Outcome.PAUSED, "Suspended", words, ExitCode.STOPPED), now)

    def _finish(self, ending: Finished, now: float) -> None:
        self._ending = ending
        self._to(S.FINISHING, now, self.rules.startup_deadline_s)
        self._save()

    def _save(self) -> None:
        assemble = self._ending is not None and self._ending.outcome is Outcome.SUCCEEDED
        self._do(Save(self.history.last, assemble))

    def _fail(self, code: ExitCode, message: str, now: float) -> None:
        if self.over:
            return
        self._ending = self._last_word(Outcome.FAILED, meaning(code).reason, message, code)
        self._to(S.FAILED, now, 0)
        self._note(self._ending)
        self._do(Stop(self._ending))

    def _farewell(self, trainer: str) -> Action:
        ending = self._ending or self._last_word(Outcome.SUCCEEDED, "Completed", "", ExitCode.DONE)
        return Tell(trainer, Finish(ending.outcome, ending.reason, ending.message, ending.exit_code))

    def _last_word(self, outcome: Outcome, reason: str, message: str, code: ExitCode) -> Finished:
        return Finished(outcome, reason, message, code, self.history.committed, self.rules.incarnation)

    # Bookkeeping.

    def _to(self, state: RoundState, now: float, limit_s: float) -> None:
        if state not in TRANSITIONS[self.state]:
            raise TransitionError(f"{self.state} -> {state}")
        self.state = state
        self._since = now
        self._deadline = now + limit_s

    def _note(self, record: Record) -> None:
        self.history.apply(record)
        self._do(Note(record))

    def _tell(self, trainer: str, instruction: Instruction) -> None:
        self._do(Tell(trainer, instruction))

    def _do(self, action: Action) -> None:
        self._actions.append(action)


_NOTHING = ListAccepted(NO_VERSION, (), (), 0, {})
