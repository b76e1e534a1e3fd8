"""FedNova: ‖a‖₁ by hand, the way to the mean, and no bias towards who takes more steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from unit.runtime.algorithms.federation import Client, Federation

from fljob_runtime.algorithms.fednova import NormalizedAveraging, norm, stretch, stretch_rows

UNEVEN = (Client(h=1.0, m=0.0, steps=1, rows=(0, 1)), Client(h=1.0, m=1.0, steps=10, rows=(0, 2)))
RATE = 0.001


def test_without_momentum_the_norm_is_the_number_of_steps() -> None:
    assert [norm(steps) for steps in (1, 2, 10)] == [1.0, 2.0, 10.0]


def test_with_momentum_a_gradient_counts_in_every_step_after_it() -> None:
    # three steps with momentum 0.5: 1 + 0.5 + 0.25, 1 + 0.5, 1
    assert norm(3, 0.5) == pytest.approx(1.75 + 1.5 + 1.0)


def test_steps_are_samples_by_batch_size_rounded_up() -> None:
    assert NormalizedAveraging(4, 0.0).norms([1, 4, 5, 12]) == [1.0, 1.0, 2.0, 3.0]


def test_the_way_is_the_effective_steps_times_the_mean_of_their_inverses() -> None:
    # p = 1/4, 3/4: (1/4 + 3/4 * 3) * (1/4 + 3/4 / 3) = 2.5 * 0.5
    assert stretch([1.0, 3.0], [1.0, 3.0]) == 1.25


def test_each_row_has_the_way_of_those_who_touched_it() -> None:
    touching = [
        (np.array([4, 7]), np.array([1.0, 5.0]), 1.0),
        (np.array([4, 9]), np.array([3.0, 2.0]), 3.0),
    ]
    assert stretch_rows(np.array([4, 7, 9]), touching).tolist() == [1.25, 1.0, 1.0]


def test_one_round_by_hand(tmp_path: Path) -> None:
    job = Federation(tmp_path, UNEVEN, 0.1, "FedNova", weighting="Uniform")
    job.round(1)
    # from 0: client 0 stays, client 1 goes to 1 - 0.9^10; tau_eff = 5.5: 5.5 * (0 / 1 + (1 - 0.9^10) / 10) / 2
    assert job.value("w") == pytest.approx(5.5 * 0.6513216 / 20, abs=1e-6)


@pytest.mark.parametrize(("name", "ends_at"), [("FedAvg", 0.9087), ("FedNova", 0.4989)])
def test_who_takes_more_steps_pulls_fedavg_to_its_optimum_but_not_fednova(
    tmp_path: Path, name: str, ends_at: float
) -> None:
    # Δ is 0.001 (0 - w) and (1 - 0.999^10) (1 - w) = 0.009955 (1 - w), by steps 0.001 (0 - w) and 0.0009955 (1 - w)
    job = Federation(tmp_path, UNEVEN, RATE, name, weighting="Uniform", rowAveraging="All")
    for number in range(1, 2001):
        job.round(number)
    assert job.value("w") == pytest.approx(ends_at, abs=5e-4)
    assert job.value("table", 0) == pytest.approx(ends_at, abs=5e-4)


def test_a_row_that_one_client_trained_gets_its_value(tmp_path: Path) -> None:
    job = Federation(tmp_path, UNEVEN, 0.1, "FedNova")
    job.round(1)
    assert job.value("table", 2) == pytest.approx(1 - 0.9**10, abs=1e-6)


@pytest.mark.parametrize("row_averaging", ["Touched", "All"])
def test_with_equal_steps_it_is_fedavg_bit_for_bit(tmp_path: Path, row_averaging: str) -> None:
    clients = (Client(1.0, 0.3, 7, (0, 1)), Client(2.0, 0.7, 7, (0, 2)), Client(0.5, -1.1, 7, (1, 2)))
    values = []
    for name in ("FedAvg", "FedNova"):
        (tmp_path / name).mkdir()
        job = Federation(tmp_path / name, clients, 0.05, name, rowAveraging=row_averaging)
        for number in range(1, 6):
            job.round(number)
        values.append([job.value("w"), *(job.value("table", row) for row in range(3))])
    assert values[0] == values[1]
