"""Rounds of two clients at real shards: keys Any give what keys Range give from the same first values, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from unit.runtime.training.keyed import ITEM_IDS, USER_IDS, HashedData, assert_same, by_id, pair
from unit.runtime.training.tiny import TinyData

from fljob_api.strategy import RowAveraging
from fljob_runtime.algorithms.server_optimizers import ServerOptimizer, make
from fljob_runtime.data.examples import pairs
from fljob_runtime.parameters import Int64Array, ModelLayout, ModelState, RowSet, unpack_dense
from fljob_runtime.server.placement import shards_of
from fljob_runtime.server.shard import Named, Shard
from fljob_runtime.server.staging import PushHeader
from fljob_runtime.training.local import LocalTrainer
from fljob_runtime.transport.encode import encode_update
from support.shards import config

ITEMS = "item_embedding.gmf.weight"
USERS = "user_embedding.gmf.weight"


class OtherData(TinyData):
    """Users 3 and 4; item 5 is new, items 0 to 2 are the other client's too."""

    train = pairs(
        np.array([3, 3, 3, 4, 4, 4, 4, 4]),
        np.array([0, 1, 2, 5, 5, 0, 1, 2]),
        np.array([1, 0, 0, 1, 0, 1, 0, 1], np.float32),
    )


class HashedOtherData(HashedData, OtherData):
    """The same with other ids."""


class Federation:
    """Clients and shards without a wire between them."""

    def __init__(self, folder: Path, clients: list[LocalTrainer], layout: ModelLayout, shards: list[Shard]) -> None:
        self.clients, self.layout, self.shards = clients, layout, shards
        folder.mkdir()
        self._commit(0, [clients[0].initial_state()])

    def round(self, number: int) -> list[float]:
        """Train a round and return the clients' AUC after it."""
        updates = []
        for client in self.clients:
            client.load(self.pull(number - 1, client.needed_rows(number)))
            updates.append(client.train(number).state)
        self._commit(number, updates)
        return [self._auc(client, number) for client in self.clients]

    def pull(self, version: int, wanted: dict[str, Int64Array]) -> ModelState:
        """Return dense values and rows at a version."""
        models = [shard.model() for shard in self.shards]
        dense = unpack_dense(self.layout.shared_dense, np.concatenate([model.dense(version) for model in models]))
        rows = {}
        for name, ids in wanted.items():
            values = np.empty((len(ids), self.layout[name].dim), np.float32)
            place = shards_of(name, ids, len(models))
            for number, model in enumerate(models):
                mine = place == number
                values[mine] = model.rows(version, name, model.locate(name, ids[mine]))
            rows[name] = RowSet(ids, values)
        return ModelState(dense, rows)

    def _auc(self, client: LocalTrainer, version: int) -> float:
        client.load(self.pull(version, client.needed_rows(evaluation=True)))
        return client.evaluate().auc

    def _commit(self, number: int, updates: list[ModelState]) -> None:
        named: list[list[Named]] = [[] for _ in self.shards]
        for client, update in enumerate(updates):
            payloads = encode_update(self.layout, update, len(self.shards))
            for shard, payload, names in zip(self.shards, payloads, named, strict=True):
                header = PushHeader(
                    job_uid=shard.config.job_uid,
                    incarnation=0,
                    round=number,
                    trainer=f"site-{client}",
                    attempt=0,
                    num_samples=10,
                    blocks=payload.blocks,
                    layout=self.layout.to_json() if number == 0 else b"",
                )
                intake = shard.open_push(header)
                for array in payload.arrays:
                    intake.write(np.ascontiguousarray(array).tobytes())
                names.append(Named(header.trainer, 0, shard.close_push(intake).digest))
        for shard, names in zip(self.shards, named, strict=True):
            shard.commit(number, names, checkpoint=False)


def federations(
    tmp_path: Path,
    num_shards: int = 1,
    *,
    row_averaging: RowAveraging = RowAveraging.TOUCHED,
    optimizer: ServerOptimizer | None = None,
) -> tuple[Federation, Federation]:
    """Return the same two clients with keys Range, at one shard, and with keys Any."""
    pairs = [pair(TinyData, HashedData, optimizer="Adam"), pair(OtherData, HashedOtherData, optimizer="Adam")]
    made = []
    for kind, count in ((0, 1), (1, num_shards)):
        folder = tmp_path / str(kind)
        clients = [both[kind] for both in pairs]
        base = config(folder, num_shards=count, row_averaging=row_averaging, optimizer=optimizer)
        shards = [Shard(replace(base, shard=number)) for number in range(count)]
        made.append(Federation(folder, clients, clients[0].layout, shards))
    return made[0], made[1]


@pytest.mark.parametrize(
    ("num_shards", "row_averaging", "optimizer"),
    [
        (1, RowAveraging.TOUCHED, None),
        (3, RowAveraging.TOUCHED, None),
        (1, RowAveraging.ALL, None),
        (2, RowAveraging.TOUCHED, make("Adam", 0.1, {})),
    ],
)
def test_rounds_give_the_auc_and_the_model_of_keys_range(
    tmp_path: Path, num_shards: int, row_averaging: RowAveraging, optimizer: ServerOptimizer | None
) -> None:
    range_keys, any_keys = federations(tmp_path, num_shards, row_averaging=row_averaging, optimizer=optimizer)
    for number in (1, 2, 3):
        assert any_keys.round(number) == range_keys.round(number)
    rows = {name: np.arange(6 if "user" in name else 8) for name in (USERS, ITEMS)}
    plain = by_id(range_keys.clients[0], range_keys.pull(3, rows))
    asked = {USERS: np.sort(USER_IDS), ITEMS: np.sort(ITEM_IDS)}
    assert_same(plain, any_keys.pull(3, asked))


def test_servers_hold_rows_of_trained_ids_alone(tmp_path: Path) -> None:
    _, federation = federations(tmp_path)
    federation.round(1)
    model = federation.shards[0].model()
    assert model.keys(1, USERS).tolist() == sorted(USER_IDS[[1, 2, 3, 4]].tolist())
    assert model.keys(1, ITEMS).tolist() == sorted(ITEM_IDS[:6].tolist())


def test_a_row_that_few_updates_train_stays_at_its_first_values(tmp_path: Path) -> None:
    _, federation = federations(tmp_path)
    layout = federation.layout
    rules = layout[ITEMS].rules
    assert rules is not None
    strict = tuple(replace(s, rules=replace(rules, admit_after=2)) if s.rules else s for s in layout.specs)
    clients = [LocalTrainer(c.model, ModelLayout(strict), c.data, c.plan) for c in federation.clients]
    (tmp_path / "strict").mkdir()
    shard = Shard(config(tmp_path / "strict"))
    admitted = Federation(tmp_path / "admitted", clients, ModelLayout(strict), [shard])
    before = admitted.pull(0, {USERS: np.sort(USER_IDS)})
    admitted.round(1)
    assert shard.model().keys(1, ITEMS).tolist() == sorted(ITEM_IDS[:3].tolist())  # those of both clients
    assert_same(ModelState({}, before.rows), ModelState({}, admitted.pull(1, {USERS: np.sort(USER_IDS)}).rows))
    admitted.round(2)
    assert shard.model().keys(2, USERS).tolist() == sorted(USER_IDS[[1, 2, 3, 4]].tolist())
