"""The coordinator: one loop around the round machine.

Reports of trainers, answers of shards, changes of control and time go in as events; what the machine asks for
is carried out here, in order. Called by programs.coordinator. No decision about rounds is made in this file.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fljob_api.exit_codes import ExitCode
from fljob_api.progress import Finish, Progress, RoundState
from fljob_runtime import messages as m
from fljob_runtime.roles.controls import ControlError, ControlSource
from fljob_runtime.roles.coordinator_metrics import CoordinatorMetrics
from fljob_runtime.roles.journal import Journal, JournalError
from fljob_runtime.roles.progress_view import (
    Identity,
    TrainerView,
    check_metrics,
    finish_of,
    number,
    summarise,
    summary,
    view,
)
from fljob_runtime.roles.publisher import Publisher
from fljob_runtime.roles.shards import ShardKeeper
from fljob_runtime.rounds.buffered import make_machine
from fljob_runtime.rounds.rules import Control, Rules
from fljob_runtime.rounds.values import (
    Action,
    ControlChanged,
    DoCommit,
    Evaluated,
    Event,
    Finished,
    GaveUp,
    Joined,
    Lost,
    Note,
    Restore,
    RoundCommitted,
    RoundDurable,
    RoundEvaluated,
    Save,
    Saved,
    Stop,
    Tell,
    Tick,
    Trained,
    Unrecoverable,
)

TICK_S = 0.25
SILENCE_S = 45.0
CONTROL_S = 2.0
_LAST_WORD_S = 10.0
_log = logging.getLogger(__name__)


class Streams(Protocol):
    """The trainers' streams, as transport serves them."""

    def send(self, trainer: str, instruction: m.Instruction) -> None:
        """Queue an instruction."""

    def close(self, trainer: str) -> None:
        """End a stream after what is queued."""

    def stop(self, grace_s: float) -> None:
        """End all streams."""


@dataclass(frozen=True)
class Report:
    """A trainer spoke."""

    trainer: str
    report: m.Report


@dataclass(frozen=True)
class StopRequested:
    """SIGTERM."""


Item = Event | Report | StopRequested


@dataclass(frozen=True)
class Surroundings:
    """What the coordinator works with; made by `main` and by tests."""

    streams: Streams
    keeper: ShardKeeper
    journal: Journal
    publisher: Publisher
    metrics: CoordinatorMetrics
    who: Identity
    clock: Callable[[], float]


