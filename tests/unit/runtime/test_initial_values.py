"""Initial values of a keyed table's rows: a function of seed, table, id and column, of the stated distribution."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fljob_runtime.initial_values import initial_rows
from fljob_runtime.parameters import Kind, LayoutError, ParamSpec, TableRules

INT64 = st.integers(-(2**63), 2**63 - 1)
NORMAL = TableRules(initial_std=1.0)
UNIFORM = TableRules(initial_std=0.0, initial_bound=1.0)


def table(rules: TableRules, dim: int = 8, name: str = "users") -> ParamSpec:
    return ParamSpec(name, (dim,), Kind.KEYED, rules=rules)


@pytest.mark.parametrize("rules", [NORMAL, UNIFORM])
@pytest.mark.parametrize("dim", [1, 3, 8])
@given(ids=st.lists(INT64, min_size=1, max_size=40, unique=True), data=st.data())
def test_a_row_does_not_depend_on_what_else_is_asked_for(
    rules: TableRules, dim: int, ids: list[int], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(ids) - 1))
    spec = table(rules, dim)
    whole = initial_rows(spec, 7, np.array(ids, np.int64))
    alone = initial_rows(spec, 7, np.array(ids[at : at + 1], np.int64))
    assert whole[at].tobytes() == alone[0].tobytes()


@pytest.mark.parametrize("rules", [NORMAL, UNIFORM])
def test_a_row_is_the_same_in_a_call_of_many_blocks(rules: TableRules) -> None:
    ids = np.arange(50_000, dtype=np.int64)
    assert np.array_equal(initial_rows(table(rules), 7, ids)[40_001:], initial_rows(table(rules), 7, ids[40_001:]))


def test_a_row_is_the_first_columns_of_a_wider_one() -> None:
    ids = np.arange(9, dtype=np.int64)
    assert np.array_equal(initial_rows(table(NORMAL, 3), 7, ids), initial_rows(table(NORMAL, 8), 7, ids)[:, :3])


def test_normal_values_have_the_moments_of_their_distribution() -> None:
    """Bounds of five standard errors of mean, variance, skewness and kurtosis of 800,000 numbers."""
    values = initial_rows(table(TableRules(initial_std=0.5)), 1, np.arange(-50_000, 50_000)).astype(np.float64) / 0.5
    moments = [float((values**power).mean()) for power in (1, 2, 3, 4)]
    errors = np.sqrt(np.array([1, 2, 15, 96]) / values.size)
    assert (np.abs(np.array(moments) - [0.0, 1.0, 0.0, 3.0]) < 5 * errors).all()


def test_uniform_values_fill_their_interval_evenly() -> None:
    values = initial_rows(table(TableRules(initial_std=0.0, initial_bound=0.25)), 1, np.arange(100_000))
    assert np.abs(values).max() <= 0.25
    counts, _ = np.histogram(values, 16, (-0.25, 0.25))
    expected = values.size / 16
    assert ((counts - expected) ** 2 / expected).sum() < 37.7  # 15 degrees of freedom, one in a thousand


def test_neither_neighbouring_ids_nor_neighbouring_columns_are_related() -> None:
    """Five standard errors of a correlation of 799,992 and of 700,000 pairs."""
    values = initial_rows(table(NORMAL), 1, np.arange(100_000)).astype(np.float64)
    assert abs((values[1:] * values[:-1]).mean()) < 0.0056
    assert abs((values[:, 1:] * values[:, :-1]).mean()) < 0.006


def test_seed_table_and_id_each_change_the_values() -> None:
    ids = np.array([5], np.int64)
    rows = [
        initial_rows(table(NORMAL), 1, ids),
        initial_rows(table(NORMAL), 2, ids),
        initial_rows(table(NORMAL, name="items"), 1, ids),
        initial_rows(table(NORMAL), 1, -ids),
    ]
    assert len({row.tobytes() for row in rows}) == 4


def test_with_neither_scale_values_are_zero() -> None:
    assert not initial_rows(table(TableRules(initial_std=0.0)), 1, np.arange(3)).any()


def test_values_stay_what_they_are_from_one_release_to_the_next() -> None:
    """Checkpoints do not hold rows that nobody has touched, so a changed function would change models."""
    values = initial_rows(table(UNIFORM, 2), 3, np.array([-1, 2**62], np.int64))
    assert values.tolist() == [by_hand(3, -1), by_hand(3, 2**62)]


def by_hand(seed: int, row: int) -> list[float]:
    """Return two uniform values in (-1, 1), by splitmix64 as it is published, in whole numbers."""
    salt = int.from_bytes(hashlib.sha256(f"{seed}/users".encode()).digest()[:8], "little")
    state = mixed((row % 2**64 ^ salt) + 0x9E3779B97F4A7C15)
    numbers = [mixed(state + column * 0x9E3779B97F4A7C15) >> 40 for column in (1, 2)]
    return [float(np.float32((2 * number + 1) / 2**24 - 1)) for number in numbers]


def mixed(z: int) -> int:
    z %= 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_plain_tables_have_none() -> None:
    with pytest.raises(LayoutError, match="only keyed tables have initial values"):
        initial_rows(ParamSpec("items", (4, 2), Kind.ROWS), 1, np.arange(4))
