"""Labelled rows that are no site's folder, from Python: tables or dicts, in memory or from an iterable.

A dataset of one's own makes `Rows` of them and registers itself (docs/readers.md); `files` is one. Nothing is numbered
here: ids are whole numbers below a size that is told beforehand, the same at every site.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from fljob_runtime.data.errors import DataError
from fljob_runtime.data.examples import Examples, HeldOut, SiteData, shuffled
from fljob_runtime.data.queues import queued
from fljob_runtime.data.table_files import SourceTable
from fljob_runtime.schema import Schema

Part: TypeAlias = SourceTable | pa.Table | pa.RecordBatch | Mapping[str, Any]
_DICTS = 1 << 16  # so many become a table


@dataclass(frozen=True)
class RowColumns:
    """Which columns rows have. label: 0 or 1; ids: column -> how many ids there are at all sites; numbers: finite."""

    label: str
    ids: Mapping[str, int]
    numbers: tuple[str, ...] = ()

    @property
    def schema(self) -> Schema:
        """Return what a model reads of them."""
        return Schema(dict(self.ids), dict.fromkeys(self.numbers, ()))

    def examples(self, table: SourceTable) -> Examples:
        """Check the rows of a table; raises DataError with the place of the first fault."""
        names = table.table.column_names
        if missing := [name for name in (self.label, *self.ids, *self.numbers) if name not in names]:
            raise DataError(table.path, f"no such column; there are {names}", column=missing[0])
        columns: dict[str, Any] = {name: table.ids_below(name, size) for name, size in self.ids.items()}
        columns |= {name: table.numbers(name) for name in self.numbers}
        return Examples(columns, table.labels(self.label))


@dataclass(frozen=True)
class RowPlan:
    """How rows are read. keep: in memory, read once; else read anew for every epoch. ahead: tables read ahead.

    test_share: of the rows, drawn by the seed, is held out.
    """

    test_share: float = 0.1
    seed: int = 0
    keep: bool = True
    ahead: int = 2


class Rows(SiteData):
    """One site's rows. They are read when it is made, which raises DataError."""

    def __init__(
        self, source: Callable[[], Iterable[Part]], columns: RowColumns, plan: RowPlan, *, name: str = "rows"
    ) -> None:
        """source: begins to iterate, over the same rows whenever it is called; name: of it, in errors."""
        self.schema = columns.schema
        self._source, self._columns, self._plan, self._name = source, columns, plan, name
        every = self._read()
        self._is_test = np.zeros(len(every), np.bool_)
        num_test = round(plan.test_share * len(every))
        if not 0 < num_test < len(every):
            raise DataError(name, f"{len(every)} rows cannot be split with a test share of {plan.test_share}")
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([plan.seed, 3, len(every)])))
        self._is_test[rng.permutation(len(every))[:num_test]] = True
        self._held_out = HeldOut(every.take(np.flatnonzero(self._is_test)))
        self._train = every.take(np.flatnonzero(~self._is_test)) if plan.keep else None

    @property
    def num_samples(self) -> int:
        """Rows for training."""
        return len(self._is_test) - int(self._is_test.sum())

    def epoch(self, rng: np.random.Generator) -> Examples:
        """Return all training rows, shuffled; raises DataError where rows are read anew and are not as many."""
        if self._train is not None:
            return shuffled(self._train, rng)
        every = self._read()
        if len(every) != len(self._is_test):
            raise DataError(self._name, f"{len(every)} rows; there were {len(self._is_test)} when the job began")
        return shuffled(every.take(np.flatnonzero(~self._is_test)), rng)

    def held_out(self) -> HeldOut:
        """Return the rows that were split off."""
        return self._held_out

    def _read(self) -> Examples:
        with queued(tables(self._source(), self._name), self._plan.ahead) as ready:
            parts = [self._columns.examples(table) for table in ready]
        if not sum(len(part) for part in parts):
            raise DataError(self._name, "no rows")
        return Examples.joined(parts)


def tables(parts: Iterable[Part], name: str) -> Iterator[SourceTable]:
    """Yield parts as tables; dicts, one row each, are put together. Lines are counted within a part of tables.

    Raises DataError for dicts that make no table.
    """
    every = iter(parts)
    for part in every:
        if isinstance(part, SourceTable):
            yield part
        elif isinstance(part, Mapping):
            yield from _of_dicts([part], every, name)
        else:
            table = pa.Table.from_batches([part]) if isinstance(part, pa.RecordBatch) else part
            yield SourceTable(name, table, ((name, table.num_rows),))


def _of_dicts(first: list[Mapping[str, Any]], rest: Iterator[Part], name: str) -> Iterator[SourceTable]:
    rows, begin = first, 0
    while rows:
        rows += [_dict(row, name) for row in islice(rest, _DICTS - len(rows))]
        try:
            table = pa.Table.from_pylist(rows)
        except (pa.ArrowException, TypeError) as error:
            raise DataError(name, f"rows {begin + 1} to {begin + len(rows)} make no table: {error}") from error
        yield SourceTable(name, table, ((name, len(rows)),), begin)
        begin += len(rows)
        rows = [_dict(row, name) for row in islice(rest, 1)]


def _dict(row: Part, name: str) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise DataError(name, f"a {type(row).__name__} among dicts; hand over one kind")
    return row
