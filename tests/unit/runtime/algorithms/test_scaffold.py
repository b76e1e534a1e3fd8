"""SCAFFOLD: control variates by hand, no bias under unlike clients, and what is shared and what is private."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from unit.runtime.algorithms.federation import MODEL, Client, Federation

from fljob_runtime.algorithms.algorithm import LocalStart
from fljob_runtime.algorithms.scaffold import Scaffold
from fljob_runtime.parameters import ModelLayout, ParamSpec, Scope
from fljob_runtime.registry import NoParameters

UNLIKE = (Client(h=1.0, m=0.0, steps=10, rows=(0, 1)), Client(h=4.0, m=1.0, steps=10, rows=(0, 2)))


def scaffold() -> Scaffold:
    return Scaffold(NoParameters())


def test_c_is_shared_and_c_i_private_and_private_parameters_have_neither() -> None:
    private = ParamSpec("p", (2,), scope=Scope.PRIVATE)
    specs = scaffold().layout(ModelLayout((*MODEL.specs, private))).specs
    assert [(s.name, s.scope.value) for s in specs[3:]] == [
        ("w@c", "shared"),
        ("table@c", "shared"),
        ("w@ci", "private"),
        ("table@ci", "private"),
    ]


def test_the_models_own_layout_is_found_again() -> None:
    assert scaffold().layout(MODEL).model == MODEL


def values_of(x: float, c: float, c_i: float) -> dict[str, np.ndarray]:
    return {name: np.full(1, value, np.float32) for name, value in {"w": x, "w@c": c, "w@ci": c_i}.items()}


def test_steps_are_corrected_by_c_less_c_i() -> None:
    gradient = np.array([5.0], np.float32)
    scaffold().begin(LocalStart(values_of(0.0, 3.0, 1.0), {"w": ...}, 0.5)).correct("w", gradient, ...)
    assert gradient.tolist() == [7.0]


def test_option_two_makes_the_new_c_i_and_the_clients_part_of_c() -> None:
    values = values_of(8.0, 3.0, 1.0)
    rule = scaffold().begin(LocalStart(values, {"w": ...}, 0.5))
    values["w"][:] = 2.0
    rule.end(4)
    # c_i - c + (x - y) / (K eta) = 1 - 3 + 6 / 2 = 1; c + 1 - 1 = 3
    assert (values["w@ci"].tolist(), values["w@c"].tolist()) == ([1.0], [3.0])


def test_steps_of_no_length_leave_the_control_variates_alone() -> None:
    values = values_of(x=1.0, c=0.5, c_i=0.25)
    scaffold().begin(LocalStart(values, {"w": ...}, learning_rate=0.0)).end(num_steps=4)
    assert (float(values["w@c"][0]), float(values["w@ci"][0])) == (0.5, 0.25)


def test_rows_that_the_round_does_not_train_keep_their_control_variate() -> None:
    shape = (3, 1)
    values = {name: np.ones(shape, np.float32) for name in ("table", "table@c", "table@ci")}
    rule = scaffold().begin(LocalStart(values, {"table": np.array([1])}, 1.0))
    gradient = np.zeros(shape, np.float32)
    values["table@c"][:] = 9.0  # what is pulled later does not change a round under way
    values["table"][1] = -1.0
    rule.correct("table", gradient, np.array([0]))
    rule.end(1)
    assert gradient[:, 0].tolist() == [0.0, 0.0, 0.0]
    assert values["table@ci"][:, 0].tolist() == [1.0, 2.0, 1.0]


@pytest.mark.parametrize(("name", "ends_at"), [("FedAvg", 0.604126), ("Scaffold", 0.8)])
@pytest.mark.parametrize("row_averaging", ["Touched", "All"])
def test_unlike_clients_pull_fedavg_off_the_optimum_but_not_scaffold(
    tmp_path: Path, name: str, ends_at: float, row_averaging: str
) -> None:
    # the optimum of w²/2 + 4 (w - 1)²/2 is 0.8; FedAvg's fixed point: b / (a + b), a = 1 - 0.9^10, b = 1 - 0.6^10
    job = Federation(tmp_path, UNLIKE, 0.1, name, rowAveraging=row_averaging)
    for number in range(1, 101):
        job.round(number)
    assert job.value("w") == pytest.approx(ends_at, abs=1e-5)
    assert job.value("table", 0) == pytest.approx(ends_at, abs=1e-5)


def test_with_half_of_the_clients_c_goes_half_of_the_way(tmp_path: Path) -> None:
    job = Federation(tmp_path, UNLIKE, 0.1, "Scaffold")
    job.round(1, members=[1])
    # y = 1 - 0.6^10; c_i = (0 - y) / (10 * 0.1), c = c_i / 2
    assert job.value("w@c") == pytest.approx(-(1 - 0.6**10) / 2, abs=1e-6)
    assert job.value("table@c", 2) == pytest.approx(-(1 - 0.6**10) / 2, abs=1e-6)


def test_half_of_the_clients_at_a_time_end_at_the_optimum_too(tmp_path: Path) -> None:
    job = Federation(tmp_path, UNLIKE, 0.01, "Scaffold")
    for number in range(1, 401):
        job.round(number, members=[number % 2])
    assert job.value("w") == pytest.approx(0.8, abs=0.03)


def test_one_client_is_plain_sgd_bit_for_bit(tmp_path: Path) -> None:
    values = []
    for name in ("FedAvg", "Scaffold"):
        (tmp_path / name).mkdir()
        job = Federation(tmp_path / name, UNLIKE[1:], 0.03, name)
        for number in range(1, 6):
            job.round(number)
        values.append([job.value("w"), *(job.value("table", row) for row in range(3))])
    assert values[0] == values[1]
