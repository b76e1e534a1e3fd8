"""The trainer: follows the coordinator's instructions, one at a time, with one client's LocalTrainer.

Called by programs.trainer. Everything it does for a round is a function of (seed, round, client, pulled values),
so after any restart the same instruction gives the same update, bit for bit. Private values reach the model and
the private store, never the parameter client.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from fljob_api.exit_codes import ExitCode
from fljob_api.strategy import Mode, StrategySpec
from fljob_runtime.errors import (
    BusyError,
    CheckpointError,
    LayoutMismatchError,
    NotReadyError,
    StaleError,
    UnreachableError,
)
from fljob_runtime.messages import (
    Committed,
    Evaluate,
    EvaluateReport,
    Failure,
    Finish,
    Initialize,
    Instruction,
    Receipt,
    Report,
    Repush,
    Train,
    TrainReport,
)
from fljob_runtime.metrics.sums import MetricSums
from fljob_runtime.parameters import Int64Array, ModelError, ModelState, Scope
from fljob_runtime.roles.compressing import Compressing
from fljob_runtime.roles.exchanges import ExchangedRound, Patience, SupersededError
from fljob_runtime.roles.heartbeat import Pulse
from fljob_runtime.roles.private_state import PrivateStore, merge_rows
from fljob_runtime.roles.trainer_link import Inbox
from fljob_runtime.roles.trainer_metrics import TrainerMetrics
from fljob_runtime.training.dumps import Dumps
from fljob_runtime.training.local import LocalTrainer, LocalUpdate
from fljob_runtime.training.record import DivergedError, TrainProgress
from fljob_runtime.training.stepwise import stepwise_round
from fljob_runtime.transport.exchange import Exchanged, Numbered

_RETRY_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_POLL_S = 1.0
_LAST_WORD_S = 10.0
_ATTEMPT = 1  # a repetition gives the same bytes, so it need not be told from the first try
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class ParameterClient(Protocol):
    """Pull and push over all shards; each raises TransportError."""

    @property
    def bytes_sent(self) -> int:
        """Return the payload bytes pushed so far."""

    @property
    def bytes_received(self) -> int:
        """Return the payload bytes pulled so far."""

    def pull(self, version: int, rows: Mapping[str, Int64Array]) -> ModelState:
        """Return all shared dense values and the rows asked for, at one version."""

    def push(self, round_number: int, attempt: int, num_samples: int, state: ModelState) -> tuple[Receipt, ...]:
        """Stage an update at every shard; return the receipts in shard order."""

    def as_received(self, round_number: int, attempt: int, state: ModelState) -> ModelState:
        """Return what the shards make of a push of `state`."""

    def exchange(self, number: Numbered, state: ModelState | None, wanted: Mapping[str, Int64Array]) -> Exchanged:
        """Send a contribution of a round, if there is one, and fetch values as they are now."""


@dataclass(frozen=True)
class Kept:
    """An update that is kept until its round is committed. `report` is None until every shard has it."""

    round: int
    shared: ModelState
    num_samples: int
    draft: TrainReport
    report: TrainReport | None = None

    @property
    def identity(self) -> tuple[int, int]:
        """Return what it was trained for."""
        return self.round, self.draft.attempt


@dataclass(frozen=True)
class Surroundings:
    """What the trainer works with; made by `main` and by tests."""

    make_local: Callable[[], LocalTrainer]
    strategy: StrategySpec
    servers: ParameterClient
    inbox: Inbox
    report: Callable[[Report], None]
    store: PrivateStore
    pulse: Pulse
    metrics: TrainerMetrics
    reach_s: float
    compressing: Compressing | None = None
    dumps: Dumps | None = None


class Trainer:
    """One client's worker. Runs on one thread until the job is over for it."""

    def __init__(self, local: LocalTrainer, around: Surroundings) -> None:
        self._local = local
        self._around = around
        self._layout = local.layout
        self._kept: Kept | None = None
        self._pristine = True
        self._base = ModelState({}, {})  # shared values as they were pulled, where updates are differences
        self._received = self._sent = 0  # bytes that the train reports so far counted
        self._loaded: tuple[int, int] | None = None  # version in the model, and the round whose rows it has
        self._private_round: int | None = 0 if around.store.newest() == 0 else None
        needed = around.store.needed
        self._initial_private = local.initial_state().private(self._layout) if needed else ModelState({}, {})
        self._shared_tables = {s.name for s in self._layout.shared_tables}

    def run(self) -> ExitCode:
        """Follow instructions until Finish; return what the process ends with."""
        while True:
            instruction = self._around.inbox.get(_POLL_S)
            if instruction is None:
                continue
            if isinstance(instruction, Finish):
                return self._finish(instruction)
            try:
                self._follow(instruction)
            except SupersededError as error:
                _log.info("event=superseded message=%s", error)
            except DivergedError as error:
                return self._give_up(ExitCode.DIVERGED, str(error))
            except ModelError as error:
                return self._give_up(ExitCode.BAD_CONFIG, str(error))
            except LayoutMismatchError as error:
                return self._give_up(ExitCode.LAYOUT_MISMATCH, str(error))
            finally:
                self._around.pulse.end()

    def _follow(self, instruction: Instruction) -> None:
        match instruction:
            case Initialize():
                self._initialize()
            case Train():
                self._train(instruction)
            case Repush():
                self._repush(instruction.round)
            case Evaluate():
                self._evaluate(instruction)
            case Committed():
                self._committed(instruction)
            case Finish():
                pass

    def _initialize(self) -> None:
        if not self._pristine:
            self._local = self._around.make_local()
            self._pristine, self._loaded, self._private_round = True, None, None
        shared = self._local.initial_state().shared(self._layout)
        samples = self._local.data.num_samples
        draft = TrainReport(0, _ATTEMPT, (), samples)
        self._push(Kept(0, shared, samples, draft))

    def _train(self, instruction: Train) -> None:
        round_number = instruction.round
        if self._around.inbox.superseded(round_number):
            raise SupersededError(f"round {round_number} went on without this trainer")
        task = instruction.task or round_number
        kept = self._kept
        if kept is not None and kept.identity != (round_number, instruction.attempt):
            kept = self._kept = None
        if kept is not None and not self._around.strategy.exchanges:
            lost = self._around.strategy.mode is Mode.BUFFERED  # who is told a task twice is asked for it again
            self._push(replace(kept, report=None) if lost else kept)
            return
        started, cpu = time.monotonic(), time.process_time()
        self._around.pulse.begin("Training", round_number, self._local.samples_per_round)
        if kept is None:
            self._go_back_to(task - 1)
        update, older = self._update(instruction, task)
        if update is None:
            if kept is not None:
                self._push(kept)
                return
            update = LocalUpdate(ModelState({}, {}), self._local.samples_per_round, MetricSums())
        self._keep_private(task, older, update.state.private(self._layout))
        draft = TrainReport(
            round=round_number,
            attempt=instruction.attempt,
            receipts=(),
            num_samples=update.num_samples,
            metrics=update.metrics.to_bytes(),
            seconds=time.monotonic() - started,
            cpu_seconds=time.process_time() - cpu,
            bytes_received=self._around.servers.bytes_received - self._received,
        )
        self._received = self._around.servers.bytes_received
        self._around.metrics.trained(draft)
        self._push(Kept(round_number, self._due(instruction, task, update.state), update.num_samples, draft))

    def _due(self, instruction: Train, task: int, state: ModelState) -> ModelState:
        """Return what to push: values, or where the job compresses how far they moved. Exchanges have sent all."""
        shared, compressing, servers = state.shared(self._layout), self._around.compressing, self._around.servers
        if compressing is None or self._around.strategy.exchanges:
            return shared
        due = compressing.due(task, self._base, shared)
        self._base = ModelState({}, {})
        compressing.keep(task, due, lambda s: servers.as_received(instruction.round, instruction.attempt, s))
        return due

    def _discard_after(self, round_number: int) -> None:
        """Forget what this trainer kept of rounds that did not count."""
        self._around.store.discard_after(round_number)
        if self._around.compressing is not None:
            self._around.compressing.discard_after(round_number)

    def _update(self, instruction: Train, task: int) -> tuple[LocalUpdate | None, ModelState]:
        """Train the round; return the update (None: the servers had all of it) and the private values before it."""
        number, inbox = instruction.round, self._around.inbox

        def on_progress(progress: TrainProgress) -> None:
            self._advance(number, progress)

        if self._around.strategy.exchanges:
            older = self._take_private(number - 1)
            self._private_round, self._pristine, self._loaded = None, False, None
            exchanged = ExchangedRound(
                self._around.servers,
                instruction,
                lambda: stepwise_round(self._local, self._around.strategy, number, on_progress),
                Patience(self._around.reach_s, lambda: inbox.superseded(number), inbox.newest_train),
                self._around.compressing,
            )
            return exchanged.train(), older
        self._load(number - 1, task, lambda: inbox.superseded(number))
        self._loaded = None
        older = self._take_private(task - 1)
        self._private_round = None
        return self._local.train(task, on_progress), older

    def _advance(self, round_number: int, progress: TrainProgress) -> None:
        if self._around.inbox.superseded(round_number):
            raise SupersededError(f"round {round_number} went on without this trainer")
        quarter = 4 * self._around.pulse.activity.samples_done // progress.samples_total
        if 4 * progress.samples_done // progress.samples_total > quarter:
            _log.info(
                "event=training round=%d samples=%d of=%d loss=%.4f auc=%.4f",
                round_number,
                progress.samples_done,
                progress.samples_total,
                progress.loss,
                progress.auc,
            )
        self._around.pulse.advance(progress.samples_done, progress.loss, progress.auc)
        self._around.metrics.training(round_number, progress.loss)

    def _push(self, kept: Kept) -> None:
        """Stage the update where it is not staged yet, and report it."""
        self._kept = kept
        if kept.report is None and self._around.strategy.exchanges and kept.round:
            self._kept = replace(
                kept, report=replace(kept.draft, bytes_sent=self._around.servers.bytes_sent - self._sent)
            )
            self._sent = self._around.servers.bytes_sent
        elif kept.report is None:
            sent = self._around.servers.bytes_sent
            receipts = self._until_done(
                lambda: self._around.servers.push(kept.round, kept.draft.attempt, kept.num_samples, kept.shared),
                lambda: self._around.inbox.superseded(kept.round),
                f"push of round {kept.round}",
            )
            report = replace(kept.draft, receipts=receipts, bytes_sent=self._around.servers.bytes_sent - sent)
            self._around.metrics.traffic(self._around.servers.bytes_sent, self._around.servers.bytes_received)
            self._kept = replace(kept, report=report)
        if self._kept.report is not None:
            self._around.report(self._kept.report)

    def _repush(self, round_number: int) -> None:
        kept = self._kept
        if kept is not None and kept.round == round_number:
            self._push(replace(kept, report=None))
        elif round_number == 0:
            self._initialize()
        else:
            self._train(Train(round_number, 0.0))

    def _evaluate(self, wanted: Evaluate) -> None:
        def superseded() -> bool:
            return self._around.inbox.evaluation_superseded(wanted.version)

        if superseded():
            raise SupersededError(f"version {wanted.version} is evaluated without this trainer")
        started = time.monotonic()
        self._around.pulse.begin("Evaluating", wanted.version)
        self._load(wanted.version, wanted.next_round, superseded, evaluation=True)
        self._take_private(wanted.next_task - 1 if wanted.next_task else wanted.version)
        evaluation = self._local.evaluate()
        self._dump(wanted.version)
        seconds = time.monotonic() - started
        self._around.report(EvaluateReport(wanted.version, evaluation.sums.to_bytes(), seconds))
        self._around.metrics.evaluated(evaluation.sums.mean_loss, evaluation.auc)

    def _dump(self, version: int) -> None:
        """Write what spec.dump asks for. A job is worth more than that: where it fails, this says so and goes on."""
        if self._around.dumps is None:
            return
        try:
            self._around.dumps.write(version, self._local)
        except (OSError, CheckpointError) as error:
            _log.error("event=dump_failed version=%d message=%s", version, error)

    def _committed(self, instruction: Committed) -> None:
        """Forget the update of the round, and what it left here if it did not count.

        Word of a round that this trainer took no part in may come late, when the next one is trained: after a restart
        of the coordinator an earlier Train is followed while that word waits. Then there is nothing to forget.
        """
        if self._kept is not None and self._kept.round <= instruction.round:
            self._kept = None
        compressing = self._around.compressing
        left = self._around.store.has(instruction.round) or (compressing and compressing.has(instruction.round))
        if left and not instruction.accepted:
            self._discard_after(instruction.round - 1)
            self._private_round = None if self._around.store.needed else self._private_round

    # Values in the model.

    def _load(
        self, version: int, train_round: int, superseded: Callable[[], bool], *, evaluation: bool = False
    ) -> None:
        """Bring shared values of a version into the model: all dense ones, and the rows that will be read."""
        if self._loaded == (version, train_round) and not evaluation:
            return
        needed = self._local.needed_rows(train_round, evaluation=evaluation)
        rows = {name: ids for name, ids in needed.items() if name in self._shared_tables}
        state = self._until_done(
            lambda: self._around.servers.pull(version, rows), superseded, f"pull of version {version}"
        )
        self._pristine = False
        self._local.load(state)
        self._loaded = (version, train_round)
        if self._around.compressing is not None:
            self._base = state

    def _take_private(self, at_most: int) -> ModelState:
        """Bring the newest private values of round <= at_most into the model; return those that are stored."""
        store = self._around.store
        if not store.needed:
            return ModelState({}, {})
        wanted = store.newest(at_most)
        stored = store.load(wanted)
        if self._private_round != wanted:
            self._local.load(self._initial_private)
            self._local.keyed.begin_again(Scope.PRIVATE)
            self._local.load(stored)
            self._private_round = wanted
        return stored

    def _go_back_to(self, round_number: int) -> None:
        """Discard what is stored of later rounds; say so when nothing is stored of this one or earlier ones."""
        store = self._around.store
        self._discard_after(round_number)
        if store.needed and round_number > 0 and not store.newest():
            words = "what stays with this trainer (private parameters, control variates) begins anew"
            _log.warning("event=fresh_state after_round=%d message=nothing is stored here: %s", round_number, words)

    def _keep_private(self, round_number: int, older: ModelState, newer: ModelState) -> None:
        if not self._around.store.needed:
            return
        merged = ModelState(newer.dense, merge_rows(older.rows, newer.rows))
        self._around.store.save(round_number, merged)
        self._private_round = round_number

    # Ends and waits.

    def _until_done(self, call: Callable[[], _T], superseded: Callable[[], bool], what: str) -> _T:
        """Try a call again while its failure may pass; raises SupersededError when nobody wants it any more."""
        deadline = time.monotonic() + self._around.reach_s
        attempt = 0
        while True:
            try:
                return call()
            except (UnreachableError, NotReadyError, BusyError, StaleError) as error:
                gone = self._around.strategy.mode is Mode.BUFFERED and isinstance(error, StaleError)
                if superseded() or gone:  # a version that a task began with never comes back
                    raise SupersededError(f"{what}: {error}") from error
                if time.monotonic() >= deadline:
                    raise UnreachableError(f"{what}: gave up after {self._around.reach_s:g} s: {error}") from error
                if attempt in {0, 5, 20}:
                    _log.info("event=retry what=%s message=%s", what, error)
                time.sleep(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
                attempt += 1

    def _finish(self, instruction: Finish) -> ExitCode:
        log = _log.info if instruction.exit_code in {ExitCode.DONE, ExitCode.STOPPED} else _log.error
        log(
            "event=finish outcome=%s reason=%s message=%s", instruction.outcome, instruction.reason, instruction.message
        )
        return instruction.exit_code

    def _give_up(self, code: ExitCode, message: str) -> ExitCode:
        """Tell the coordinator why this trainer ends, and wait until it has heard."""
        _log.error("event=failed code=%d message=%s", code, message)
        self._around.report(Failure(code, message))
        deadline = time.monotonic() + _LAST_WORD_S
        while time.monotonic() < deadline:
            if isinstance(self._around.inbox.get(_POLL_S), Finish):
                break
        return code
