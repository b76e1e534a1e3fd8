"""The small model of `support.shards` with its table keyed, and calls of shards with a layout that is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fljob_runtime.initial_values import initial_rows
from fljob_runtime.parameters import Kind, ModelLayout, ModelState, ParamSpec, RowSet, TableRules
from fljob_runtime.server.live import Answer, Exchange
from fljob_runtime.server.shard import Named, Shard
from fljob_runtime.server.staging import Staged
from fljob_runtime.transport.encode import encode_update
from support.shards import DIM, LAYOUT, NUM_ITEMS, config, header, update

SEED = 5


def layout(**rules: Any) -> ModelLayout:
    """Return the layout whose table `items` is keyed, by these rules."""
    keyed = ParamSpec("items", (DIM,), Kind.KEYED, rules=TableRules(**rules))
    return ModelLayout(tuple(keyed if spec.name == "items" else spec for spec in LAYOUT.specs))


def initial(of: ModelLayout) -> ModelState:
    """Return the update of round 0: zeros, and in a plain table the rows that a keyed one begins with."""
    state = update(0.0)
    if of["items"].kind is Kind.KEYED:
        return state
    ids = np.arange(NUM_ITEMS)
    return replace(state, rows={"items": RowSet(ids, initial_rows(layout()["items"], SEED, ids), np.ones(NUM_ITEMS))})


def begun(of: ModelLayout, tmp_path: Path, **changes: object) -> Shard:
    """Return a shard with version 0 committed."""
    shard = Shard(config(tmp_path, seed=SEED, **changes))
    commit(shard, 0, push(of, shard, initial(of), 0, "a"))
    return shard


def push(of: ModelLayout, shard: Shard, state: ModelState, round_: int, trainer: str, **changes: object) -> Staged:
    """Stage an update at a shard, as the service would."""
    payload = encode_update(of, state, shard.config.num_shards)[shard.config.shard]
    intake = shard.open_push(header(payload, round_, trainer, of=of, **changes))
    for array in payload.arrays:
        intake.write(np.ascontiguousarray(array).tobytes())
    return shard.close_push(intake)


def exchange(
    of: ModelLayout,
    shard: Shard,
    trainer: str,
    sequence: int,
    state: ModelState,
    *,
    round_: int = 1,
    **changes: object,
) -> Answer:
    """Exchange as the service would; values of no row are asked for."""
    asked: dict[str, object] = {"members": 1, "share": 1.0, "last": False, "wanted": {}, **changes}
    payload = encode_update(of, state, shard.config.num_shards)[shard.config.shard]
    intake = shard.open_exchange(header(payload, round_, trainer, of=of, attempt=sequence))
    for array in payload.arrays:
        intake.write(np.ascontiguousarray(array).tobytes())
    return shard.exchange(Exchange(trainer, sequence, **asked), round_, shard.close_exchange(intake))  # type: ignore[arg-type]


def commit(shard: Shard, round_: int, *staged: Staged, **changes: Any) -> str:
    """Commit these updates, each with the round it is of; returns the version's digest."""
    named = [Named(s.header.trainer, s.header.attempt, s.digest, s.header.round) for s in staged]
    return shard.commit(round_, named, checkpoint=False, **changes).digest


def items(shard: Shard, version: int, ids: Any = range(NUM_ITEMS)) -> bytes:
    """Return rows of `items` as their bytes."""
    model = shard.model()
    return model.rows(version, "items", model.locate("items", np.array(ids, np.int64))).tobytes()


def values(shard: Shard, version: int, ids: Any) -> list[float]:
    """Return the first column of rows of `items`."""
    model = shard.model()
    first: list[float] = model.rows(version, "items", np.array(ids, np.int64))[:, 0].tolist()
    return first


def rows(given: Mapping[int, float]) -> ModelState:
    """Return an update of these rows, and zeros."""
    return update(0.0, given)
