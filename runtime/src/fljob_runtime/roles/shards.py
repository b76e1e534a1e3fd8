"""Carries out what the machine asks of the parameter server's shards, on a thread of its own.

Restore, commit and save run one after the other; between them the shards are polled, so that one that was
started anew is noticed. Answers go back as events. Nothing here decides about rounds.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fljob_api.exit_codes import ExitCode
from fljob_runtime.checkpoints.manifest import Manifest
from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.errors import CheckpointError, TransportError, UnreachableError
from fljob_runtime.messages import AcceptedUpdate, CommitResult, SavedVersion, ShardState
from fljob_runtime.rounds.values import (
    NO_VERSION,
    CommitDone,
    CommitMissing,
    DoCommit,
    Durable,
    Event,
    Restore,
    Restored,
    Save,
    Saved,
    ShardLost,
    Tick,
    Unrecoverable,
)
from fljob_runtime.transport.errors import exit_code_of

POLL_S = 1.0
SAVING_POLL_S = 0.05  # while a version is being written
_RETRY_S = (0.02, 0.05, 0.1, 0.2, 0.5)
_MISSED_POLLS = 3
_SHUTDOWN_S = 3.0
_log = logging.getLogger(__name__)
Task = Restore | DoCommit | Save


class Servers(Protocol):
    """The coordinator's calls to all shards at once; each raises TransportError."""

    def state(self, *, deadline_s: float) -> Sequence[ShardState]:
        """Return what the shards hold, in shard order."""

    def restore(self, version: int, files: Sequence[ShardFileName], *, deadline_s: float) -> Sequence[ShardState]:
        """Make `version` the newest everywhere, from memory or the files; NO_VERSION forgets everything."""

    def commit(
        self,
        round_: int,
        accepted: Sequence[AcceptedUpdate],
        *,
        checkpoint: bool,
        release: Sequence[int],
        deadline_s: float,
    ) -> Sequence[CommitResult]:
        """Fold exactly these updates into version `round_`."""

    def shutdown(self, reason: str, *, deadline_s: float) -> None:
        """Have the shards end."""


class CheckpointStore(Protocol):
    """Manifests and the finished model, beside the shards' files."""

    def durable(self, at_most: int) -> Sequence[Manifest]:
        """Return the complete versions up to `at_most`, newest first."""

    def record(self, version: int, results: Sequence[SavedVersion], release: Sequence[int]) -> None:
        """Write the manifest that makes a version durable and drop those released; raises CheckpointError."""

    def assemble(self, version: int) -> tuple[str, str]:
        """Write the finished model; return its relative path and sha256. Raises CheckpointError."""


@dataclass(frozen=True)
class Limits:
    """How long the shards are waited for. save_s: for a version to be written; stop_s: when asked to stop."""

    reach_s: float
    state_s: float = 2.0
    load_s: float = 300.0
    commit_s: float = 300.0
    save_s: float = 600.0
    stop_s: float = 10.0


