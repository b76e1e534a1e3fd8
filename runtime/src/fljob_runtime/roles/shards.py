"""Carries out what the machine asks of the parameter server's shards, on a thread of its own.

Restore, commit and save run one after the other; between them the shards are polled, so that one that was
started anew is noticed. Answers go back as events. Nothing here decides about rounds.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from fljob_api.exit_codes import ExitCode
from fljob_runtime.messages import AcceptedUpdate, CommitResult, ShardState
from fljob_runtime.rounds.values import (
    NO_VERSION,
    CommitDone,
    CommitMissing,
    DoCommit,
    Event,
    Restore,
    Restored,
    Save,
    Saved,
    ShardLost,
    Unrecoverable,
)
from fljob_runtime.transport.errors import CheckpointError, TransportError, UnreachableError, exit_code_of

POLL_S = 1.0
_RETRY_S = (0.02, 0.05, 0.1, 0.2, 0.5)
_MISSED_POLLS = 3
_log = logging.getLogger(__name__)
_T = TypeVar("_T")
Task = Restore | DoCommit | Save


class ShardClient(Protocol):
    """The coordinator's calls to one shard; each raises TransportError."""

    def state(self, *, load_version: int, digest: str, deadline_s: float) -> ShardState:
        """Return what the shard holds, after loading a checkpoint if load_version > 0."""

    def commit(
        self, round_number: int, accepted: Sequence[AcceptedUpdate], *, checkpoint: bool, release: Sequence[int]
    ) -> CommitResult:
        """Fold exactly these updates into version `round_number`."""

    def shutdown(self, reason: str, *, deadline_s: float) -> None:
        """Have the shard end."""


@dataclass(frozen=True)
class DurableVersion:
    """One version that can be loaded: the digest of each shard's file, in shard order."""

    version: int
    digests: tuple[str, ...]


class CheckpointStore(Protocol):
    """Manifests and the finished model, beside the shards' files."""

    def durable(self, at_most: int) -> list[DurableVersion]:
        """Return the complete versions up to `at_most`, newest first."""

    def record(self, version: int, results: Sequence[CommitResult], release: Sequence[int]) -> None:
        """Write the manifest that makes a version durable and drop those released; raises CheckpointError."""

    def assemble(self, version: int) -> tuple[str, str]:
        """Write the finished model; return its relative path and sha256. Raises CheckpointError."""


@dataclass(frozen=True)
class Limits:
    """How long the shards are waited for."""

    reach_s: float
    call_s: float = 30.0


