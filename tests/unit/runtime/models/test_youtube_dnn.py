"""YouTube's two towers: the mean of what came by hand, what padding and later items may not change."""

from __future__ import annotations

import pytest
import torch

from fljob_runtime import registry
from fljob_runtime.models.base import make_model
from fljob_runtime.models.youtube_dnn import YoutubeDnn
from fljob_runtime.schema import PADDING, IdSequence, Schema

registry.load()


def made() -> YoutubeDnn:
    schema = Schema({}, sequences={"items": IdSequence(4, 4)}, num_classes=0)
    model = make_model("youtube-dnn", {"embeddingDim": 2, "layers": "3,2"}, schema, 0)
    assert isinstance(model, YoutubeDnn)
    return model


def test_a_user_is_the_mean_so_far_through_the_tower() -> None:
    model = made()
    with torch.no_grad():
        model.embedding.weight.copy_(torch.tensor([[0.0, 0.0], [3.0, 1.0], [1.0, -3.0], [5.0, 5.0]]))
        first, second = (dict(model.tower.named_parameters())[f"layers.{n}.weight"] for n in (0, 1))
        first.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        second.fill_(1.0)
        model.output.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.5], [0.0, 0.0], [1.0, 1.0]]))
        model.bias.copy_(torch.tensor([0.0, 0.0, 7.0, 0.0]))
    states, targets = model.known(torch.tensor([[1, 2, 3, PADDING]]))
    assert states.tolist() == [[8.0, 8.0], [3.0, 3.0]]  # (3, 1) -> 3 + 1 + 4; the mean (2, -1) -> 2 + 0 + 1
    assert targets.tolist() == [2, 3]
    assert model.scores(states)[1].tolist() == [3.0, 1.5, 7.0, 6.0]


def test_padding_does_not_change_the_loss_or_its_gradients() -> None:
    model = made()
    found = []
    for longest in (3, 7):
        rows = [[1, 2, 3], [2, 0]]
        items = torch.tensor([row + [PADDING] * (longest - len(row)) for row in rows])
        model.zero_grad()
        loss = model.loss({"items": items}, torch.zeros(2))[0]
        loss.backward()  # type: ignore[no-untyped-call]
        found.append([loss.detach(), *(p.grad for p in model.parameters())])
    for tight, loose in zip(*found, strict=True):
        torch.testing.assert_close(tight, loose)


@pytest.mark.parametrize("place", [1, 2, 3])
def test_an_item_changes_no_earlier_state(place: int) -> None:
    model, items = made(), torch.tensor([[1, 2, 3, 1]])
    other = items.clone()
    other[0, place] = 0
    assert torch.equal(model.states(items)[0, :place], model.states(other)[0, :place])


def test_embeddings_travel_as_rows() -> None:
    assert [spec.name for spec in made().layout().shared_tables] == ["embedding.weight"]
