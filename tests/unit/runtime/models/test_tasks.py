"""Losses of the tasks, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from fljob_runtime.models.tasks import Classes, Clicks

LOGITS = torch.tensor([0.0, math.log(3.0)])  # probabilities 1/2 and 3/4
LABELS = torch.tensor([1.0, 0.0])


def test_clicks_cost_their_cross_entropy() -> None:
    assert float(Clicks().loss(LOGITS, LABELS)) == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_a_weight_counts_for_positives_only() -> None:
    assert float(Clicks(positive_weight=3.0).loss(LOGITS, LABELS)) == pytest.approx((3 * math.log(2) + math.log(4)) / 2)


def test_squared_errors_are_those_of_the_probabilities() -> None:
    assert float(Clicks(squared=True).loss(LOGITS, LABELS)) == pytest.approx((0.25 + 0.5625) / 2)


def test_classes_cost_their_negative_log_likelihood() -> None:
    outputs = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])
    assert float(Classes().loss(outputs, torch.tensor([0.0, 1.0]))) == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_no_predictions_cost_nothing_and_have_gradients() -> None:
    outputs = torch.zeros(0, 3, requires_grad=True)
    loss = Classes().loss(outputs, torch.zeros(0))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
