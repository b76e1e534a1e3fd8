"""Writes the newest Progress to its sink from a thread of its own: soon after a change of state, else at leisure.

The coordinator's loop hands objects over and never waits for the sink, except at the very end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from fljob_api.progress import Progress
from fljob_runtime.roles.progress_sinks import ProgressSink, SinkError

INTERVAL_S = 1.5
_RETRY_S = 1.0
_log = logging.getLogger(__name__)


class Publisher:
    """At most one write at a time; of objects offered meanwhile only the newest is written."""

    def __init__(self, sink: ProgressSink, on_error: Callable[[], None], *, interval_s: float = INTERVAL_S) -> None:
        self._sink = sink
        self._on_error = on_error
        self._interval_s = interval_s
        self._wake = threading.Condition()
        self._newest: Progress | None = None
        self._written: Progress | None = None
        self._urgent = False
        self._closing = False
        self._sequence = 0
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    def offer(self, progress: Progress, *, urgent: bool) -> None:
        """Hand over the newest object; `urgent` has it written at once."""
        with self._wake:
            self._newest = progress
            self._urgent = self._urgent or urgent
            self._wake.notify()

    def close(self, deadline_s: float) -> bool:
        """Write the newest object and stop; return whether it was written within the deadline."""
        with self._wake:
            self._closing = self._urgent = True
            self._wake.notify()
        self._thread.join(deadline_s)
        return not self._thread.is_alive() and self._written == self._newest

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._urgent, timeout=self._interval_s)
                progress, closing, self._urgent = self._newest, self._closing, False
            if progress is not None and progress != self._written:
                self._write(progress)
            if closing and self._written == self._newest:
                return

    def _write(self, progress: Progress) -> None:
        self._sequence += 1
        try:
            self._sink.write(progress.model_copy(update={"sequence": self._sequence}))
        except SinkError as error:
            _log.warning("progress was not written: %s", error)
            self._on_error()
            time.sleep(_RETRY_S)
            with self._wake:
                self._urgent = True
        else:
            self._written = progress
