"""GRU4Rec: states and losses by hand, what padding and later items may not change, which negatives are drawn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from unit.runtime.training.tiny import plan

from fljob_runtime import registry
from fljob_runtime.data.examples import Examples, HeldOut, LabelledRows
from fljob_runtime.models.base import make_model
from fljob_runtime.models.gru4rec import Gru4Rec, bpr_max, top1_max
from fljob_runtime.parameters import Kind
from fljob_runtime.registry import RegistryError
from fljob_runtime.schema import PADDING, IdSequence, Schema
from fljob_runtime.training.local import LocalTrainer

registry.load()
NUM_ITEMS = 5
SMALL = {"embeddingDim": 1, "hidden": 1}


def made(**parameters: Any) -> Gru4Rec:
    schema = Schema({}, sequences={"items": IdSequence(NUM_ITEMS, 4)}, num_classes=0)
    model = make_model("gru4rec", {"embeddingDim": 3, "hidden": 3, **parameters}, schema, 0)
    assert isinstance(model, Gru4Rec)
    return model


def batch(*sessions: list[int], longest: int = 4) -> dict[str, Tensor]:
    rows = [session + [PADDING] * (longest - len(session)) for session in sessions]
    return {"items": torch.tensor(rows)}


def loss_of(model: Gru4Rec, *sessions: list[int], longest: int = 4) -> Tensor:
    loss: Tensor = model.loss(batch(*sessions, longest=longest), torch.zeros(len(sessions)))[0]
    return loss


def gradients(model: Gru4Rec, *sessions: list[int], longest: int = 4) -> dict[str, Tensor]:
    model.zero_grad()
    loss_of(model, *sessions, longest=longest).backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def by_hand() -> Gru4Rec:
    """Return a model whose gates are half open: h' = tanh(x) / 2 + h / 2, x the embedding, item n's being n."""
    model = made(**SMALL)
    with torch.no_grad():
        for value in model.gru.parameters():
            value.zero_()
        dict(model.gru.named_parameters())["weight_ih_l0"][2] = 1.0
        model.embedding.weight.copy_(torch.arange(5.0)[:, None])
        model.output.copy_(torch.tensor([[0.0], [1.0], [2.0], [0.0], [0.0]]))
        model.bias.copy_(torch.tensor([0.5, 0.0, 0.0, 0.0, 0.0]))
    return model


def test_states_and_scores_by_hand() -> None:
    model = by_hand()
    first = math.tanh(1) / 2
    second = math.tanh(2) / 2 + first / 2
    states = model.states(torch.tensor([[1, 2]]))
    assert states.flatten().tolist() == pytest.approx([first, second])
    assert model.scores(states[0])[1].tolist() == pytest.approx([0.5, second, 2 * second, 0.0, 0.0])


def test_the_default_loss_is_the_softmax_over_all_items_at_every_step() -> None:
    model = by_hand()
    first = math.tanh(1) / 2
    second = math.tanh(2) / 2 + first / 2
    expected = [
        math.log(math.exp(0.5) + math.exp(h) + math.exp(2 * h) + 2) - own
        for h, own in ((first, 2 * first), (second, 0.0))
    ]
    assert float(loss_of(model, [1, 2, 4]).detach()) == pytest.approx(sum(expected) / 2)


def test_a_step_takes_the_next_item_of_each_session_that_goes_on() -> None:
    states, targets = made().known(batch([1, 2, 3], [4, 0], [2])["items"])
    assert targets.tolist() == [2, 0, 3]
    assert states.shape == (3, 3)


def test_packed_states_are_those_of_each_session_alone() -> None:
    model = made(numLayers=2)
    states, _ = model.known(batch([1, 2, 3, 4], [4, 0])["items"])
    alone = [model.states(torch.tensor([session])) for session in ([1, 2, 3], [4])]
    wanted = torch.stack([alone[0][0, 0], alone[1][0, 0], alone[0][0, 1], alone[0][0, 2]])
    torch.testing.assert_close(states, wanted)


@pytest.mark.parametrize("parameters", [{}, {"loss": "BprMax", "numSamples": 0}])
def test_padding_does_not_change_gradients(parameters: dict[str, Any]) -> None:
    model = made(**parameters)
    tight, loose = (gradients(model, [1, 2, 3], [4, 0], longest=n) for n in (3, 9))
    for name, gradient in tight.items():
        torch.testing.assert_close(loose[name], gradient, rtol=0, atol=0)


def test_sessions_side_by_side_have_the_gradient_of_each_alone() -> None:
    model = made()
    together = gradients(model, [1, 2, 3], [4, 0])
    first, second = gradients(model, [1, 2, 3]), gradients(model, [4, 0])
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, (2 * first[name] + second[name]) / 3)


@pytest.mark.parametrize("place", [1, 2, 3])
def test_an_item_changes_no_earlier_state(place: int) -> None:
    model, items = made(numLayers=2), torch.tensor([[1, 2, 3, 4]])
    other = items.clone()
    other[0, place] = 0
    before, after = model.states(items)[0], model.states(other)[0]
    assert torch.equal(before[:place], after[:place])
    assert not torch.equal(before[place], after[place])


def test_sessions_of_one_item_are_no_predictions() -> None:
    model = made()
    states, targets = model.known(batch([1], [2])["items"])
    assert (states.shape, len(targets)) == ((0, 3), 0)


def test_bpr_max_by_hand() -> None:
    e = math.e
    weights = (e / (e + 1), 1 / (e + 1))  # of the scores 1 and 0, beside the right one's 2
    likelihood = weights[0] / (1 + math.exp(-1)) + weights[1] / (1 + math.exp(-2))
    loss = bpr_max(torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([1]), 0.5)
    assert float(loss) == pytest.approx(-math.log(likelihood) + 0.5 * weights[0])


def test_top1_max_by_hand() -> None:
    e = math.e
    weights = (e / (e + 1), 1 / (e + 1))
    terms = (1 / (1 + math.exp(1)) + 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(2)) + 0.5)
    loss = top1_max(torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([1]), 0.5)
    assert float(loss) == pytest.approx(weights[0] * terms[0] + weights[1] * terms[1])


@pytest.mark.parametrize("loss", ["BprMax", "Top1Max"])
def test_one_candidate_alone_has_nothing_to_be_better_than(loss: str) -> None:
    model = made(loss=loss, numSamples=0)
    told, scores, places = model.loss(batch([1, 3]), torch.zeros(1))
    told.backward()  # type: ignore[no-untyped-call]
    assert (told.item(), scores.shape, places.tolist()) == (0.0, (1, 1), [0])
    assert all(not value.grad.any() for value in model.parameters() if value.grad is not None)


class FiveSessions(LabelledRows):
    """Sessions of two items each: 0 and 1, …, 8 and 9 of eleven."""

    def __init__(self) -> None:
        self.schema = Schema({}, sequences={"items": IdSequence(11, 2)}, num_classes=0)
        self._train = Examples({"items": np.arange(10).reshape(5, 2)}, np.zeros(5, np.float32))
        self._held_out = HeldOut(self._train)


def test_negatives_of_a_round_of_few_sessions_are_those_of_the_whole_site() -> None:
    model = make_model("gru4rec", {**SMALL, "loss": "BprMax", "numSamples": 1000}, FiveSessions().schema, 0)
    chosen = plan(batch_size=1, local_epochs=0, inner_steps=1)
    before = model.get_parameter("bias").detach().clone()
    LocalTrainer(model, model.layout(), FiveSessions(), chosen).train(1)
    moved = (model.get_parameter("bias").detach() != before).tolist()
    assert moved == [True] * 10 + [False]


def test_without_samples_the_candidates_are_the_next_items_of_the_batch() -> None:
    model = made(loss="SampledCrossEntropy", numSamples=0, logq=0)
    sessions = batch([1, 2, 3], [4, 2])
    loss, outputs, places = model.loss(sessions, torch.zeros(2))
    states, targets = model.known(sessions["items"])
    torch.testing.assert_close(outputs, model.scores(states)[:, [2, 3]])
    assert places.tolist() == [{2: 0, 3: 1}[target] for target in targets.tolist()]
    torch.testing.assert_close(loss, cross_entropy(outputs, places))


def test_logq_takes_away_how_likely_a_candidate_was_one() -> None:
    model = made(**SMALL, loss="SampledCrossEntropy", numSamples=1000, alpha=0.5)
    model.prepare({"items": np.array([[0, 1, 1, 1], [1, PADDING, PADDING, PADDING]])})  # a fifth and four fifths
    for value in model.parameters():
        torch.nn.init.zeros_(value)
    _, outputs, places = model.loss(batch([0, 1]), torch.zeros(1))
    assert (outputs.shape[1], places.tolist()) == (2, [1])
    missed = [(1 - share) * (1 - drawn) ** 1000 for share, drawn in ((0.2, 1 / 3), (0.8, 2 / 3))]
    assert outputs[0].tolist() == pytest.approx([-math.log(1 - m) for m in missed], abs=1e-6)


def test_items_that_are_not_at_the_site_are_no_negatives() -> None:
    model = made(loss="Top1Max", numSamples=1000, alpha=0)
    model.prepare({"items": np.array([[1, 3, 3, PADDING]])})
    assert model.loss(batch([1, 3]), torch.zeros(1))[1].shape[1] == 2


@pytest.mark.parametrize("loss", ["SampledCrossEntropy", "BprMax", "Top1Max"])
def test_a_batch_that_is_trained_again_has_the_same_negatives(loss: str) -> None:
    model = made(loss=loss, numSamples=2)
    first, again = (gradients(model, [1, 2, 3], [4, 0]) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_evaluation_ranks_all_items_whatever_is_trained() -> None:
    outputs, _ = made(loss="BprMax", numSamples=0).predict(batch([1, 2]), torch.zeros(1))
    assert outputs.shape == (1, NUM_ITEMS)


def test_embeddings_travel_as_rows_unless_they_score_the_items() -> None:
    kinds = {spec.name: spec.kind for spec in made().layout().specs}
    assert [name for name, kind in kinds.items() if kind is Kind.ROWS] == ["embedding.weight"]
    tied = made(tied=True)
    assert all(spec.kind is Kind.DENSE for spec in tied.layout().specs)
    assert "output" not in dict(tied.named_parameters())
    torch.testing.assert_close(tied.scores(torch.eye(3)), tied.embedding.weight.T)


def test_tied_needs_equal_widths() -> None:
    with pytest.raises(RegistryError, match="embeddingDim 3 and hidden 4 to be equal"):
        made(tied=True, hidden=4)


def test_initial_values_follow_from_the_seed() -> None:
    torch.manual_seed(1)
    first = made()
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), made().parameters(), strict=True))
