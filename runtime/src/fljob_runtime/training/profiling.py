"""Where the time of some mini-batches goes: torch's profiler over them, as a trace and a table of operators.

Used by the command line's `train`. It never runs unless asked for: it slows what it looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.autograd.profiler_util import EventList
from torch.profiler import ProfilerActivity

TRACE, TABLE = "trace.json", "operators.txt"
_ROWS = 40  # of the table


class ProfilingError(RuntimeError):
    """A profile cannot be written; the message says where."""


@dataclass(frozen=True)
class Operator:
    """One of torch's operators: how often it was called, and milliseconds in it, without those that it called."""

    name: str
    calls: int
    milliseconds: float


class Profiling:
    """A profile of the first mini-batches of the first epoch that is `watched`, written into a folder.

    operators: what it found, dearest first; empty before. batches: of how many mini-batches.
    """

    def __init__(self, folder: Path, most: int, device: torch.device) -> None:
        """Make the folder; raises ProfilingError. most: mini-batches that are looked at."""
        with _written_in(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._most, self._cuda = folder, most, device.type == "cuda"
        self.batches = 0
        self.operators: list[Operator] = []

    @contextmanager
    def watched(self) -> Iterator[Callable[[], None]]:
        """Look at the training within, which calls what it is given after each mini-batch; once only.

        What it is given, and the end, raise ProfilingError where nothing can be written.
        """
        if self.batches:
            yield lambda: None
            return
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._cuda else [])]
        profile = torch.profiler.profile(activities=activities)
        profile.start()

        def step() -> None:
            if self.operators:
                return
            self.batches += 1
            profile.step()
            if self.batches == self._most:
                self._finish(profile)

        try:
            yield step
        finally:
            if not self.operators:
                self._finish(profile)

    def table(self, rows: int) -> str:
        """Return the dearest operators as lines of text."""
        whole = sum(operator.milliseconds for operator in self.operators) or 1.0
        lines = [f"{'operator':<60} {'calls':>8} {'self ms':>10} {'share':>6}"]
        for found in self.operators[:rows]:
            share = 100.0 * found.milliseconds / whole
            lines.append(f"{found.name[:60]:<60} {found.calls:>8} {found.milliseconds:>10.3f} {share:>5.1f}%")
        return "\n".join(lines)

    def _finish(self, profile: torch.profiler.profile) -> None:
        profile.stop()
        self.operators = _operators(profile.key_averages(), cuda=self._cuda)
        trace = self._folder / TRACE
        with _written_in(self._folder):
            trace.unlink(missing_ok=True)  # a former one would pass for the new
            profile.export_chrome_trace(str(trace))
            (self._folder / TABLE).write_text(self.table(_ROWS) + "\n", encoding="utf-8")
        if not trace.is_file():  # torch only logs that it could not
            raise ProfilingError(f"{trace}: cannot be written; choose another folder")


@contextmanager
def _written_in(folder: Path) -> Iterator[None]:
    """Raise ProfilingError for what the system says against files there."""
    try:
        yield
    except OSError as error:
        raise ProfilingError(f"{error.filename or folder}: {error.strerror}; choose another folder") from error


def _operators(events: EventList, *, cuda: bool) -> list[Operator]:
    """Return the operators, dearest first by the time on the device; steps of the profiler itself are none."""
    times = [(e.key, e.count, e.self_device_time_total if cuda else e.self_cpu_time_total) for e in events]
    found = [Operator(key, count, time / 1000.0) for key, count, time in times if not key.startswith("ProfilerStep")]
    return sorted(found, key=lambda operator: -operator.milliseconds)