class ShardKeeper:
    """One thread that talks to all shards; `submit` from the coordinator's loop, answers by `emit`."""

    def __init__(
        self,
        clients: Sequence[ShardClient],
        store: CheckpointStore | None,
        *,
        emit: Callable[[Event], None],
        limits: Limits,
    ) -> None:
        self._clients = clients
        self._store = store
        self._emit = emit
        self._limits = limits
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._boots: dict[int, str] = {}
        self._missed: dict[int, int] = {}
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(len(clients), "shard")
        self._thread = threading.Thread(target=self._run, name="shards", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, task: Task) -> None:
        """Queue a task."""
        self._tasks.put(task)

    def stop(self, shutdown_reason: str | None, deadline_s: float = 5.0) -> None:
        """End the thread; with a reason, have the shards end too."""
        self._stopping.set()
        self._tasks.put(None)
        self._thread.join(deadline_s)
        if shutdown_reason is not None:
            list(self._pool.map(lambda client: _quietly_shut_down(client, shutdown_reason), self._clients))
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                task = self._tasks.get(timeout=POLL_S)
            except queue.Empty:
                self._poll()
                continue
            if task is not None:
                self._carry_out(task)

    def _carry_out(self, task: Task) -> None:
        try:
            if isinstance(task, Restore):
                self._emit(Restored(self._restore(task.version)))
            elif isinstance(task, DoCommit):
                self._emit(self._commit(task))
            else:
                self._emit(self._save(task))
        except _ShardGoneError as gone:
            self._emit(ShardLost(gone.shard))
        except TransportError as error:
            self._emit(Unrecoverable(exit_code_of(error), str(error)))

    def _each(self, call: Callable[[ShardClient], _T]) -> list[_T]:
        """Call all shards at once; raises _ShardGoneError if one does not answer, else the first error."""
        futures = [self._pool.submit(call, client) for client in self._clients]
        results: list[_T] = []
        for shard, future in enumerate(futures):
            try:
                results.append(future.result())
            except CheckpointError:
                raise
            except TransportError as error:
                _log.warning("shard %d: %s", shard, error)
                raise _ShardGoneError(shard, str(error)) from error
        return results

    def _states(self) -> list[ShardState]:
        return self._each(lambda client: client.state(load_version=0, digest="", deadline_s=self._limits.call_s))

    def _poll(self) -> None:
        """Notice shards that were started anew, or have been silent for some polls."""
        if not self._boots:
            return
        try:
            states = self._states()
        except _ShardGoneError as gone:
            self._missed[gone.shard] = self._missed.get(gone.shard, 0) + 1
            if self._missed[gone.shard] == _MISSED_POLLS:
                self._emit(ShardLost(gone.shard))
            return
        except TransportError as error:
            _log.warning("poll of the shards: %s", error)
            return
        self._missed.clear()
        for state in states:
            if self._boots.get(state.shard) != state.boot_id:
                self._boots.clear()  # until the restore that the machine will ask for
                self._emit(ShardLost(state.shard))
                return

    def _restore(self, version: int) -> int:
        deadline = time.monotonic() + self._limits.reach_s
        attempt = 0
        while True:
            try:
                return self._bring_to(version)
            except _ShardGoneError as gone:
                if time.monotonic() >= deadline or self._stopping.is_set():
                    raise UnreachableError(
                        f"shard {gone.shard} did not answer within {self._limits.reach_s:g} s: {gone.reason}"
                    ) from gone
                self._stopping.wait(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
                attempt += 1

    def _bring_to(self, version: int) -> int:
        states = self._states()
        self._check_shards(states)
        self._boots = {state.shard: state.boot_id for state in states}
        if version == NO_VERSION or all(version in state.versions for state in states):
            return version
        return self._load_newest(version)

    def _load_newest(self, at_most: int) -> int:
        choices = self._store.durable(at_most) if self._store else []
        for choice in choices:
            try:
                self._load(choice)
            except CheckpointError as error:
                _log.warning("version %d cannot be loaded: %s", choice.version, error)
            else:
                return choice.version
        if choices:
            raise CheckpointError(f"none of the checkpoints {[c.version for c in choices]} can be loaded")
        _log.warning("the servers hold nothing and there is no checkpoint: training begins anew")
        return NO_VERSION

    def _load(self, choice: DurableVersion) -> None:
        calls = list(zip(self._clients, choice.digests, strict=True))
        futures = [
            self._pool.submit(client.state, load_version=choice.version, digest=digest, deadline_s=self._limits.call_s)
            for client, digest in calls
        ]
        for shard, future in enumerate(futures):
            try:
                state = future.result()
            except UnreachableError as error:
                raise _ShardGoneError(shard, str(error)) from error
            if choice.version not in state.versions:
                raise CheckpointError(f"shard {shard} did not load version {choice.version}")

    def _check_shards(self, states: Sequence[ShardState]) -> None:
        for expected, state in enumerate(states):
            if (state.shard, state.num_shards) != (expected, len(self._clients)):
                raise CheckpointError(
                    f"server {expected} says it is shard {state.shard} of {state.num_shards}; "
                    f"expected {expected} of {len(self._clients)}: check its --shard and the job configuration"
                )

    def _commit(self, task: DoCommit) -> Event:
        results = self._each(
            lambda client: client.commit(task.round, task.accepted, checkpoint=task.checkpoint, release=task.release)
        )
        missing = frozenset(name for result in results for name in result.missing)
        if missing:
            return CommitMissing(task.round, missing, any(not result.missing for result in results))
        if task.checkpoint and self._store is not None:
            self._store.record(task.round, results, task.release)
        return CommitDone(task.round, task.checkpoint and self._store is not None)

    def _save(self, task: Save) -> Event:
        if task.commit is None or self._store is None:
            return Saved()
        if not task.commit.durable:
            again = DoCommit(task.commit.round, task.commit.accepted, checkpoint=True, release=())
            event = self._commit(again)
            if not isinstance(event, CommitDone):
                return Unrecoverable(ExitCode.CHECKPOINT_UNUSABLE, "the last version could not be written")
        model, digest = self._store.assemble(task.commit.round) if task.assemble else ("", "")
        return Saved(True, model, digest)


class _ShardGoneError(Exception):
    def __init__(self, shard: int, reason: str) -> None:
        super().__init__(reason)
        self.shard = shard
        self.reason = reason


def _quietly_shut_down(client: ShardClient, reason: str) -> None:
    try:
        client.shutdown(reason, deadline_s=3.0)
    except TransportError as error:
        _log.info("shutdown of a shard: %s", error)
