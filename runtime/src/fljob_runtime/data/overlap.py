"""Which ids several sites have: how many sites know each id, and how much any two share. Used by `fljob data describe`.

S sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
_IDS_AT_ONCE = 1 << 16  # a matrix of so many rows and S columns: 64 MiB at 128 sites


@dataclass(frozen=True)
class Overlap:
    """Ids of one column.

    seen_by: how many ids are at exactly 1, 2, … S sites; shared: of each site's ids, how many each site has [S, S] (the
    diagonal is how many it has itself).
    """

    column: str
    seen_by: tuple[int, ...]
    shared: tuple[tuple[int, ...], ...]

    @property
    def num_ids(self) -> int:
        """Return how many ids there are at all sites together."""
        return sum(self.seen_by)

    def share(self, site: int, other: int) -> float:
        """Return the share of a site's ids that another one has too; 0 for a site that has none."""
        own = self.shared[site][site]
        return self.shared[site][other] / own if own else 0.0


def overlap(column: str, sites: Sequence[Ids]) -> Overlap:
    """Return how the sites' ids overlap; each site's without repeats."""
    ids = np.concatenate(sites)
    owners = np.repeat(np.arange(len(sites)), [len(own) for own in sites])
    _, places = np.unique(ids, return_inverse=True)
    order = np.argsort(places, kind="stable")
    places, owners = places[order], owners[order]
    seen = np.bincount(places)
    shared = np.zeros((len(sites), len(sites)))
    for first in range(0, len(seen), _IDS_AT_ONCE):
        begin, end = np.searchsorted(places, [first, first + _IDS_AT_ONCE])
        has = np.zeros((min(_IDS_AT_ONCE, len(seen) - first), len(sites)))
        has[places[begin:end] - first, owners[begin:end]] = 1.0
        shared += has.T @ has  # whole numbers below 2^53: exact
    seen_by = np.bincount(seen, minlength=len(sites) + 1)[1:]
    return Overlap(column, tuple(seen_by.tolist()), tuple(tuple(map(int, row)) for row in shared))
