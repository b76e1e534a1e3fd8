"""Keyed tables over the wire: rows that are made by pushes, with one shard and several, over restarts of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from fljob_runtime.algorithms.geo import Geo
from fljob_runtime.algorithms.server_optimizers import make
from fljob_runtime.checkpoints.manifest import Manifest
from fljob_runtime.checkpoints.model import assemble_model
from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.errors import MalformedError
from fljob_runtime.initial_values import initial_rows
from fljob_runtime.messages import AcceptedUpdate, CommitResult
from fljob_runtime.parameters import Float32Array, ModelState
from fljob_runtime.transport.exchange import Numbered
from fljob_runtime.transport.server_client import ServerClient
from support import keyed
from support.shards import DEADLINE_S, DIM, UID, Servers, credentials, update

LAYOUT = keyed.layout(initial_std=0.5)
IDS = np.array([-(2**63), -17, 0, 5, 2**40, 2**63 - 1])
FRESH = initial_rows(LAYOUT["items"], keyed.SEED, IDS)
MANY = np.sort(np.random.default_rng(0).choice(2**62, 20_000, replace=False))


@contextmanager
def client(servers: Servers, role: str, name: str) -> Iterator[ServerClient]:
    made = ServerClient(servers.addresses, credentials(role, name), layout=LAYOUT)
    try:
        yield made
    finally:
        made.close()


def push(servers: Servers, round_: int, name: str, state: ModelState) -> tuple[AcceptedUpdate, int]:
    """Push an update; returns what a commit names it by, and the bytes that were sent."""
    with client(servers, "trainer", name) as trainer:
        receipts = trainer.push(round_, 0, state, 1, deadline_s=DEADLINE_S)
        return AcceptedUpdate(name, 0, receipts), trainer.bytes_sent


def committed(
    servers: Servers, round_: int, updates: Mapping[str, ModelState], *, checkpoint: bool = False
) -> Sequence[CommitResult]:
    accepted = [push(servers, round_, name, state)[0] for name, state in updates.items()]
    with client(servers, "coordinator", "coordinator") as coordinator:
        return coordinator.commit(round_, accepted, checkpoint=checkpoint, deadline_s=DEADLINE_S)


def pulled(servers: Servers, version: int, ids: Any = IDS) -> Float32Array:
    with client(servers, "trainer", "reader") as trainer:
        return trainer.pull(version, {"items": ids}, deadline_s=DEADLINE_S).rows["items"].values


@contextmanager
def started(tmp_path: Path, num_shards: int, **changes: Any) -> Iterator[Servers]:
    """Start shards at version 0: zeros, and a table of no rows."""
    with Servers.start(tmp_path, num_shards, seed=keyed.SEED, **changes) as servers:
        committed(servers, 0, {"a": update(0.0)})
        yield servers


@pytest.fixture(params=[1, 3])
def servers(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Servers]:
    with started(tmp_path, request.param) as made:
        yield made


def touched(ids: Any = IDS, value: float = 2.0) -> ModelState:
    return update(1.0, dict.fromkeys(np.asarray(ids).tolist(), value))


def test_ids_that_nobody_has_touched_are_pulled_with_their_initial_values(servers: Servers) -> None:
    assert np.array_equal(pulled(servers, 0), FRESH)
    assert [shard.model().num_rows("items") for shard in servers.shards] == [0] * len(servers.shards)


def test_rows_that_are_pushed_are_pulled_as_their_mean_and_the_others_as_before(servers: Servers) -> None:
    committed(servers, 1, {"a": touched(IDS[:3]), "b": touched(IDS[2:4], 4.0)})
    assert pulled(servers, 1)[:4].tolist() == [[2.0] * DIM, [2.0] * DIM, [3.0] * DIM, [4.0] * DIM]
    assert np.array_equal(pulled(servers, 1)[4:], FRESH[4:])
    assert sum(shard.model().num_rows("items") for shard in servers.shards) == 4


def test_only_touched_rows_are_on_the_wire(servers: Servers) -> None:
    _, num_bytes = push(servers, 1, "a", touched())
    values = 4 * (LAYOUT.dense_size + len(IDS) * DIM)
    assert values < num_bytes <= values + 10 * len(IDS) + 32 * len(servers.shards)  # an id, a weight; heads


def test_a_table_is_spread_over_the_shards_and_each_row_is_at_one(servers: Servers) -> None:
    committed(servers, 1, {"a": touched(MANY)})
    rows = [shard.model().num_rows("items") for shard in servers.shards]
    assert sum(rows) == MANY.size
    assert min(rows) > 0.95 * MANY.size / len(rows)
    assert (pulled(servers, 1, MANY) == 2.0).all()


def test_an_aborted_push_makes_nothing(servers: Servers) -> None:
    with pytest.raises(MalformedError, match="values are not finite"):
        push(servers, 1, "a", touched(value=float("nan")))
    committed(servers, 1, {"b": update(1.0)})
    assert np.array_equal(pulled(servers, 1), FRESH)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 2), (1, 3), (3, 2)])
def test_a_table_goes_on_from_a_checkpoint_with_any_number_of_shards(tmp_path: Path, before: int, after: int) -> None:
    momentum = make("Momentum", 1.0, {})
    with started(tmp_path, before, optimizer=momentum) as old:
        committed(old, 1, {"a": touched(MANY[::2])}, checkpoint=True)
        saved = old.written()
        committed(old, 2, {"a": touched(MANY, 3.0)})
        expected = pulled(old, 2, MANY)
    with Servers.start(tmp_path, after, seed=keyed.SEED, optimizer=momentum) as new:
        with client(new, "coordinator", "coordinator") as coordinator:
            files = [ShardFileName(result.checkpoint, result.checkpoint_digest) for result in saved]
            coordinator.restore(1, files, deadline_s=DEADLINE_S)
        assert sum(shard.model().num_rows("items") for shard in new.shards) == MANY[::2].size
        committed(new, 2, {"a": touched(MANY, 3.0)})
        assert np.array_equal(pulled(new, 2, MANY), expected)


def test_the_finished_model_has_ids_and_rows_whatever_the_number_of_shards(tmp_path: Path) -> None:
    digests = set()
    for num_shards in (1, 3):
        with started(tmp_path, num_shards) as servers:
            committed(servers, 1, {"a": touched(IDS[::-2][::-1])}, checkpoint=True)
            saved = servers.written()
        files = tuple(ShardFileName(result.checkpoint, result.checkpoint_digest) for result in saved)
        written = assemble_model(tmp_path, Manifest(UID, 1, files, tuple(result.digest for result in saved)), {})
        digests.add(written.digest)
    model = load_file(tmp_path / written.path)
    assert model["items.ids"].tolist() == [-17, 5, 2**63 - 1]
    assert model["items"].tolist() == [[2.0] * DIM] * 3
    assert len(digests) == 1


def test_exchanges_within_a_round_make_rows(tmp_path: Path) -> None:
    with started(tmp_path, 2, exchange=Geo()) as servers, client(servers, "trainer", "a") as trainer:
        number = Numbered(round=1, sequence=1, num_samples=1, members=1, share=1.0)
        answer = trainer.exchange(number, touched(IDS[:2]), {"items": IDS}, deadline_s=DEADLINE_S)
        expected = FRESH + np.array([[2.0], [2.0], [0], [0], [0], [0]], np.float32)
        assert np.array_equal(answer.values.rows["items"].values, expected)
        last = Numbered(round=1, sequence=2, num_samples=1, members=1, share=1.0, last=True)
        trainer.exchange(last, update(0.0), {}, deadline_s=DEADLINE_S)
        with client(servers, "coordinator", "coordinator") as coordinator:
            coordinator.commit(1, [AcceptedUpdate("a", 2, ())], deadline_s=DEADLINE_S)
        assert np.array_equal(pulled(servers, 1), expected)
        assert np.array_equal(pulled(servers, 0), FRESH)