class ShardKeeper:
    """One thread that talks to all shards; `submit` from the coordinator's loop, answers by `emit`."""

    def __init__(
        self,
        servers: Servers,
        store: CheckpointStore | None,
        *,
        num_shards: int,
        emit: Callable[[Event], None],
        limits: Limits,
    ) -> None:
        self._servers = servers
        self._store = store
        self._num_shards = num_shards
        self._emit = emit
        self._limits = limits
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._boots: tuple[str, ...] = ()
        self._missed = 0
        self._pending = NO_VERSION  # the version that is being written
        self._recorded = NO_VERSION  # the last one that was made durable
        self._released: set[int] = set()  # versions to be deleted when the next one is durable
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shards", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, task: Task) -> None:
        """Queue a task."""
        self._tasks.put(task)

    def stop(self, shutdown_reason: str | None, deadline_s: float = 5.0) -> None:
        """End the thread, once what is being written is durable; with a reason, have the shards end too."""
        self._stopping.set()
        self._tasks.put(None)
        self._thread.join(deadline_s + (self._limits.stop_s if self._pending != NO_VERSION else 0.0))
        if shutdown_reason is None:
            return
        try:
            self._servers.shutdown(shutdown_reason, deadline_s=_SHUTDOWN_S)
        except TransportError as error:
            _log.info("shutdown of the servers: %s", error)

    def _run(self) -> None:
        while not self._stopping.is_set():
            task: Task | Tick | None = Tick()
            with contextlib.suppress(queue.Empty):
                task = self._tasks.get(timeout=POLL_S if self._pending == NO_VERSION else SAVING_POLL_S)
            if task is not None:
                self._carry_out(task)
        try:
            self._await_saved(self._limits.stop_s)
        except TransportError as error:
            _log.warning("event=not_durable version=%d message=%s", self._pending, error)

    def _carry_out(self, task: Task | Tick) -> None:
        try:
            if isinstance(task, Tick):
                self._poll()
            elif isinstance(task, Restore):
                self._emit(self._restore(task))
            elif isinstance(task, DoCommit):
                self._emit(self._commit(task))
            else:
                self._emit(self._save(task))
        except CheckpointError as error:
            self._emit(Unrecoverable(exit_code_of(error), str(error)))
        except TransportError as error:
            _log.warning("%s: %s", type(task).__name__, error)
            self._emit(ShardLost(str(error)))

    def _poll(self) -> None:
        """Notice shards that were started anew, have been silent for some polls, or have written a version."""
        if not self._boots and self._pending == NO_VERSION:
            return
        try:
            states = self._servers.state(deadline_s=self._limits.state_s)
        except TransportError as error:
            self._missed += 1
            if self._missed == _MISSED_POLLS:
                self._lose(str(error))
            return
        self._missed = 0
        if self._began_anew(states):
            self._lose("a server was started anew")
        else:
            self._collect(states)

    def _began_anew(self, states: Sequence[ShardState]) -> bool:
        """Return whether a shard is another process than at the last restore."""
        return bool(self._boots) and self._boots != tuple(state.boot_id for state in states)

    def _lose(self, reason: str) -> None:
        _log.warning("event=server_lost message=%s", reason)
        self._boots = ()  # until the restore that the machine will ask for
        self._pending = NO_VERSION
        self._emit(ShardLost(reason))

    def _restore(self, task: Restore) -> Event:
        self._pending = NO_VERSION
        deadline = time.monotonic() + self._limits.reach_s
        attempt = 0
        while not self._stopping.is_set():
            try:
                return Restored(self._bring_to(task.version, anew=task.anew))
            except CheckpointError:
                raise
            except TransportError as error:
                if time.monotonic() >= deadline:
                    words = f"the servers could not be reached within {self._limits.reach_s:g} s: {error}"
                    return Unrecoverable(ExitCode.STARTUP_TIMEOUT, words)
                self._stopping.wait(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
                attempt += 1
        return Tick()

    def _bring_to(self, version: int, *, anew: bool) -> int:
        states = self._servers.state(deadline_s=self._limits.state_s)
        self._check_shards(states)
        if version == NO_VERSION:
            if any(state.versions for state in states):  # of a coordinator whose journal is gone
                self._servers.restore(NO_VERSION, (), deadline_s=self._limits.load_s)
        elif not all(version in state.versions for state in states):
            version = self._load_newest(version)
        elif anew:
            self._servers.restore(version, (), deadline_s=self._limits.load_s)
        self._boots = tuple(state.boot_id for state in states)
        self._missed = 0
        return version

    def _load_newest(self, at_most: int) -> int:
        choices = self._store.durable(at_most) if self._store else []
        for choice in choices:
            try:
                self._servers.restore(choice.version, choice.files, deadline_s=self._limits.load_s)
            except CheckpointError as error:
                _log.warning("version %d cannot be loaded: %s", choice.version, error)
            else:
                return choice.version
        if choices:
            raise CheckpointError(f"none of the checkpoints {[c.version for c in choices]} can be loaded")
        _log.warning("the servers hold nothing and there is no checkpoint: training begins anew")
        self._servers.restore(NO_VERSION, (), deadline_s=self._limits.load_s)
        return NO_VERSION

    def _check_shards(self, states: Sequence[ShardState]) -> None:
        for expected, state in enumerate(states):
            if (state.shard, state.num_shards) != (expected, self._num_shards):
                raise CheckpointError(
                    f"server {expected} says it is shard {state.shard} of {state.num_shards}; "
                    f"expected {expected} of {self._num_shards}: check its --shard and the job configuration"
                )

    def _commit(self, task: DoCommit) -> Event:
        if task.checkpoint:  # one version is written at a time: the next one waits
            self._await_saved(self._limits.save_s)
        results = self._servers.commit(
            task.round,
            task.accepted,
            checkpoint=task.checkpoint and self._store is not None,
            release=task.release,
            deadline_s=self._limits.commit_s,
        )
        self._released.update(task.release)
        missing = frozenset(name for result in results for name in result.missing)
        if missing:
            return CommitMissing(task.round, missing, any(not result.missing for result in results))
        if task.checkpoint and self._store is not None:
            self._pending = task.round
        return CommitDone(task.round, durable=False)

    def _collect(self, states: Sequence[ShardState]) -> None:
        """Make the version that is being written durable once all shards have; raises CheckpointError if one cannot."""
        version, store = self._pending, self._store
        if version == NO_VERSION or store is None:
            return
        parts = [state.saved for state in states if state.saved is not None and state.saved.version == version]
        if errors := [part.error for part in parts if part.error]:
            self._pending = NO_VERSION
            raise CheckpointError("; ".join(errors))
        if len(parts) < len(states):
            return
        store.record(version, parts, sorted(self._released))
        self._released.clear()
        self._pending, self._recorded = NO_VERSION, version
        self._emit(Durable(version))

    def _await_saved(self, limit_s: float) -> None:
        """Wait until nothing is being written; raises TransportError, also where a shard was started anew meanwhile."""
        deadline = time.monotonic() + limit_s
        while self._pending != NO_VERSION:
            states = self._servers.state(deadline_s=self._limits.state_s)
            if self._began_anew(states):
                version, self._boots, self._pending = self._pending, (), NO_VERSION
                raise UnreachableError(f"a server was started anew before version {version} was written by all")
            self._collect(states)
            if self._pending != NO_VERSION and time.monotonic() >= deadline:
                raise CheckpointError(
                    f"version {self._pending} was not written within {limit_s:g} s; is the checkpoint volume too slow?"
                )
            if self._pending != NO_VERSION:
                time.sleep(SAVING_POLL_S)

    def _save(self, task: Save) -> Event:
        if task.commit is None or self._store is None:
            return Saved()
        self._await_saved(self._limits.save_s)
        if not task.commit.durable and self._recorded != task.commit.round:
            again = DoCommit(task.commit.round, task.commit.accepted, checkpoint=True, release=())
            if not isinstance(self._commit(again), CommitDone):
                return Unrecoverable(ExitCode.CHECKPOINT_UNUSABLE, "the last version could not be written")
            self._await_saved(self._limits.save_s)
        model, digest = self._store.assemble(task.commit.round) if task.assemble else ("", "")
        return Saved(True, model, digest)
