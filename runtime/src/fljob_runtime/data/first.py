"""A site's data of which only the first held-out examples are evaluated. Called by the command line's `evaluate`."""

from __future__ import annotations

import numpy as np

from fljob_runtime.data.examples import Examples, HeldOut, SiteData


class FirstHeldOut(SiteData):
    """The same data, with at most so many held-out examples; whole groups, at least one."""

    def __init__(self, data: SiteData, most: int) -> None:
        self._data, self._most = data, most
        self.schema = data.schema

    @property
    def num_samples(self) -> int:
        """Samples of the whole data."""
        return self._data.num_samples

    def epoch(self, rng: np.random.Generator) -> Examples:
        """Return the epoch of the whole data."""
        return self._data.epoch(rng)

    def held_out(self) -> HeldOut:
        """Return the first examples."""
        held_out = self._data.held_out()
        if held_out.groups is None:
            return HeldOut(held_out.examples.take(slice(self._most)))
        count = max(1, int(np.searchsorted(held_out.groups, self._most, "right")) - 1)
        groups = held_out.groups[: count + 1]
        return HeldOut(held_out.examples.take(slice(int(groups[-1]))), groups)
