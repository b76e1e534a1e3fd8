"""Tables as somebody has them, CSV, TSV or Parquet, read with every fault named by file, line and column.

Used by `tabular`'s import. Lines are counted from 1, without a header's; in a folder the files go by name.
"""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fljob_runtime.data.errors import DataError
from fljob_runtime.data.pipes import Pipe

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_KINDS = (*_DELIMITERS, ".parquet")


@dataclass(frozen=True)
class SourceTable:
    """The columns of one table. files: (path, rows) of what it was read from, in order; begin: rows before them."""

    path: Path | str
    table: pa.Table
    files: tuple[tuple[Path | str, int], ...]
    begin: int = 0

    @property
    def num_rows(self) -> int:
        """Return the number of rows."""
        return int(self.table.num_rows)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column without missing values; raises DataError."""
        values = self.table.column(name)
        if values.null_count:
            raise self._fault(name, pc.is_null(values), "the value is missing")
        return values

    def ids(self, name: str) -> tuple[NDArray[np.int64], int]:
        """Return values as numbers from 0, by their first appearance, int64 [N], and how many there are."""
        values = self.column(name)
        if pa.types.is_floating(values.type):
            raise DataError(self.path, f"type {values.type}; ids are whole numbers or text", column=name)
        encoded = values.combine_chunks().dictionary_encode()
        return encoded.indices.to_numpy().astype(np.int64), len(encoded.dictionary)

    def ids_below(self, name: str, size: int) -> NDArray[np.int64]:
        """Return ids that are numbers from 0 to size - 1 already, int64 [N]; raises DataError."""
        values = self.column(name)
        if not pa.types.is_integer(values.type):
            problem = f"type {values.type}; ids are whole numbers here (`fljob data import table` numbers others)"
            raise DataError(self.path, problem, column=name)
        found: NDArray[np.int64] = values.to_numpy().astype(np.int64)
        bad = (found < 0) | (found >= size)
        if bad.any():
            raise self._fault(name, pa.array(bad), f"the id is not in 0..{size - 1}")
        return found

    def numbers(self, name: str) -> NDArray[np.float32]:
        """Return finite numbers, float32 [N]; raises DataError."""
        values = self._numeric(name)
        with np.errstate(over="ignore"):  # looked at below
            found: NDArray[np.float32] = values.to_numpy().astype(np.float32)
        bad = ~np.isfinite(found)
        if bad.any():
            raise self._fault(name, pa.array(bad), "not a finite number in float32")
        return found

    def labels(self, name: str) -> NDArray[np.float32]:
        """Return labels 0 and 1, float32 [N]; raises DataError."""
        found: NDArray[np.float32] = self._numeric(name).to_numpy().astype(np.float32)
        bad = ~((found == 0) | (found == 1))
        if bad.any():
            raise self._fault(name, pa.array(bad), "a label is 0 or 1")
        return found

    def _numeric(self, name: str) -> pa.ChunkedArray:
        values = self.column(name)
        if pa.types.is_boolean(values.type):
            return values.cast(pa.int8())
        if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            raise DataError(self.path, f"type {values.type}; numbers are needed", column=name)
        return values

    def _fault(self, name: str, bad: pa.Array, problem: str) -> DataError:
        row = int(pc.index(bad, value=True).as_py())
        value = self.table.column(name)[row].as_py()
        for path, count in self.files:
            if row < count:
                return DataError(path, f"{value!r}: {problem}", line=self.begin + row + 1, column=name)
            row -= count
        raise AssertionError(f"row {row} lies behind the last file")


def read_headless(path: Path, names: Sequence[str], types: Mapping[str, pa.DataType]) -> SourceTable:
    """Read a tab-separated file without a header, plain, .gz or .xz, whose columns these are; raises DataError.

    types: of the columns that are not to be guessed. What is empty is missing, but in columns of text.
    """
    keep = pa_csv.ConvertOptions(column_types=dict(types), null_values=[""])
    table = _parsed(path, pa_csv.ReadOptions(column_names=list(names)), "\t", keep)
    if table.num_rows == 0:
        raise DataError(path, "no rows")
    return SourceTable(path, table, ((path, table.num_rows),))


def read_columns(
    path: Path, names: Sequence[str], types: Mapping[str, pa.DataType], *, delimiter: str = "\t", skip: int = 0
) -> dict[str, pa.ChunkedArray]:
    """Read those columns of a file that have a type, none of them with a missing value; raises DataError.

    names: of all columns of the file, in order. skip: lines of a header, which are counted here.
    """
    if missing := [name for name in types if name not in names]:
        raise DataError(path, f"no such column; there are {list(names)}", column=missing[0])
    keep = pa_csv.ConvertOptions(column_types=dict(types), include_columns=list(types), null_values=[""])
    table = _parsed(path, pa_csv.ReadOptions(column_names=list(names), skip_rows=skip), delimiter, keep)
    if table.num_rows == 0:
        raise DataError(path, "no rows")
    for name in types:
        if table.column(name).null_count:
            row = int(pc.index(pc.is_null(table.column(name)), value=True).as_py())
            raise DataError(path, "the value is missing", line=row + 1 + skip, column=name)
    return {name: table.column(name) for name in types}


def read_source(source: Path, columns: Sequence[str], numbers: Sequence[str], pipe: Pipe | None = None) -> SourceTable:
    """Read some columns, and some of numbers, of a file or of all CSV, TSV and Parquet files of a folder.

    pipe: makes CSV of each file, of whatever kind. Raises DataError.
    """
    paths = [source]
    if source.is_dir():
        paths = sorted(p for p in source.iterdir() if p.suffix in _KINDS or (pipe and p.is_file()))
    if not paths:
        raise DataError(source, f"no file that ends in {', '.join(_KINDS)}")
    parts = [read_file(path, columns, numbers, pipe) for path in paths]
    try:
        whole = pa.concat_tables(part.table for part in parts)
    except pa.ArrowInvalid as error:
        raise DataError(source, f"its files have different types of columns: {error}") from error
    if whole.num_rows == 0:
        raise DataError(source, "no rows")
    return SourceTable(source, whole, tuple(file for part in parts for file in part.files))


def read_file(path: Path, columns: Sequence[str], numbers: Sequence[str], pipe: Pipe | None = None) -> SourceTable:
    """Read some columns, and some of numbers, of one file, or of what a command makes of it; raises DataError."""
    if pipe is None:
        table = _read(path, path, columns, numbers)
        return SourceTable(path, table, ((path, table.num_rows),))
    shown = pipe.shown(path)
    with pipe.output(path) as made:
        table = _read(made, shown, columns, numbers)
    return SourceTable(shown, table, ((shown, table.num_rows),))


def _read(path: Path, shown: Path | str, columns: Sequence[str], numbers: Sequence[str]) -> pa.Table:
    wanted = list(dict.fromkeys([*columns, *numbers]))
    if path.suffix not in _KINDS:
        raise DataError(shown, f"cannot tell what it is: its name must end in {', '.join(_KINDS)}")
    try:
        if path.suffix == ".parquet":
            names = pq.read_schema(path).names
        else:
            with pa_csv.open_csv(path, parse_options=pa_csv.ParseOptions(delimiter=_DELIMITERS[path.suffix])) as reader:
                names = reader.schema.names
        missing = [name for name in wanted if name not in names]
        if missing:
            raise DataError(shown, f"no such column; there are {names}", column=missing[0])
        if path.suffix == ".parquet":
            return pq.read_table(path, columns=wanted)
    except (OSError, pa.ArrowException) as error:
        raise DataError(shown, f"cannot be read: {error}") from error
    keep = pa_csv.ConvertOptions(include_columns=wanted, column_types=dict.fromkeys(numbers, pa.float64()))
    return _parsed(path, pa_csv.ReadOptions(), _DELIMITERS[path.suffix], keep, shown=shown)


def _parsed(
    path: Path,
    how: pa_csv.ReadOptions,
    delimiter: str,
    keep: pa_csv.ConvertOptions,
    *,
    shown: Path | str | None = None,
) -> pa.Table:
    parse = pa_csv.ParseOptions(delimiter=delimiter)
    try:
        try:
            with opened(path) as file:
                return pa_csv.read_csv(file, how, parse, keep)
        except pa.ArrowInvalid:  # read again by one thread, which can tell the line
            how.use_threads = False
            with opened(path) as file:
                return pa_csv.read_csv(file, how, parse, keep)
    except (OSError, EOFError, lzma.LZMAError, zlib.error, pa.ArrowException) as error:
        raise DataError(shown or path, f"cannot be read: {error}") from error


def opened(path: Path) -> IO[bytes]:
    """Open a file, plain, .gz or .xz, to be read without compression."""
    if path.suffix == ".xz":
        return lzma.open(path)
    return cast("IO[bytes]", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
