"""Numbers for ids: how many different ones there are, and which is the how manieth. Pure numpy; used by importers.

A table with a place for each possible id, where there are few, is many times faster than sorting; results are equal.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ids: TypeAlias = NDArray[np.int64]
Numbers: TypeAlias = NDArray[np.integer[Any]]
_PLACES = 1 << 22  # a table may have so many, or as many as there are ids


def num_distinct(ids: Numbers, size: int) -> int:
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


def grouped(numbers: Numbers, count: int) -> list[Ids]:
    """Return where each of the numbers 0 to count - 1 stands, ascending."""
    # numpy sorts numbers of one or two bytes in time of how many there are
    small = numbers.astype(np.uint8 if count <= 1 << 8 else np.uint16) if count <= 1 << 16 else numbers
    order = np.argsort(small, kind="stable")
    return np.split(order, np.cumsum(np.bincount(numbers, minlength=count))[:-1])


def first_of_each(places: Numbers, count: int) -> Ids:
    """Return where each number 0 to count - 1, all of which are there, stands first."""
    first = np.empty(count, np.int64)
    first[places[::-1]] = np.arange(len(places) - 1, -1, -1)  # of several the last assignment stays
    return first


def latest_of_each(places: Ids, times: Ids, count: int) -> Ids:
    """Return where each number 0 to count - 1, all of which are there, has its greatest time, late in a tie."""
    if (places[1:] >= places[:-1]).all():
        latest = np.maximum.reduceat(times, np.searchsorted(places, np.arange(count)))
    else:
        latest = np.full(count, np.iinfo(np.int64).min)
        np.maximum.at(latest, places, times)
    candidates = np.flatnonzero(times == latest[places])
    last = np.empty(count, np.int64)
    last[places[candidates]] = candidates
    return last


def twice(first: Ids, second: Ids) -> tuple[int, int] | None:
    """Return the lowest pair of numbers that is there twice, if one is; first, second: [N] as `numbered` gives them."""
    width = int(second.max(initial=0)) + 1
    keys = first * width + second
    keys.sort()
    found = keys[1:][keys[1:] == keys[:-1]]
    return divmod(int(found[0]), width) if len(found) else None
