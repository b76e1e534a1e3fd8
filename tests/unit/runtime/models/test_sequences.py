"""What sequence models have in common: which places are trained and what may be seen there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fljob_runtime import registry
from fljob_runtime.models.base import make_model
from fljob_runtime.models.sequences import SequenceModel
from fljob_runtime.schema import PADDING, IdSequence, Schema, SchemaError

registry.load()


class Last(SequenceModel):
    """Guesses that an item comes again."""

    def __init__(self) -> None:
        super().__init__(Schema({}, sequences={"items": IdSequence(4, 3)}, num_classes=0))
        self.scale = nn.Parameter(torch.ones(()))

    def states(self, items: Tensor) -> Tensor:
        return nn.functional.one_hot(items, 4).float()

    def scores(self, states: Tensor) -> Tensor:
        return self.scale * states


def test_each_place_with_a_next_item_is_a_prediction() -> None:
    batch = {"items": torch.tensor([[2, 3, 1], [0, 2, PADDING], [1, PADDING, PADDING]])}
    outputs, targets = Last().predict(batch, torch.zeros(3))
    assert targets.tolist() == [3, 1, 2]
    assert outputs.argmax(1).tolist() == [2, 3, 0]


def test_items_of_any_number_are_refused() -> None:
    schema = Schema({}, any_ids=frozenset({"items"}), sequences={"items": IdSequence(4, 3)}, num_classes=0)
    with pytest.raises(SchemaError, match="any 64-bit numbers"):
        make_model("gru4rec", {}, schema, 0)


def test_batches_of_evaluation_keep_scores_within_bounds() -> None:
    assert Last().evaluation_batch * 4 * 3 <= 1 << 24
