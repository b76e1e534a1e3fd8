"""In every mode a keyed table's rows are, bit for bit, those of a plain table that began with the same values."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fljob_api.strategy import RowAveraging, Weighting
from fljob_runtime.algorithms.async_sgd import Async
from fljob_runtime.algorithms.exchange import ExchangeRule
from fljob_runtime.algorithms.geo import Geo
from fljob_runtime.algorithms.server_optimizers import make
from fljob_runtime.algorithms.step_sync import StepSync
from fljob_runtime.parameters import ModelLayout, ModelState
from fljob_runtime.server.shard import Named
from support import keyed
from support.shards import LAYOUT, NUM_ITEMS, update

KEYED = keyed.layout()
BOTH = (LAYOUT, KEYED)


def random_update(*seed: int) -> ModelState:
    """Return an update of about a third of the rows."""
    random = np.random.default_rng(seed)
    ids = np.flatnonzero(random.random(NUM_ITEMS) < 0.3)
    return update(float(random.normal()), {int(i): float(random.normal()) for i in ids}, weight=float(1 + seed[-1]))


def sync(layout: ModelLayout, tmp_path: Path, **changes: Any) -> list[bytes]:
    """Return the rows at each version of some rounds of two trainers."""
    shard = keyed.begun(layout, tmp_path, **changes)
    for round_ in (1, 2, 3):
        staged = [
            keyed.push(layout, shard, random_update(round_, number), round_, name, num_samples=1 + number)
            for number, name in enumerate("ab")
        ]
        keyed.commit(shard, round_, *staged)
    return [keyed.items(shard, version) for version in range(4)]


@pytest.mark.parametrize("averaging", list(RowAveraging))
def test_rounds_of_sync(tmp_path: Path, averaging: RowAveraging) -> None:
    plain, made = [sync(layout, tmp_path, row_averaging=averaging) for layout in BOTH]
    assert plain == made


@pytest.mark.parametrize("name", ["SGD", "Momentum", "Adagrad", "Adam", "Yogi"])
def test_rounds_of_sync_with_an_optimizer_on_the_server(tmp_path: Path, name: str) -> None:
    plain, made = [sync(layout, tmp_path, optimizer=make(name, 0.5, {})) for layout in BOTH]
    assert plain == made


def buffered(layout: ModelLayout, tmp_path: Path) -> list[bytes]:
    """Return the rows of versions that stale updates are part of."""
    shard = keyed.begun(layout, tmp_path, buffered=True, buffer_share=0.5)
    late = keyed.push(layout, shard, random_update(9, 1), 1, "late")
    for round_ in (1, 2):
        keyed.commit(shard, round_, keyed.push(layout, shard, random_update(round_, 0), round_, "a"))
    keyed.commit(shard, 3, late, keyed.push(layout, shard, random_update(3, 0), 3, "a"))
    return [keyed.items(shard, version) for version in range(4)]


def test_buffered_versions(tmp_path: Path) -> None:
    plain, made = [buffered(layout, tmp_path) for layout in BOTH]
    assert plain == made


def live(layout: ModelLayout, tmp_path: Path, rule: ExchangeRule, **changes: Any) -> list[bytes]:
    """Return the rows while and after trainers exchange within a round, one after the other."""
    shard = keyed.begun(layout, tmp_path, exchange=rule, **changes)
    wanted = {"items": shard.model().locate("items", np.arange(NUM_ITEMS))}
    seen = [
        keyed.exchange(
            layout, shard, name, sequence, random_update(sequence, number), share=0.5, last=sequence == 3, wanted=wanted
        )
        for sequence in (1, 2, 3)
        for number, name in enumerate("ab")
    ]
    shard.commit(1, [Named(name, 1, "") for name in "ab"], checkpoint=False)
    return [*(answer.values[1].tobytes() for answer in seen), keyed.items(shard, 0), keyed.items(shard, 1)]


@pytest.mark.parametrize("sum_rows", [True, False])
def test_exchanges_of_geo(tmp_path: Path, sum_rows: bool) -> None:
    plain, made = [live(layout, tmp_path, Geo(sum_rows=sum_rows)) for layout in BOTH]
    assert plain == made


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_exchanges_of_async(tmp_path: Path, name: str) -> None:
    optimizer = make(name, 0.1, {})
    plain, made = [live(layout, tmp_path, Async(optimizer), optimizer=optimizer) for layout in BOTH]
    assert plain == made


def steps(layout: ModelLayout, tmp_path: Path, averaging: RowAveraging) -> bytes:
    """Return the rows after two steps of two trainers, which wait for each other."""
    optimizer = make("Adagrad", 0.1, {})
    rule = StepSync(optimizer, weighting=Weighting.SAMPLES, row_averaging=averaging)
    shard = keyed.begun(layout, tmp_path, exchange=rule, optimizer=optimizer)

    def train(name: str, number: int) -> None:
        for sequence in (1, 2):
            state = random_update(sequence, number)
            keyed.exchange(layout, shard, name, sequence, state, members=2, last=sequence == 2)

    threads = [threading.Thread(target=train, args=(name, number)) for number, name in enumerate("ab")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    assert shard.commit(1, [Named(name, 1, "") for name in "ab"], checkpoint=False).missing == ()
    return keyed.items(shard, 1)


@pytest.mark.parametrize("averaging", list(RowAveraging))
def test_steps_of_step_sync(tmp_path: Path, averaging: RowAveraging) -> None:
    plain, made = [steps(layout, tmp_path, averaging) for layout in BOTH]
    assert plain == made
