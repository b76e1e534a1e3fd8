"""A client small enough to follow by hand: ten labelled pairs, and two ranked groups to evaluate on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fljob_runtime import registry
from fljob_runtime.data.examples import Examples, HeldOut, SiteData, pairs, shuffled
from fljob_runtime.models.base import RecommenderModel, make_model
from fljob_runtime.schema import Schema
from fljob_runtime.training.local import LocalTrainer, TrainPlan
from fljob_runtime.training.optimizers import make_optimizer

NUM_USERS, NUM_ITEMS = 6, 8


class TinyData(SiteData):
    """User 1 and 2 of six, items 0 to 4 of eight; shuffled each epoch."""

    schema = Schema({"user": NUM_USERS, "item": NUM_ITEMS})
    train = pairs(
        np.array([1, 1, 1, 1, 1, 1, 2, 2, 2, 2]),
        np.array([0, 1, 2, 3, 4, 0, 0, 1, 2, 0]),
        np.array([1, 0, 0, 1, 0, 1, 0, 1, 1, 0], np.float32),
    )

    @property
    def num_samples(self) -> int:
        return len(self.train)

    def epoch(self, rng: np.random.Generator) -> Examples:
        return shuffled(self.train, rng)

    def held_out(self) -> HeldOut:
        users = np.array([1, 1, 1, 2, 2])
        items = np.array([5, 6, 7, 6, 5])
        labels = np.array([1, 0, 0, 1, 0], np.float32)
        return HeldOut(pairs(users, items, labels), np.array([0, 3, 5]))


def make_model_of(mode: str = "NeuMF", seed: int = 0) -> RecommenderModel:
    registry.load()
    return make_model("ncf", {"mode": mode, "layers": "8,4", "factors": 2}, TinyData.schema, seed)


def plan(optimizer: str = "SGD", **changes: Any) -> TrainPlan:
    registry.load()
    base = TrainPlan("site-0", 0, make_optimizer(optimizer, {}), learning_rate=0.1, batch_size=4)
    return replace(base, **changes)


def trainer(mode: str = "NeuMF", optimizer: str = "SGD", **changes: Any) -> LocalTrainer:
    model = make_model_of(mode)
    return LocalTrainer(model, model.layout(), TinyData(), plan(optimizer, **changes))