class Coordinator:
    """Runs one job to its end, or until it is asked to stop."""

    def __init__(self, rules: Rules, control: Control, around: Surroundings, inbox: queue.SimpleQueue[Item]) -> None:
        self._around = around
        self._inbox = inbox
        self._machine = make_machine(
            rules, control, history=around.journal.history, summarise=summarise, now=around.clock()
        )
        self._views = {name: TrainerView() for name in rules.trainers}
        for name, record in around.journal.history.failed.items():
            self._views[name] = TrainerView("Failed", message=record.message, exit_code=int(record.exit_code))
        self._saved = Saved()
        self._ending: Finished | None = None
        self._shown: tuple[RoundState, int] | None = None
        self._offer_at = 0.0

    @property
    def ready(self) -> bool:
        """Return whether the shards are there and rounds can be made."""
        return self._machine.state not in {RoundState.WAITING, RoundState.FAILED}

    def run(self) -> ExitCode:
        """Work until the job is over or a StopRequested comes; return the exit code."""
        self._carry_out(self._machine.start())
        while not self._machine.over:
            item = self._next()
            if isinstance(item, StopRequested):
                return self._leave()
            self._carry_out(self._machine.handle(self._event(item), self._around.clock()))
            self._publish(urgent=False)
        return self._end()

    def _next(self) -> Item:
        try:
            return self._inbox.get(timeout=TICK_S)
        except queue.Empty:
            self._drop_silent()
            return Tick()

    # What comes in.

    def _event(self, item: Item) -> Event:
        if isinstance(item, Saved):
            self._saved = item
        if isinstance(item, Lost):
            if item.trainer not in self._machine.roster.failed:  # that it failed for good says more
                self._views[item.trainer].state = "Lost"
            _log.info("trainer=%s event=lost", item.trainer)
        if not isinstance(item, Report):
            return item if not isinstance(item, StopRequested) else Tick()
        seen = self._views[item.trainer]
        seen.heard_at = self._around.clock()
        return self._report(item.trainer, item.report, seen)

    def _report(self, trainer: str, report: m.Report, seen: TrainerView) -> Event:
        match report:
            case m.Hello():
                seen.state, seen.message, seen.exit_code = "Idle", "", None
                seen.samples = report.num_samples
                _log.info("trainer=%s event=joined samples=%d", trainer, report.num_samples)
                return Joined(trainer, report.layout_digest, report.num_samples)
            case m.Heartbeat():
                seen.round, seen.loss, seen.auc = report.round, report.loss, report.auc
                seen.state = report.activity or seen.state
                return Tick()
            case m.TrainReport():
                return self._trained(trainer, report, seen)
            case m.EvaluateReport():
                return self._evaluated(trainer, report, seen)
            case m.Failure():
                seen.state, seen.message, seen.exit_code = "Failed", report.message, int(report.exit_code)
                _log.error("trainer=%s event=failed code=%d message=%s", trainer, report.exit_code, report.message)
                return GaveUp(trainer, report.exit_code, report.message)

    def _trained(self, trainer: str, report: m.TrainReport, seen: TrainerView) -> Event:
        if fault := check_metrics(report.metrics) if report.round else "":
            return self._distrust(trainer, fault, seen)
        seen.state, seen.round, seen.seconds = "Idle", report.round, report.seconds
        return Trained(trainer, report)

    def _evaluated(self, trainer: str, report: m.EvaluateReport, seen: TrainerView) -> Event:
        if fault := check_metrics(report.metrics):
            return self._distrust(trainer, fault, seen)
        own = summarise([report.metrics])
        seen.state, seen.loss, seen.auc = "Idle", own.get("Loss", float("nan")), own.get("AUC", float("nan"))
        return Evaluated(trainer, report)

    def _distrust(self, trainer: str, fault: str, seen: TrainerView) -> Event:
        """A trainer that sends nonsense loses its stream; its restart may do better."""
        seen.message = fault
        _log.error("trainer=%s event=refused message=%s", trainer, fault)
        self._around.streams.close(trainer)
        return Lost(trainer)

    def _drop_silent(self) -> None:
        now = self._around.clock()
        for trainer in self._machine.roster.present():
            if now - self._views[trainer].heard_at > SILENCE_S:
                _log.warning("trainer=%s event=silent seconds=%g", trainer, SILENCE_S)
                self._around.streams.close(trainer)

    # What goes out.

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Tell():
                    self._tell(action)
                case Note():
                    self._note(action)
                case Restore() | DoCommit() | Save():
                    self._around.keeper.submit(action)
                case Stop():
                    self._ending = action.finish

    def _tell(self, action: Tell) -> None:
        instruction = action.instruction
        seen = self._views.get(action.trainer)
        if seen is not None and isinstance(instruction, m.Train | m.Repush | m.Initialize):
            seen.state = "Training"
        elif seen is not None and isinstance(instruction, m.Evaluate):
            seen.state = "Evaluating"
        self._around.streams.send(action.trainer, instruction)
        if isinstance(instruction, m.Finish):
            self._around.streams.close(action.trainer)

    def _note(self, action: Note) -> None:
        record = action.record
        try:
            self._around.journal.append(record)
        except JournalError as error:
            self._inbox.put(Unrecoverable(ExitCode.CHECKPOINT_UNUSABLE, str(error)))
            raise
        if isinstance(record, RoundDurable):
            self._shown = None  # so that the status tells at once
        if isinstance(record, RoundCommitted | RoundEvaluated):
            self._around.metrics.committed(self._machine, self._views)
            if isinstance(record, RoundEvaluated) or not self._machine.evaluation_due():
                self._log_round(record.round)

    def _log_round(self, round_number: int) -> None:
        commit = self._machine.history.commits[round_number]
        shown = summary(commit)
        _log.info(
            "round=%d loss=%s auc=%s train_loss=%s participants=%d dropped=%d seconds=%s bytes=%d",
            *(shown.round, shown.loss or "-", shown.auc or "-", shown.train_loss or "-"),
            *(shown.participants, shown.dropped, number(commit.seconds), shown.bytes),
        )

    def _publish(self, *, urgent: bool) -> None:
        """Offer the present view when a round or state began, else now and then: making it costs a millisecond."""
        shown = (self._machine.state, self._machine.history.committed)
        at_once = shown != self._shown and shown[0] not in {RoundState.SELECTING, RoundState.COMMITTING}
        now = self._around.clock()
        if not (urgent or at_once) and now < self._offer_at:
            return
        self._shown, self._offer_at = shown, now + TICK_S
        self._around.metrics.observe(self._machine, now)
        self._around.publisher.offer(self._progress(None), urgent=urgent or at_once)

    def _progress(self, finish: Finish | None) -> Progress:
        around = self._around
        progress = view(self._machine, self._views, around.who, finish)
        if not self._saved.model:
            return progress
        model = {"model_uri": self._saved.model, "model_digest": self._saved.digest}
        return progress.model_copy(update={"training": progress.training.model_copy(update=model)})

    # Ends.

    def _leave(self) -> ExitCode:
        """Stop in the middle: everything that counts is in the journal and the checkpoints already."""
        _log.info("event=stopped state=%s round=%d", self._machine.state, self._machine.history.committed)
        self._around.publisher.close(_LAST_WORD_S / 5)
        self._around.keeper.stop(None, deadline_s=1.0)
        self._around.journal.close()
        self._around.streams.stop(0.2)
        return ExitCode.STOPPED

    def _end(self) -> ExitCode:
        ending = self._ending
        if ending is None:
            raise AssertionError("the machine is over without a last word")
        log = _log.error if ending.outcome is m.Outcome.FAILED else _log.info
        log("event=finished outcome=%s reason=%s message=%s", ending.outcome, ending.reason, ending.message)
        paused = ending.outcome is m.Outcome.PAUSED
        last = m.Finish(ending.outcome, ending.reason, ending.message, ExitCode.STOPPED if paused else ExitCode.DONE)
        for trainer in self._machine.roster.present():
            self._tell(Tell(trainer, last))
        self._around.keeper.stop(None if paused else ending.reason)
        self._around.journal.close()
        self._around.publisher.offer(self._progress(finish_of(ending)), urgent=True)
        if not self._around.publisher.close(_LAST_WORD_S):
            _log.error("the last progress could not be written within %g s", _LAST_WORD_S)
        self._around.streams.stop(1.0)
        return ending.exit_code


class ControlWatch:
    """Asks the control source every couple of seconds and reports changes into the inbox."""

    def __init__(self, source: ControlSource, inbox: queue.SimpleQueue[Item], *, every_s: float = CONTROL_S) -> None:
        self._source = source
        self._inbox = inbox
        self._every_s = every_s
        self._last: Control | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; one request may still be under way."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                control = self._source.read()
            except ControlError as error:
                _log.warning("control was not read: %s", error)
                continue
            if control is not None and control != self._last:
                self._last = control
                self._inbox.put(ControlChanged(control))
