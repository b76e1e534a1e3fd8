"""Who is there: trainers present, absent since when, failed for good, and whose model has which layout. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence


class Roster:
    """The trainers of a job as the machine sees them."""

    def __init__(
        self, trainers: Sequence[str], now: float, layout_digest: str = "", failed: Iterable[str] = ()
    ) -> None:
        self.layout_digest = layout_digest
        self.failed = set(failed)
        self.samples: dict[str, int] = {}  # of each trainer that was ever there
        self._trainers = tuple(trainers)
        self._layouts: dict[str, str] = {}  # of those present
        self._absent_since: dict[str, float] = dict.fromkeys(trainers, now)

    def present(self) -> tuple[str, ...]:
        """Return the trainers with a live stream, sorted by name."""
        return tuple(sorted(self._layouts))

    def is_present(self, trainer: str) -> bool:
        """Return whether the trainer has a live stream."""
        return trainer in self._layouts

    def absent(self) -> tuple[str, ...]:
        """Return the trainers that are not there but may come, sorted by name."""
        return tuple(n for n in self._trainers if n not in self._layouts and n not in self.failed)

    def gone(self, trainer: str, now: float, grace_s: float) -> bool:
        """Return whether the trainer failed for good or has been absent for longer than the grace time."""
        if trainer in self.failed:
            return True
        return trainer not in self._layouts and now - self._absent_since[trainer] >= grace_s

    def join(self, trainer: str, layout_digest: str, num_samples: int = 0) -> None:
        """Note a live stream; one that had failed and comes back has been mended."""
        self.failed.discard(trainer)
        self._layouts[trainer] = layout_digest
        self.samples[trainer] = num_samples

    def leave(self, trainer: str, now: float) -> None:
        """Note that a stream ended."""
        if self._layouts.pop(trainer, None) is not None:
            self._absent_since[trainer] = now

    def fail(self, trainer: str, now: float) -> None:
        """Note that a trainer of the job will not come back."""
        self.leave(trainer, now)
        self.failed.add(trainer)

    def settle_layout(self) -> tuple[str, ...]:
        """Fix the job's layout by majority if it is open; return the trainers present that have another one."""
        if not self.layout_digest and self._layouts:
            counts = Counter(self._layouts[name] for name in self.present())
            self.layout_digest = counts.most_common(1)[0][0]  # of equals, the first by trainer name
        return tuple(name for name in self.present() if self._layouts[name] != self.layout_digest)
