"""Server optimizers step as their paper says, in any slices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fljob_runtime.algorithms.server_optimizers import make, step_rows
from fljob_runtime.parameters import Float32Array
from fljob_runtime.registry import RegistryError

NAMES = ("SGD", "Momentum", "Adagrad", "Adam", "Yogi")


def array(*numbers: float) -> Float32Array:
    return np.array(numbers, np.float32)


def steps(name: str, *deltas: float, rate: float = 1.0, **parameters: float) -> tuple[float, list[float]]:
    """Return value and state after the steps, from 0."""
    optimizer = make(name, rate, parameters)
    value, state = array(0.0), [array(fill) for fill in optimizer.initial]
    for delta in deltas:
        optimizer.step(value, array(delta), state)
    return float(value[0]), [float(slot[0]) for slot in state]


def test_sgd_of_rate_1_adds_the_delta() -> None:
    assert steps("SGD", 0.5, 0.25) == (0.75, [])


def test_sgd_goes_by_its_rate() -> None:
    assert steps("SGD", 0.5, rate=0.5) == (0.25, [])


def test_momentum_keeps_half_of_the_way_before() -> None:
    assert steps("Momentum", 1.0, 1.0, momentum=0.5) == (1.0 + 1.5, [1.5])


def test_adagrad_divides_by_the_root_of_all_squares() -> None:
    value, state = steps("Adagrad", 3.0, 4.0, tau=1.0)
    assert state == [25.0]
    assert value == pytest.approx(3.0 / (3.0 + 1.0) + 4.0 / (5.0 + 1.0))


def test_adam_takes_means_without_correcting_their_beginning() -> None:
    value, state = steps("Adam", 2.0, beta1=0.5, beta2=0.75, tau=1.0)
    assert state == [1.0, 1.0]  # 0.5 * 2, 0.25 * 4
    assert value == pytest.approx(1.0 / (1.0 + 1.0))


def test_adams_second_moment_falls_with_small_deltas() -> None:
    assert steps("Adam", 2.0, 0.0, beta1=0.5, beta2=0.75)[1] == [0.5, 0.75]


def test_yogis_second_moment_moves_by_the_square_alone() -> None:
    assert steps("Yogi", 2.0, 1.0, beta1=0.0, beta2=0.75)[1] == [1.0, 1.0]  # 0 + 0.25 * 4, then v = delta²


def test_yogis_second_moment_falls_slowly() -> None:
    assert steps("Yogi", 4.0, 2.0, 1.0, beta1=0.0, beta2=0.75)[1] == [1.0, 3.75]  # 4, 4, 4 - 0.25


@pytest.mark.parametrize("name", NAMES)
@given(cut=st.integers(0, 6), seed=st.integers(0, 9))
def test_slices_give_the_same_bits_as_the_whole(name: str, cut: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole, sliced = (make(name, 0.3, {}) for _ in range(2))
    delta = rng.normal(size=6).astype(np.float32)
    ends = []
    for optimizer, parts in ((whole, [slice(0, 6)]), (sliced, [slice(0, cut), slice(cut, 6)])):
        values, state = np.ones(6, np.float32), [np.full(6, fill, np.float32) for fill in optimizer.initial]
        for part in parts * 2:
            optimizer.step(values[part], delta[part], [slot[part] for slot in state])
        ends.append(values.tobytes())
    assert ends[0] == ends[1]


def test_rows_step_alone_and_keep_their_own_state() -> None:
    optimizer = make("Momentum", 1.0, {"momentum": 0.5})
    table, state = np.zeros((3, 2), np.float32), [np.zeros((3, 2), np.float32)]
    for _ in range(2):
        step_rows(optimizer, table, state, np.array([1]), np.ones((1, 2), np.float32))
    step_rows(optimizer, table, state, np.array([2]), np.ones((1, 2), np.float32))
    assert table[:, 0].tolist() == [0.0, 2.5, 1.0]


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(RegistryError, match="no 'Yogy'; did you mean 'Yogi'"):
        make("Yogy", 1.0, {})


def test_an_unknown_parameter_is_refused_with_its_path() -> None:
    with pytest.raises(RegistryError, match=r"serverOptimizer\.parameters\.beta3: unknown parameter"):
        make("Adam", 1.0, {"beta3": 0.1})
