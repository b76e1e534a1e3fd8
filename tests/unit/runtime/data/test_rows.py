"""Rows from Python: dicts, tables, iterables; each fault by its row and column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fljob_runtime.data import rows as rows_module
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.rows import Part, RowColumns, RowPlan, Rows, tables

COLUMNS = RowColumns("click", {"user": 10, "item": 7}, ("price",))
DICTS = [{"click": n % 2, "user": n % 10, "item": n % 7, "price": n / 4} for n in range(50)]


def everything(rows: Rows) -> list[tuple[float, ...]]:
    parts = (rows.epoch(np.random.default_rng(0)), rows.held_out().examples)
    return sorted(
        (e.columns["price"][i], e.columns["user"][i], e.columns["item"][i], e.labels[i])
        for e in parts
        for i in range(len(e))
    )


EXPECTED = [(n / 4, n % 10, n % 7, n % 2) for n in range(50)]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(
    "parts",
    [
        DICTS,
        [pa.Table.from_pylist(DICTS[:20]), pa.Table.from_pylist(DICTS[20:])],
        pa.Table.from_pylist(DICTS).to_batches(max_chunksize=9),
    ],
    ids=["dicts", "tables", "batches"],
)
def test_no_row_is_lost_whatever_it_comes_from(parts: list[Part], keep: bool) -> None:
    rows = Rows(lambda: iter(parts), COLUMNS, RowPlan(test_share=0.2, keep=keep))
    assert (rows.num_samples, len(rows.held_out().examples)) == (40, 10)
    assert everything(rows) == EXPECTED
    assert rows.schema.ids == {"user": 10, "item": 7}


def test_rows_in_memory_are_read_once_and_others_for_every_epoch() -> None:
    read = []
    for keep in (True, False):
        begun: list[int] = []

        def source(begun: list[int] = begun) -> Iterable[Mapping[str, Any]]:
            begun.append(1)
            return DICTS

        rows = Rows(source, COLUMNS, RowPlan(keep=keep))
        epochs = [rows.epoch(np.random.default_rng(7)) for _ in range(2)]
        assert np.array_equal(epochs[0].columns["price"], epochs[1].columns["price"])
        read.append(len(begun))
    assert read == [1, 3]


def test_rows_that_became_fewer_are_noticed() -> None:
    left = [list(DICTS), DICTS[:-1]]
    rows = Rows(lambda: left.pop(0), COLUMNS, RowPlan(keep=False), name="stream")
    with pytest.raises(DataError, match="stream: 49 rows; there were 50 when the job began"):
        rows.epoch(np.random.default_rng(0))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"user": 10}, r"mine, line 31, column user: 10: the id is not in 0\.\.9"),
        ({"item": -1}, r"mine, line 31, column item: -1: the id is not in 0\.\.6"),
        ({"click": 2}, "mine, line 31, column click: 2: a label is 0 or 1"),
        ({"price": float("inf")}, "mine, line 31, column price: inf: not a finite number"),
        ({"user": None}, "mine, line 31, column user: None: the value is missing"),
        ({"user": "u1"}, "make no table"),
    ],
)
def test_a_fault_is_named_by_its_row(monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], where: str) -> None:
    monkeypatch.setattr(rows_module, "_DICTS", 20)  # the fault is in the second table
    damaged = [*DICTS[:30], DICTS[30] | change, *DICTS[31:]]
    with pytest.raises(DataError, match=where):
        Rows(lambda: damaged, COLUMNS, RowPlan(), name="mine")


@pytest.mark.parametrize(
    ("parts", "where"),
    [
        ([], "no rows"),
        (DICTS[:3], "3 rows cannot be split"),
        ([{"click": 1}] * 20, "column user: no such column"),
        ([pa.table({"click": [0], "user": ["a"], "item": [1], "price": [1.0]})], "column user: type string"),
        ([DICTS[0], pa.Table.from_pylist(DICTS)], "a Table among dicts"),
    ],
)
def test_what_makes_no_rows_is_refused(parts: list[Part], where: str) -> None:
    with pytest.raises(DataError, match=where):
        Rows(lambda: parts, COLUMNS, RowPlan())


def test_an_error_of_the_iterable_is_raised_as_it_is() -> None:
    def broken() -> Iterable[Mapping[str, Any]]:
        yield DICTS[0]
        raise OSError("the line went dead")

    with pytest.raises(OSError, match="the line went dead"):
        Rows(broken, COLUMNS, RowPlan())


def test_dicts_become_tables_of_a_certain_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "_DICTS", 20)
    assert [(table.num_rows, table.begin) for table in tables(DICTS, "")] == [(20, 0), (20, 20), (10, 40)]
