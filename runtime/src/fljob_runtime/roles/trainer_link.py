"""A trainer's connection to the coordinator: one thread that connects, reads instructions and connects again.

Used by the trainer's worker, which takes instructions from the inbox, one at a time, and reports back. What
arrives while the worker is busy tells it, by `Inbox.superseded`, to drop work that no one wants any more.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from fljob_api.exit_codes import ExitCode
from fljob_runtime.errors import IdentityError, TransportError
from fljob_runtime.messages import (
    Committed,
    Evaluate,
    Finish,
    Hello,
    Initialize,
    Instruction,
    Outcome,
    Report,
    Repush,
    Train,
)

CONNECT_S = 5.0
_BACKOFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)
_log = logging.getLogger(__name__)


class Stream(Protocol):
    """One open stream, as transport makes it."""

    def report(self, report: Report) -> None:
        """Send a report."""

    def __iter__(self) -> Iterator[Instruction]:
        """Yield instructions; raises TransportError when the stream breaks."""

    def close(self) -> None:
        """End it."""


class Inbox:
    """Instructions in order, and whether the one being worked on is still wanted. Thread-safe."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Instruction] = queue.SimpleQueue()
        self._wanted_round: int | None = None
        self._wanted_version: int | None = None
        self._last_train: Train | None = None
        self._over = False

    def put(self, instruction: Instruction) -> None:
        """Queue an instruction; note what it makes obsolete."""
        match instruction:
            case Train() | Repush():
                self._wanted_round, self._wanted_version = instruction.round, None
                if isinstance(instruction, Train):
                    self._last_train = instruction
            case Initialize():
                self._wanted_round, self._wanted_version = 0, None
            case Evaluate():
                self._wanted_version = instruction.version
            case Committed() if self._wanted_round == instruction.round:
                self._wanted_round = None
            case Finish():
                self._over = True
            case Committed():
                pass
        self._queue.put(instruction)

    def get(self, timeout_s: float) -> Instruction | None:
        """Return the next instruction, None after the timeout."""
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def newest_train(self, known: Train) -> Train:
        """Return the newest word on the round of an instruction that is being followed: its cohort may have changed."""
        last = self._last_train
        return last if last is not None and last.round == known.round else known

    def superseded(self, round_number: int) -> bool:
        """Return whether work on the update of this round has become useless."""
        return self._over or self._wanted_round != round_number

    def evaluation_superseded(self, version: int) -> bool:
        """Return whether evaluating this version has become useless."""
        return self._over or self._wanted_version != version

    @property
    def over(self) -> bool:
        """Return whether a Finish has come."""
        return self._over


@dataclass(frozen=True)
class Patience:
    """How long the coordinator is looked for, and in which steps."""

    reach_s: float
    connect_s: float = CONNECT_S


class Link:
    """Keeps a stream open until Finish comes or `stop` is called; what cannot be mended ends as a Finish."""

    def __init__(
        self, connect: Callable[[Hello, float], Stream], hello: Callable[[], Hello], inbox: Inbox, patience: Patience
    ) -> None:
        self._connect = connect
        self._hello = hello
        self._inbox = inbox
        self._patience = patience
        self._stream: Stream | None = None
        self._stopping = threading.Event()
        self.reconnects = 0
        self._thread = threading.Thread(target=self._run, name="coordinator", daemon=True)

    @property
    def connected(self) -> bool:
        """Return whether there is a stream."""
        return self._stream is not None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def report(self, report: Report) -> None:
        """Send a report if there is a stream; otherwise the coordinator asks again after the next Hello."""
        stream = self._stream
        if stream is not None:
            stream.report(report)

    def wait_until_over(self, timeout_s: float) -> bool:
        """Wait until the stream has ended for good; return whether it has."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Close the stream and end the thread."""
        self._stopping.set()
        stream = self._stream
        if stream is not None:
            stream.close()
        self._thread.join(2.0)

    def _run(self) -> None:
        attempt, last_contact = 0, time.monotonic()
        while not (self._stopping.is_set() or self._inbox.over):
            try:
                self._converse()
                attempt, last_contact = 0, time.monotonic()
            except IdentityError as error:
                self._give_up(ExitCode.IDENTITY_REFUSED, str(error))
            except TransportError as error:
                if self._stream is not None:
                    attempt, last_contact = 0, time.monotonic()
                self._stream = None
                if not self._stopping.is_set():
                    _log.info("event=disconnected message=%s", error)
                self._check_patience(last_contact, error)
            self._stopping.wait(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
            attempt += 1

    def _converse(self) -> None:
        stream = self._connect(self._hello(), self._patience.connect_s)
        self._stream = stream
        try:
            for instruction in stream:
                self._inbox.put(instruction)
        finally:
            stream.close()
            self.reconnects += 1

    def _check_patience(self, last_contact: float, error: TransportError) -> None:
        waited = time.monotonic() - last_contact
        if waited >= self._patience.reach_s:
            self._give_up(ExitCode.TEMPORARY, f"coordinator not reachable for {waited:.0f} s: {error}")

    def _give_up(self, code: ExitCode, message: str) -> None:
        self._inbox.put(Finish(Outcome.REFUSED, "", message, code))
