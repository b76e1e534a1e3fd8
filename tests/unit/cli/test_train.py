"""Which epoch of `fljob train` is the best one."""

from __future__ import annotations

import pytest

from fljob_cli.record import Record, Round
from fljob_cli.train import best_epoch


def epoch(number: int, **metrics: float) -> Round:
    return Round(number, None, None, participants=1, dropped=0, seconds=None, bytes=0, metrics=metrics)


EPOCHS = (epoch(1, AUC=0.6, Loss=0.3), epoch(2, AUC=0.8, Loss=0.4), epoch(3, AUC=0.8, Loss=0.4))


@pytest.mark.parametrize(("metric", "best"), [("", 2), ("AUC", 2), ("Loss", 1), ("Accuracy", 1)])
def test_the_best_epoch_is_by_the_metric_that_is_asked_for(metric: str, best: int) -> None:
    assert best_epoch(Record("movies", {}, rounds=EPOCHS), metric) == best


def test_before_the_first_epoch_there_is_none() -> None:
    assert best_epoch(Record("movies", {})) == 0
