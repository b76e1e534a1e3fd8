"""What is measured of predictions, for each task."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fljob_runtime.metrics.sums import MetricsError
from fljob_runtime.models.tasks import Classes, Clicks, NextItem
from fljob_runtime.training.measures import RANKED_WHILE_TRAINING, joined, measure_of

OUTPUTS = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
TARGETS = torch.tensor([0.0, 2.0, 1.0])  # right, last, tied for the first place


def test_clicks_keep_their_exact_auc() -> None:
    measure = measure_of(Clicks())
    known = joined([measure.known(torch.tensor([0.3, 0.1, 0.2]), torch.tensor([1.0, 0.0, 1.0]), trained=False)])
    assert measure.auc(known) == 1.0


def test_classes_are_right_when_theirs_is_above_all_others() -> None:
    measure = measure_of(Classes())
    metrics = measure.sums(joined([measure.known(OUTPUTS, TARGETS, trained=True)])).compute()
    assert metrics.accuracy == pytest.approx(1 / 3)
    first = math.log(1 + math.exp(-1) + math.exp(-2))
    assert metrics.loss == pytest.approx((first + (first + 2) + math.log(2 + math.exp(-1))) / 3)


def test_items_are_ranked_with_ties_counting_half() -> None:
    measure = measure_of(NextItem())
    known = joined([measure.known(OUTPUTS, TARGETS, trained=False)])
    assert known[:, 1].tolist() == [0.0, 2.0, 0.5]
    assert measure.sums(known).compute().mrr_at_20 == pytest.approx((1 + 1 / 3 + 1 / 1.5) / 3)


def test_of_many_items_each_eighth_prediction_is_looked_at_while_training_without_a_rank() -> None:
    measure = measure_of(NextItem())
    outputs = torch.zeros(17, RANKED_WHILE_TRAINING + 1)
    metrics = measure.sums(joined([measure.known(outputs, torch.zeros(17), trained=True)])).compute()
    assert (metrics.num_samples, math.isnan(metrics.recall_at_20)) == (3, True)
    assert metrics.loss == pytest.approx(math.log(RANKED_WHILE_TRAINING + 1))


def test_where_training_scores_a_sample_of_the_items_there_are_no_ranks() -> None:
    measure = measure_of(NextItem(sampled=True))
    assert measure.known(OUTPUTS, TARGETS, trained=True)[1].tolist() == [-1.0]
    assert measure.known(OUTPUTS, TARGETS, trained=False)[1].tolist() == [0.0, 2.0, 0.5]


def test_outputs_that_are_not_finite_are_refused() -> None:
    with pytest.raises(MetricsError):
        measure_of(Classes()).sums(np.array([[math.nan, 0.0]], np.float32))
