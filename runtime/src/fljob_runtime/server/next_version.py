"""What a commit makes of updates: means, steps of the server's optimizer, the digest, and then the version itself.

Used by `shard`, which decides of what and when; `round_mean` and `algorithms` have the arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fljob_runtime.algorithms.algorithm import FEDAVG
from fljob_runtime.parameters import Float32Array
from fljob_runtime.server.config import ShardConfig
from fljob_runtime.server.digest import digest_of
from fljob_runtime.server.fold import FoldedRows
from fljob_runtime.server.rebase import moved
from fljob_runtime.server.round_mean import RoundMean
from fljob_runtime.server.staging import Staged
from fljob_runtime.server.versions import ShardModel


def advance(model: ShardModel, config: ShardConfig, updates: Sequence[Staged]) -> None:
    """Make the next version of a model from updates, or the first one from initial values."""
    averaging, share = (config.averaging, config.buffer_share) if model.newest >= 0 else (FEDAVG, 1.0)
    mean = RoundMean(updates, config.weighting, config.row_averaging, averaging, share=share)
    old = model.dense(model.newest) if model.newest >= 0 else None
    slots = () if old is None else model.slots(model.newest)
    dense = mean.dense(old, model.layout, (config.shard, config.num_shards))
    stepping = config.optimizer is not None and old is not None
    rows = {
        spec.name: _rows(model, mean, spec.name, updates, config if stepping else None)
        for spec in model.layout.shared_tables
        if any(spec.name in update.rows for update in updates)
    }
    if config.optimizer is not None and old is not None:
        way, dense, slots = dense - old, old.copy(), tuple(slot.copy() for slot in slots)
        config.optimizer.step(dense, way, slots)
    elif old is not None and share < 1.0:
        dense = moved(dense, old, old, share)
    append(model, dense, rows, slots)


def append(
    model: ShardModel, dense: Float32Array, rows: Mapping[str, FoldedRows], slots: Sequence[Float32Array]
) -> None:
    """Make the next version of a dense range and changed rows, or the first one of all rows."""
    first = model.newest < 0
    changed = [array for part in rows.values() for array in part.arrays]
    before = model.layout.digest if first else model.digest(model.newest)
    digest = digest_of([dense, *changed], previous=before)
    if first:
        model.install(0, dense, {name: folded.owned().values for name, folded in rows.items()}, digest)
    else:
        model.advance(dense, rows, digest, slots)


def _rows(
    model: ShardModel, mean: RoundMean, name: str, updates: Sequence[Staged], stepping: ShardConfig | None
) -> FoldedRows:
    """Return the next values of a table's rows: their mean, or a step of the optimizer towards it."""
    touching = [(i, update.rows[name]) for i, update in enumerate(updates) if name in update.rows]
    drawn = model.draw(name, [rows for _, rows in touching])
    places = [i for i, _ in touching]
    folded = mean.table(name, drawn.parts[0], list(zip(places, drawn.updates, strict=True)))
    if stepping is not None and stepping.optimizer is not None:
        values, *state = [part.take(folded.positions, axis=0) for part in drawn.parts]
        stepping.optimizer.step(values, folded.values - values, state)
        folded = FoldedRows(folded.owned().positions, values, tuple(state))
    if drawn.keys is None:
        return folded
    return replace(folded, positions=drawn.keys.take(folded.positions), unadmitted=drawn.unadmitted)
