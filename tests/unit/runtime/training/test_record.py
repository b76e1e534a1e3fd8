"""What a round's record keeps of its batches: the metrics of all of them, however they were measured together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fljob_runtime.models.tasks import Classes, Clicks, NextItem, Task
from fljob_runtime.training.measures import joined, measure_of
from fljob_runtime.training.record import PROGRESS_EVERY_BATCHES, TrainProgress, TrainRecord, silent


def batches(widths: list[int], rows: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(rows, width, generator=generator), torch.arange(rows) % 4.0) for width in widths]


def recorded(task: Task, given: list[tuple[Tensor, Tensor]]) -> TrainRecord:
    record = TrainRecord("site-0", measure_of(task), 1000, silent)
    for outputs, targets in given:
        record.add(outputs, targets, torch.tensor(0.5), len(targets))
    return record


@pytest.mark.parametrize("rows", [3, 30_000])
def test_batches_that_are_measured_together_have_the_sums_of_each_alone(rows: int) -> None:
    given = batches([4] * 5, rows)
    measure = measure_of(Classes())
    alone = measure.sums(joined([measure.known(outputs, targets, trained=True) for outputs, targets in given]))
    sums = recorded(Classes(), given).sums()
    assert (sums.num_samples, sums.num_correct, sums.loss) == (5 * rows, alone.num_correct, alone.loss)


def test_batches_with_other_numbers_of_candidates_are_measured_apart() -> None:
    assert recorded(NextItem(sampled=True), batches([4, 4, 7, 5], 8)).sums().num_samples == 4


def test_progress_tells_of_the_batches_before_it() -> None:
    told: list[TrainProgress] = []
    record = TrainRecord("site-0", measure_of(Clicks()), 1000, told.append)
    for label in [0.0, 1.0] * (PROGRESS_EVERY_BATCHES // 2):
        record.add(torch.tensor([label]), torch.tensor([label]), torch.tensor(0.25), 1)
    assert told == [TrainProgress(PROGRESS_EVERY_BATCHES, 1000, 0.25, 1.0)]
