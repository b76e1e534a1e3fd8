"""Trains a round window by window, exchanging with the server in between (StepSync, Async, Geo).

Called by the trainer role. The server counts each trainer's exchanges, so one that is repeated changes nothing, and
a round is taken up again at the window where a former process of this trainer was stopped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from fljob_runtime.errors import BusyError, NotReadyError, StaleError, UnreachableError
from fljob_runtime.messages import Train
from fljob_runtime.parameters import Int64Array, ModelState
from fljob_runtime.roles.compressing import Compressing
from fljob_runtime.training.local import LocalUpdate
from fljob_runtime.training.stepwise import StepwiseRound
from fljob_runtime.transport.exchange import Exchanged, Numbered

_PAUSE_S = 0.1
_log = logging.getLogger(__name__)


class ExchangeClient(Protocol):
    """Exchanges with all shards; raises TransportError."""

    def exchange(self, number: Numbered, state: ModelState | None, wanted: Mapping[str, Int64Array]) -> Exchanged:
        """Send a contribution, if there is one, and fetch values."""

    def as_received(self, round_number: int, attempt: int, state: ModelState) -> ModelState:
        """Return what the shards make of `state` as exchange number `attempt`."""


class SupersededError(Exception):
    """The work under way has become useless: the job went on without it."""


@dataclass(frozen=True)
class Patience:
    """How long unreachable servers are waited for; whether nobody waits for this trainer any more; the newest word."""

    reach_s: float
    superseded: Callable[[], bool]
    newest: Callable[[Train], Train] = lambda known: known


class ExchangedRound:
    """One round of one trainer. `begin` makes the work anew, for a round that must be begun again."""

    def __init__(
        self,
        servers: ExchangeClient,
        asked: Train,
        begin: Callable[[], StepwiseRound],
        patience: Patience,
        compressing: Compressing | None = None,
    ) -> None:
        """compressing: keeps what codecs leave unsent."""
        self._servers = servers
        self._begin = begin
        self._patience = patience
        self._asked = asked
        self._compressing = compressing or Compressing(None)

    def train(self) -> LocalUpdate | None:
        """Train until the server has every window; None if it had them already.

        Raises SupersededError, DivergedError, or UnreachableError when the servers stay away.
        """
        while True:
            try:
                return self._train(self._begin())
            except StaleError as error:
                self._check_wanted(error)
                _log.info("event=begin_again round=%d message=%s", self._asked.round, error)
                time.sleep(_PAUSE_S)

    def _train(self, work: StepwiseRound) -> LocalUpdate | None:
        self._asked = self._patience.newest(self._asked)
        begun = Numbered(self._asked.round, 0, 1, self._asked.members, self._asked.share)
        done = self._ask(begun, None, {}).applied
        if done >= work.num_windows:
            self._compressing.end(begun.round, None)
            return None
        unsent = self._compressing.begin(begun.round, whole=done == 0)
        work.skip(done)
        work.renew(self._ask(begun, None, work.rows(done)).values)
        for window in range(done, work.num_windows):
            self._check_wanted(None)
            made = work.train(window)
            last = window == work.num_windows - 1
            number = replace(begun, sequence=window + 1, num_samples=made.num_samples, last=last)
            due = unsent.due(made.state) if unsent else made.state
            answer = self._ask(number, due, {} if last else work.rows(window + 1))
            if unsent and not answer.dropped:
                unsent.keep(due, self._servers.as_received(number.round, number.sequence, due))
            if not last:
                work.renew(answer.values)
        self._compressing.end(begun.round, unsent)
        return work.finish()

    def _ask(self, number: Numbered, state: ModelState | None, wanted: Mapping[str, Int64Array]) -> Exchanged:
        """Exchange; repeat while the servers are away (for `reach_s`) or say that others are waited for."""
        deadline = time.monotonic() + self._patience.reach_s
        while True:
            try:
                return self._servers.exchange(number, state, wanted)
            except (UnreachableError, BusyError) as error:
                self._check_wanted(error)
                if time.monotonic() >= deadline:
                    raise
            except NotReadyError as error:
                self._check_wanted(error)
                if _cohort(self._patience.newest(self._asked)) != _cohort(self._asked):
                    raise StaleError("the round is begun again with another cohort") from error
                deadline = time.monotonic() + self._patience.reach_s
            time.sleep(_PAUSE_S)

    def _check_wanted(self, error: Exception | None) -> None:
        if self._patience.superseded():
            raise SupersededError(f"round {self._asked.round} went on without this trainer: {error or ''}") from error


def _cohort(asked: Train) -> tuple[int, float]:
    return asked.members, asked.share
