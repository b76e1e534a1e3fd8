"""Numbers for ids: how many different ones there are, and which is the how manieth. Pure numpy; used by importers.

A table with a place for each possible id, where there are few, is many times faster than sorting; results are equal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
_PLACES = 1 << 22  # a table may have so many, or as many as there are ids


def num_distinct(ids: Ids, size: int) -> int:
    """Return how many different ids there are; all of them 0 to size - 1."""
    seen = np.zeros(size, np.bool_)
    seen[ids] = True
    return int(np.count_nonzero(seen))


def numbered(ids: Ids) -> tuple[Ids, Ids]:
    """Return the different ids in their order, and the place of each id among them: as np.unique's inverse."""
    if not len(ids) or ids.min() < 0 or ids.max() >= max(_PLACES, len(ids)):
        values, places = np.unique(ids, return_inverse=True)
        return values, places
    seen = np.zeros(int(ids.max()) + 1, np.bool_)
    seen[ids] = True
    return np.flatnonzero(seen), (np.cumsum(seen) - 1)[ids]


def first_of_each(places: Ids, count: int) -> Ids:
    """Return where each number 0 to count - 1, all of which are there, stands first."""
    first = np.empty(count, np.int64)
    first[places[::-1]] = np.arange(len(places) - 1, -1, -1)  # of several the last assignment stays
    return first


def latest_of_each(places: Ids, times: Ids, count: int) -> Ids:
    """Return where each number 0 to count - 1, all of which are there, has its greatest time, late in a tie."""
    latest = np.full(count, np.iinfo(np.int64).min)
    np.maximum.at(latest, places, times)
    candidates = np.flatnonzero(times == latest[places])
    last = np.empty(count, np.int64)
    last[places[candidates]] = candidates
    return last


def has_twice(first: Ids, second: Ids) -> bool:
    """Return whether some pair is there twice; first, second: [N] each."""
    if not len(first):
        return False
    first, second = numbered(first)[1], numbered(second)[1]
    keys = np.sort(first * (int(second.max()) + 1) + second)
    return bool((keys[1:] == keys[:-1]).any())
