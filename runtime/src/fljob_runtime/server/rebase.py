"""A stale update, moved onto the newest version: what mode Buffered adds to the fold. Pure, numpy.

Used by `shard` at commit. FedBuff (Nguyen et al. 2022, https://arxiv.org/abs/2106.06639, algorithm 1) adds up changes,
each weighted by s(t) = 1 / sqrt(1 + t) for an update t versions old. Here the changed values themselves are made,

    moved = newest + s(t) * (update - base)         base: the version that the update was trained from

and folded as in mode Sync, which is the same as adding the mean of the weighted changes to the newest version: divided
by the clients' weights alone, as FedBuff divides by the number of updates and not by the sum of s(t). A fresh update is
moved nowhere, nor is a row that nobody changed since, so that a version of fresh updates only is Sync's bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from fljob_runtime.parameters import Float32Array, Float64Array
from fljob_runtime.server.staging import Staged, StagedRows
from fljob_runtime.server.versions import ShardModel


def scale(staleness: int) -> float:
    """Return the weight of the change of an update that is so many versions old."""
    return 1.0 / math.sqrt(1.0 + staleness)


def rebased(update: Staged, model: ShardModel) -> Staged:
    """Return the update as if it had been made from the newest version; raises StaleError when its base is gone."""
    base = update.header.round - 1
    staleness = model.newest - base
    if staleness <= 0:
        return update
    dense = moved(update.dense, model.dense(base), model.dense(model.newest), scale(staleness))
    rows = {name: _moved_rows(sent, name, model, base) for name, sent in update.rows.items()}
    return replace(update, dense=dense, rows=rows)


def _moved_rows(sent: StagedRows, name: str, model: ShardModel, base: int) -> StagedRows:
    """Move those rows that others have changed since; the rest is as fresh as can be."""
    old, new = model.rows(base, name, sent.positions), model.rows(model.newest, name, sent.positions)
    stale = (old != new).any(axis=1)
    values = sent.values.copy()
    values[stale] = moved(sent.values[stale], old[stale], new[stale], scale(model.newest - base))
    return replace(sent, values=values)


def moved(values: Float32Array, base: Float32Array, newest: Float32Array, weight: float) -> Float32Array:
    """Return newest + weight * (values - base), rounded once. Arrays of one shape."""
    change: Float64Array = values.astype(np.float64)
    change -= base
    change *= weight
    change += newest
    return change.astype(np.float32)
