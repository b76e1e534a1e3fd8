"""Work on several columns or sites at once. Called by imports alone: a trainer keeps to the threads it was given."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

MOST = 8  # more would only hold more columns in memory
Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(function: Callable[[Item], Result], items: Iterable[Item], *, most: int = MOST) -> Iterator[Result]:
    """Yield function(item) of each, in order; a thread per core, as numpy and pyarrow leave Python alone meanwhile.

    most: of threads, however many cores there are. Raises what the first of them in order raised, after all that has
    begun has ended.
    """
    with ThreadPoolExecutor(min(os.cpu_count() or 1, most), "fljob-import") as pool:
        yield from pool.map(function, items)
