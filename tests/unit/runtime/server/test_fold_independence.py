"""A cohort's committed values do not depend on order, repeats, retries, aborts or number of shards, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fljob_runtime.parameters import ModelState, RowSet, pack_dense
from fljob_runtime.server.placement import dense_range, owned_ids
from fljob_runtime.server.shard import Shard
from fljob_runtime.transport.encode import encode_update
from support.shards import DIM, LAYOUT, NUM_ITEMS, config, header, initial, named, push

TRAINERS = ("a", "b", "c", "d")
ROUNDS = 2


@dataclass(frozen=True)
class Arrivals:
    """One round: who counts, and in which order pushes come, repeats included.

    aborted: pushes (by their place in the order) that break off once before they come whole, after so many bytes.
    """

    cohort: tuple[str, ...]
    order: tuple[str, ...]
    aborted: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Disorder:
    """How one run goes: shards, and each round's arrivals."""

    num_shards: int
    rounds: tuple[Arrivals, ...]

    @property
    def orderly(self) -> Disorder:
        """Return the plain run of the same cohorts: one shard, in order of names, nothing repeated or aborted."""
        return Disorder(1, tuple(Arrivals(a.cohort, a.cohort) for a in self.rounds))


ALL = (Arrivals(TRAINERS, TRAINERS),) * ROUNDS


@st.composite
def arrivals(draw: st.DrawFn) -> Arrivals:
    """Draw a cohort, and pushes of it and of others."""
    cohort = draw(st.sets(st.sampled_from(TRAINERS), min_size=1))
    others = draw(st.lists(st.sampled_from(TRAINERS), max_size=4))
    order = draw(st.permutations([*sorted(cohort), *others]))
    places = st.tuples(st.integers(0, len(order) - 1), st.integers(0, 60))
    return Arrivals(tuple(sorted(cohort)), tuple(order), tuple(draw(st.lists(places, max_size=3))))


disorders = st.builds(Disorder, num_shards=st.integers(1, 4), rounds=st.tuples(*[arrivals()] * ROUNDS))


def trained(round_: int, trainer: str) -> tuple[ModelState, int]:
    """Return a trainer's update of a round and its number of samples.

    What a and b send is enormous and cancels, which swallows bits of c's and d's in any other order of sums.
    """
    random = np.random.default_rng([round_, TRAINERS.index(trainer)])
    common = np.random.default_rng([round_, 99])
    scale, weight = {"a": (2.0**40, 512), "b": (-(2.0**40), 512)}.get(trainer, (0.0, 3))
    ids = np.flatnonzero(random.random(NUM_ITEMS) < 0.7)
    items = scale * common.normal(size=(NUM_ITEMS, DIM)) + random.normal(size=(NUM_ITEMS, DIM)) * (scale == 0.0)
    dense = {
        s.name: (scale * common.normal(size=s.shape) + random.normal(size=s.shape) * (scale == 0.0)).astype(np.float32)
        for s in LAYOUT.shared_dense
    }
    rows = RowSet(ids, items[ids].astype(np.float32), np.full(len(ids), float(weight)))
    return ModelState(dense, {"items": rows}), weight


def run(tmp_path: Path, disorder: Disorder) -> bytes:
    """Return all shared values after the rounds."""
    shards = [Shard(config(tmp_path, shard=i, num_shards=disorder.num_shards)) for i in range(disorder.num_shards)]
    for shard in shards:
        shard.commit(0, named(push(shard, initial(), 0, "a")), checkpoint=False)
    for round_, arriving in enumerate(disorder.rounds, start=1):
        for shard in shards:
            staged = {}
            for attempt, trainer in enumerate(arriving.order):
                state, samples = trained(round_, trainer)
                for num_bytes in (n for place, n in arriving.aborted if place == attempt):
                    abort(shard, state, round_, trainer, num_bytes)
                staged[trainer] = push(shard, state, round_, trainer, attempt=attempt, num_samples=samples)
            counted = [update for trainer, update in staged.items() if trainer in arriving.cohort]
            shard.commit(round_, named(*reversed(counted)), checkpoint=False)
    return whole(shards)


def abort(shard: Shard, state: ModelState, round_: int, trainer: str, num_bytes: int) -> None:
    """Begin a push whose stream then breaks."""
    payload = encode_update(LAYOUT, state, shard.config.num_shards)[shard.config.shard]
    data = b"".join(np.ascontiguousarray(array).tobytes() for array in payload.arrays)
    intake = shard.open_push(header(payload, round_, trainer, attempt=99))
    intake.write(data[:num_bytes])
    intake.abort()


def whole(shards: list[Shard]) -> bytes:
    dense = np.empty(LAYOUT.dense_size, np.float32)
    items = np.empty((NUM_ITEMS, DIM), np.float32)
    for number, shard in enumerate(shards):
        dense[slice(*dense_range(dense.size, number, len(shards)))] = shard.model().dense(ROUNDS)
        items[owned_ids("items", NUM_ITEMS, number, len(shards))] = shard.model().table("items")
    return dense.tobytes() + items.tobytes()


@pytest.fixture(scope="module")
def orderly(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The values of the plain run: one shard, trainers in order of their names, nothing repeated."""
    return run(tmp_path_factory.mktemp("orderly"), Disorder(1, ALL))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(disorder=disorders)
def test_any_disorder_gives_the_orderly_values_of_its_cohorts(tmp_path: Path, disorder: Disorder) -> None:
    assert run(tmp_path, disorder) == run(tmp_path, disorder.orderly)


def test_cohorts_differ_in_their_values(tmp_path: Path, orderly: bytes) -> None:
    assert run(tmp_path, Disorder(1, (ALL[0], Arrivals(TRAINERS[:3], TRAINERS)))) != orderly


def test_the_orderly_values_are_the_formula_s(orderly: bytes) -> None:
    updates = [trained(ROUNDS, trainer) for trainer in TRAINERS]
    total = sum(samples for _, samples in updates)
    vectors = [pack_dense(LAYOUT.shared_dense, state.dense).astype(np.float64) for state, _ in updates]
    mean = sum(v * n for v, (_, n) in zip(vectors, updates, strict=True)) / total
    assert np.array_equal(np.frombuffer(orderly, np.float32)[: LAYOUT.dense_size], mean.astype(np.float32))
