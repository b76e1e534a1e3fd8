"""A round holds the rows of its own examples only, and nothing of it shows outside."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from unit.runtime.training.every_model import CASES, Case
from unit.runtime.training.tiny import plan

from fljob_runtime import registry
from fljob_runtime.data.examples import Examples, HeldOut, SiteData, pairs, shuffled
from fljob_runtime.models.base import Batch, make_model
from fljob_runtime.models.ncf import Ncf
from fljob_runtime.parameters import ModelError
from fljob_runtime.roles.trainer_setup import local_trainer
from fljob_runtime.schema import Schema
from fljob_runtime.training import few_rows, vocabulary
from fljob_runtime.training.local import LocalTrainer, TrainPlan
from fljob_runtime.training.record import DivergedError

USERS, ITEMS, OWN = 1024, 128, 50


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class FewUsers(SiteData):
    """Fifty of a thousand users, and all items."""

    schema = Schema({"user": USERS, "item": ITEMS})
    num_samples = 600

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        users = rng.choice(USERS, OWN, replace=False)[rng.integers(0, OWN, self.num_samples)]
        labels = rng.integers(0, 2, self.num_samples).astype(np.float32)
        self.train = pairs(users, rng.integers(0, ITEMS, self.num_samples), labels)

    def epoch(self, rng: np.random.Generator) -> Examples:
        return shuffled(self.train, rng)

    def held_out(self) -> HeldOut:
        return HeldOut(self.train)


def client(optimizer: str = "Adam", *, by_row: bool = True) -> LocalTrainer:
    registry.load()
    model = make_model("ncf", {"layers": "16,8", "factors": 8}, FewUsers.schema, 0)
    model.by_row = by_row
    return LocalTrainer(model, model.layout(), FewUsers(), plan(optimizer, batch_size=32, local_epochs=2))


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adagrad"])
def test_rounds_are_the_same_bit_for_bit_as_with_whole_tables(optimizer: str) -> None:
    few, whole = client(optimizer), client(optimizer, by_row=False)
    for number in (1, 2):
        updates = [trainer.train(number) for trainer in (few, whole)]
        for name, rows in updates[0].state.rows.items():
            assert np.array_equal(rows.ids, updates[1].state.rows[name].ids)
            assert np.array_equal(rows.values, updates[1].state.rows[name].values), name
    for (name, ours), theirs in zip(few.model.named_parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_within_a_round_tables_and_optimizer_state_have_the_rows_of_its_examples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = {}
    logits = Ncf.logits

    def noting(model: Ncf, batch: Batch) -> torch.Tensor:
        seen.update({name: len(value) for name, value in model.named_parameters() if "embedding" in name})
        return logits(model, batch)

    monkeypatch.setattr(Ncf, "logits", noting)
    trainer = client()
    trainer.train(1)
    assert {name: rows for name, rows in seen.items() if "user" in name} == {
        "user_embedding.gmf.weight": 64,  # fifty, in whole blocks
        "user_embedding.mlp.weight": 64,
    }
    assert seen["item_embedding.mlp.weight"] == ITEMS  # nearly all are used
    assert len(trainer.model.get_parameter("user_embedding.gmf.weight")) == USERS


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "Scaffold" not in name])
def test_every_model_trains_as_with_whole_tables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_rows, "_MOST_SHARE", 1.0)
    monkeypatch.setattr(vocabulary, "_BLOCK_ROWS", 1)  # so that the cases' small tables take part
    few, whole = (_first_site(CASES[name], by_row=by_row) for by_row in (True, False))
    ours, theirs = few.train(1).state, whole.train(1).state
    for table, value in theirs.dense.items():
        np.testing.assert_allclose(ours.dense[table], value, rtol=1e-5, atol=1e-7)
    for table, rows in theirs.rows.items():
        np.testing.assert_allclose(ours.rows[table].values, rows.values, rtol=1e-5, atol=1e-7)


def _first_site(case: Case, *, by_row: bool) -> LocalTrainer:
    spec = case.config().spec
    trainer = local_trainer(spec, TrainPlan.of(spec, "a"), case.sites()["a"])
    if not by_row:
        trainer.model.by_row = False
    return trainer


def test_another_row_than_those_of_the_examples_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = Ncf.logits

    def straying(model: Ncf, batch: Batch) -> torch.Tensor:
        return logits(model, {**batch, "user": (batch["user"] + 1) % USERS})

    monkeypatch.setattr(Ncf, "logits", straying)
    trainer = client()
    with pytest.raises(ModelError, match="IndexError"):
        trainer.train(1)
    assert len(trainer.model.get_parameter("user_embedding.gmf.weight")) == USERS


def test_a_round_that_diverges_leaves_whole_tables() -> None:
    trainer = client("SGD")
    trainer.plan = plan("SGD", batch_size=32, learning_rate=1e30)
    with pytest.raises(DivergedError):
        trainer.train(1)
    assert len(trainer.model.get_parameter("user_embedding.gmf.weight")) == USERS
