"""Training in bfloat16: it learns, repeats itself, and nothing but the products inside a model is in 16 bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from unit.runtime.training.tiny import TinyData, make_model_of, plan, trainer

from fljob_api.compute import Precision
from fljob_api.strategy import Mode, StrategySpec
from fljob_runtime.models.base import Batch, RecommenderModel
from fljob_runtime.parameters import ModelState
from fljob_runtime.training.compute import Compute, ComputeError
from fljob_runtime.training.local import LocalTrainer
from fljob_runtime.training.stepwise import stepwise_round

HALF = Compute(Precision.BFLOAT16)


def bits(state: ModelState) -> dict[str, bytes]:
    return {n: v.tobytes() for n, v in state.dense.items()} | {n: r.values.tobytes() for n, r in state.rows.items()}


def types(state: ModelState) -> set[np.dtype]:
    return {v.dtype for v in state.dense.values()} | {r.values.dtype for r in state.rows.values()}


class Seen(RecommenderModel):
    """Scores by one product, and keeps in which type it was made."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((1, 1), 0.5))
        self.made: list[torch.dtype] = []

    def logits(self, batch: Batch) -> Tensor:
        product = batch["item"].float()[:, None] @ self.weight
        self.made.append(product.dtype)
        return product.squeeze(1)


class Adding(Seen):
    """Adds a product to numbers that are float32, which torch does for one and the same type only."""

    def logits(self, batch: Batch) -> Tensor:
        product = super().logits(batch)
        return torch.zeros(len(product)).index_add(0, torch.arange(len(product)), product)


def of(model: RecommenderModel, compute: Compute = HALF) -> LocalTrainer:
    return LocalTrainer(model, model.layout(), TinyData(), plan(compute=compute))


def test_the_loss_falls() -> None:
    local = trainer("MLP", compute=HALF, local_epochs=1, learning_rate=0.5)
    losses = [local.train(number).metrics.mean_loss for number in range(1, 31)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.01


def test_the_same_seed_gives_the_same_bits_and_others_than_float32() -> None:
    first, again, whole = (bits(trainer("MLP", compute=compute).train(1).state) for compute in (HALF, HALF, Compute()))
    assert first == again
    assert first.keys() == whole.keys()
    assert first != whole


def test_products_are_made_in_bfloat16_where_it_is_asked_for() -> None:
    half, whole = Seen(), Seen()
    of(half).train(1)
    of(whole, Compute()).train(1)
    assert (set(half.made), set(whole.made)) == ({torch.bfloat16}, {torch.float32})


def test_an_evaluation_is_made_in_float32() -> None:
    model = Seen()
    of(model).evaluate()
    assert set(model.made) == {torch.float32}


def test_an_update_is_float32() -> None:
    assert types(trainer("NeuMF", compute=HALF).train(1).state) == {np.dtype(np.float32)}


@pytest.mark.parametrize("mode", [Mode.STEP_SYNC, Mode.GEO])
def test_what_is_exchanged_within_a_round_is_float32(mode: Mode) -> None:
    server = {"name": "SGD"} if mode is Mode.STEP_SYNC else None
    strategy = StrategySpec.model_validate({"mode": mode, **({"serverOptimizer": server} if server else {})})
    sent = stepwise_round(trainer("MLP", compute=HALF), strategy, 1).train(0)
    assert types(sent.state) == {np.dtype(np.float32)}


def test_loss_and_outputs_are_float32() -> None:
    batch = {name: torch.from_numpy(values) for name, values in TinyData.train.columns.items()}
    loss, outputs, _ = HALF.loss(make_model_of("MLP"), batch, torch.from_numpy(TinyData.train.labels))
    assert (loss.dtype, outputs.dtype) == (torch.float32, torch.float32)


def test_a_model_that_cannot_is_refused_with_the_field_and_the_reason() -> None:
    with pytest.raises(ComputeError, match=r"spec\.precision: Adding cannot .*BFloat16: .*leave it at Float32"):
        of(Adding()).check_precision()


def test_a_model_that_can_is_left_as_it_was() -> None:
    local = trainer("MLP", compute=HALF)
    before = bits(local.initial_state())
    local.check_precision()
    assert bits(local.initial_state()) == before
    assert all(parameter.grad is None for parameter in local.model.parameters())
