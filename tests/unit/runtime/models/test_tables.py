"""Tables of fewer numbers: rows by hand, widths by hand, and plain tables where nothing is saved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fljob_runtime.models.tables import Operation, Projected, QuotientRemainder, mixed_width, plain_table
from fljob_runtime.schema import PADDING


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def table(operation: Operation, rows: int = 5, dim: int = 2, collisions: int = 2) -> QuotientRemainder:
    return QuotientRemainder(rows, dim, collisions, operation, generator())


def rows_of(made: QuotientRemainder, ids: list[int]) -> Tensor:
    derived = made.derived("c", np.array(ids))
    return made.rows({name: torch.from_numpy(values) for name, values in derived.items()}, "c")


def test_an_id_has_the_rows_of_its_quotient_and_remainder() -> None:
    derived = table(Operation.MULT).derived("c", np.arange(5))
    assert {name: ids.tolist() for name, ids in derived.items()} == {"c//2": [0, 0, 1, 1, 2], "c%2": [0, 1, 0, 1, 0]}


def test_padding_stays_padding() -> None:
    derived = table(Operation.MULT).derived("c", np.array([[3, PADDING]]))
    assert [ids.tolist() for ids in derived.values()] == [[[1, PADDING]], [[1, PADDING]]]


def test_there_are_rows_for_every_quotient_and_remainder() -> None:
    made = table(Operation.ADD, rows=5, collisions=2)
    assert (made.quotient.weight.shape, made.remainder.weight.shape) == ((3, 2), (2, 2))
    assert made.addressed("c") == {"quotient.weight": "c//2", "remainder.weight": "c%2"}


@pytest.mark.parametrize(
    ("operation", "quotient", "remainder", "row"),
    [
        (Operation.MULT, [2.0, 3.0], [5.0, 7.0], [10.0, 21.0]),
        (Operation.ADD, [2.0, 3.0], [5.0, 7.0], [7.0, 10.0]),
        (Operation.CONCAT, [2.0], [5.0], [2.0, 5.0]),
    ],
)
def test_the_operation_makes_one_vector_of_two(
    operation: Operation, quotient: list[float], remainder: list[float], row: list[float]
) -> None:
    made = table(operation)
    with torch.no_grad():
        made.quotient.weight[1] = torch.tensor(quotient)
        made.remainder.weight[1] = torch.tensor(remainder)
    assert rows_of(made, [3]).tolist() == [row]


@pytest.mark.parametrize("operation", Operation)
def test_all_ids_have_vectors_of_their_own(operation: Operation) -> None:
    rows = rows_of(table(operation, rows=60, dim=4, collisions=7), list(range(60)))
    assert len({tuple(row) for row in rows.tolist()}) == 60


@pytest.mark.parametrize(("operation", "neutral"), [(Operation.MULT, 1.0), (Operation.ADD, 0.0)])
def test_without_collisions_it_is_a_plain_table(operation: Operation, neutral: float) -> None:
    made, plain = table(operation, rows=5, dim=3, collisions=1), plain_table(5, 3, generator())
    with torch.no_grad():
        made.remainder.weight.fill_(neutral)
    assert torch.equal(rows_of(made, [0, 3, 4]), plain.rows({"c": torch.tensor([0, 3, 4])}, "c"))


def test_more_collisions_than_ids_leave_one_quotient() -> None:
    made = table(Operation.ADD, rows=3, collisions=10)
    assert (made.quotient.weight.shape, made.remainder.weight.shape) == ((1, 2), (3, 2))


def test_a_narrow_row_is_projected() -> None:
    made = Projected(3, 1, 2, generator())
    with torch.no_grad():
        made.table.weight.copy_(torch.tensor([[1.0], [2.0], [3.0]]))
        made.projection.weight.copy_(torch.tensor([[10.0], [-1.0]]))
    assert made.rows({"c": torch.tensor([2])}, "c").tolist() == [[30.0, -3.0]]
    assert made.addressed("c") == {"table.weight": "c"}


@pytest.mark.parametrize(
    ("rows", "temperature", "powers_of_two", "width"),
    [
        (10, 0.5, False, 16),  # the smallest table
        (40, 0.5, False, 8),
        (1000, 0.0, False, 16),
        (90, 0.5, False, 5),  # 16 / 3
        (90, 0.5, True, 4),
        (10_000_000, 1.0, False, 1),
    ],
)
def test_widths_fall_with_the_rows(rows: int, temperature: float, powers_of_two: bool, width: int) -> None:
    assert mixed_width(rows, 10, 16, temperature, powers_of_two=powers_of_two) == width
