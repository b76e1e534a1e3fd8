"""What a trainer is doing right now, and the thread that says so every few seconds. Used by the trainer."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from fljob_runtime.messages import Heartbeat

BUSY_S = 2.0
IDLE_S = 10.0


@dataclass(frozen=True)
class Activity:
    """A moment of a trainer's work; loss and auc are NaN where not known."""

    name: str = "Idle"
    round: int = 0
    samples_done: int = 0
    samples_total: int = 0
    loss: float = math.nan
    auc: float = math.nan


class Pulse:
    """Holds the present activity and reports it until stopped."""

    def __init__(self, report: Callable[[Heartbeat], None]) -> None:
        self._report = report
        self._now = Activity()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    @property
    def activity(self) -> Activity:
        """Return what the trainer is doing."""
        return self._now

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join(1.0)

    def begin(self, name: str, round_number: int, samples_total: int = 0) -> None:
        """Say what begins."""
        self._now = Activity(name, round_number, 0, samples_total)

    def advance(self, samples_done: int, loss: float, auc: float) -> None:
        """Say how far it is."""
        self._now = replace(self._now, samples_done=samples_done, loss=loss, auc=auc)

    def end(self) -> None:
        """Say that the trainer waits."""
        self._now = Activity(round=self._now.round)

    def _run(self) -> None:
        while not self._stopping.wait(IDLE_S if self._now.name == "Idle" else BUSY_S):
            now = self._now
            self._report(Heartbeat(now.round, now.name, now.samples_done, now.samples_total, now.loss, now.auc))
