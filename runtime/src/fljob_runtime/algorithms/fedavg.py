"""Federated averaging (McMahan et al. 2017, https://arxiv.org/abs/1602.05629) with row averaging for tables.

Pure arithmetic over float64 accumulators; the caller gives updates in a fixed order, so the result does not depend on
when they arrived. One client's update comes back bit for bit: w * x is exact in float64 for float32 x and whole
w < 2^29, and so is the quotient. Used by the server's shards.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fljob_runtime.parameters import Float32Array, Float64Array, Int64Array, RowSet, whole_rows


class DenseMean:
    """Weighted mean of equally long vectors, one at a time, in place."""

    def __init__(self, size: int) -> None:
        self._sum: Float64Array = np.empty(size, np.float64)
        self._scratch: Float64Array = np.empty(size, np.float64)
        self._weight = 0.0

    def add(self, values: Float32Array, weight: float) -> None:
        """Add one client's vector, float32 [size], with its weight > 0."""
        if weight <= 0.0:
            raise ValueError(f"a client's weight must be positive, not {weight}")
        term = self._scratch if self._weight else self._sum
        np.copyto(term, values)  # a conversion, then a product: a third faster than numpy's product of mixed types
        term *= weight
        if self._weight:
            self._sum += term
        self._weight += weight

    def result(self, out: Float32Array | None = None) -> Float32Array:
        """Return the mean, float32 [size], in `out` if given; at least one vector must have been added."""
        if self._weight == 0.0:
            raise ValueError("the mean of no update is not defined")
        mean = np.empty(self._sum.shape, np.float32) if out is None else out
        np.divide(self._sum, self._weight, out=self._scratch)
        np.copyto(mean, self._scratch, casting="same_kind")
        return mean


def average_rows(
    updates: Iterable[RowSet], previous: RowSet, *, over_all: float = 0.0, out: Float32Array | None = None
) -> RowSet:
    """Average each row over the clients that touched it, weighted by how often they did.

    updates: rows of each client in canonical order, ids a subset of previous.ids; previous: all rows of the table (or
    shard), which rows that nobody touched keep. over_all: 0 for averaging over touching clients; else the sum of all
    clients' weights, in which case weights are the clients' and a client that did not touch a row counts with the
    row's previous value (plain FedAvg).
    Returns rows for previous.ids, values float32 [n, D], in `out` if given, which may be previous.values.
    """
    total: Float64Array = np.zeros(previous.values.shape, np.float64)
    weight: Float64Array = np.zeros(len(previous), np.float64)
    for update in updates:
        where = positions(previous.ids, update.ids)
        term = update.values.astype(np.float64)  # a conversion, then a product: see DenseMean
        term *= update.weights[:, None]
        if len(update) == len(previous):
            total += term
        else:
            term += total.take(where, axis=0)
            whole_rows(total)[where] = whole_rows(term)
        weight[where] += update.weights
    some = weight > 0.0
    values = np.empty_like(previous.values) if out is None else out
    touched: slice | Int64Array = slice(None)
    if not some.all():
        touched = np.flatnonzero(some)
        values[:] = previous.values
    sums = total[touched]
    if over_all > 0.0:
        sums += np.maximum(over_all - weight[touched], 0.0)[:, None] * previous.values[touched]
        sums /= over_all
    else:
        sums /= weight[touched, None]
    values[touched] = sums
    return RowSet(previous.ids, values)


def union(parts: Iterable[Int64Array]) -> Int64Array:
    """Return the ids that any of these has, sorted; of sorted parts many times as fast as np.unique."""
    every = np.concatenate([np.empty(0, np.int64), *parts])
    every.sort(kind="stable")  # it merges what is sorted
    first = np.ones(every.size, np.bool_)
    np.not_equal(every[1:], every[:-1], out=first[1:])
    return every[first]


def positions(ids: Int64Array, wanted: Int64Array) -> Int64Array:
    """Return where each wanted id stands in the sorted ids; raises KeyError naming one that is not there."""
    where = np.searchsorted(ids, wanted)
    where[where == len(ids)] = 0
    missing = np.flatnonzero(ids[where] != wanted) if len(ids) else np.arange(len(wanted))
    if len(missing):
        raise KeyError(int(wanted[missing[0]]))
    return where
