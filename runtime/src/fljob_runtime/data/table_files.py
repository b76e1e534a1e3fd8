"""Tables as somebody has them, CSV, TSV or Parquet, read with every fault named by file, line and column.

Used by `tabular`'s import. Lines are counted from 1, without a header's; in a folder the files go by name.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fljob_runtime.data.compressed import opened
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.pipes import Pipe

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_KINDS = (*_DELIMITERS, ".parquet")
_WHOLE = "^(0|-?[1-9][0-9]*)$"  # a number that has one spelling, which is this
_DIGITS = "^[+-]?[0-9]+$"
_ID_TYPES = "ids are whole numbers or text"


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

    def of(self, names: Iterable[str]) -> SourceTable:
        """Return the table with some of its columns only."""
        return replace(self, table=self.table.select(list(names)))

    def apart(self) -> dict[str, SourceTable]:
        """Return tables of a column each, by their names, any of which can be let go of."""
        return {name: self.of([name]) for name in self.table.column_names}

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column without missing values, of a dictionary its values; raises DataError."""
        values = self.table.column(name)
        if pa.types.is_dictionary(values.type):  # whose order is any, and which may hold what is missing or not used
            values = self._cast(name, values, values.type.value_type)
        if values.null_count:
            raise self._fault(name, pc.is_null(values), "the value is missing")
        return values

    def ids(self, name: str) -> tuple[NDArray[np.int32], int]:
        """Return values as numbers from 0, by their first appearance, int32 [N], and how many there are."""
        values = self.column(name)
        if pa.types.is_floating(values.type):
            raise DataError(self.path, f"type {values.type}; {_ID_TYPES}", column=name)
        try:
            return _joined(values.dictionary_encode())
        except pa.ArrowNotImplementedError as error:  # of lists and structs
            raise DataError(self.path, f"type {values.type}; {_ID_TYPES}", column=name) from error

    def spellings(self, name: str) -> list[str]:
        """Return the different ids as text, by their first appearance; raises DataError."""
        texts: list[str] = self._cast(name, self.column(name).unique(), pa.string()).to_pylist()
        return texts

    def ids_below(self, name: str, size: int) -> NDArray[np.int64]:
        """Return ids that are numbers from 0 to size - 1 already, int64 [N]; raises DataError."""
        values = self.column(name)
        if not len(values):  # CSV without rows has no type
            return np.empty(0, np.int64)
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
        if pa.types.is_boolean(values.type) or pa.types.is_null(values.type):  # null: without rows
            return values.cast(pa.int8())
        if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            raise DataError(self.path, f"type {values.type}; numbers are needed", column=name)
        return values

    def whole(self, name: str, kind: pa.DataType) -> pa.ChunkedArray:
        """Return text as numbers of a type, where no two spellings are of one number; raises DataError."""
        values = self.column(name)
        odd = pc.invert(pc.match_substring_regex(values, _WHOLE))
        if pc.any(odd).as_py():
            raise self._fault(name, odd, "not a whole number, as a file beside it has, or spelled in another way")
        return self._cast(name, values, kind)

    def _cast(self, name: str, values: pa.ChunkedArray | pa.Array, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
        try:
            return values.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(self.path, f"type {values.type} does not become {kind}: {error}", column=name) from error

    def _fault(self, name: str, bad: pa.Array, problem: str) -> DataError:
        row = int(pc.index(bad, value=True).as_py())
        value = self.table.column(name)[row].as_py()
        for path, count in self.files:
            if row < count:
                return DataError(path, f"{value!r}: {problem}", line=self.begin + row + 1, column=name)
            row -= count
        raise AssertionError(f"row {row} lies behind the last file")


def codes(encoded: pa.ChunkedArray) -> tuple[NDArray[np.int32], int]:
    """Return the codes [N] of a column that was read as a dictionary from CSV, and how many there are.

    Each chunk has a dictionary of what it has, by first appearance, so that the codes are numbers by first appearance.
    """
    return _joined(encoded.unify_dictionaries())


def _joined(encoded: pa.ChunkedArray) -> tuple[NDArray[np.int32], int]:
    """Return the codes of all chunks, whose dictionary is one, and its size."""
    return np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks]), len(encoded.chunk(0).dictionary)


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

    Columns that are not of numbers are text in CSV, as they are spelled; beside files that have whole numbers there,
    they are such. pipe: makes CSV of each file, of whatever kind. Raises DataError.
    """
    paths = _paths(source, pipe) if source.is_dir() else [source]
    types = dict.fromkeys(columns, pa.string()) | dict.fromkeys(numbers, pa.float64())
    parts = [_read_file(path, types, pipe) for path in paths]
    try:
        for name in dict.fromkeys(columns):
            parts = _alike(parts, name)
        whole = pa.concat_tables(part.table for part in parts)
    except pa.ArrowInvalid as error:
        raise DataError(source, f"its files have different types of columns: {error}") from error
    if whole.num_rows == 0:
        raise DataError(source, "no rows")
    return SourceTable(source, whole, tuple(file for part in parts for file in part.files))


def read_file(path: Path, columns: Sequence[str], numbers: Sequence[str], pipe: Pipe | None = None) -> SourceTable:
    """Read some columns, of any type, and some of numbers, of one file, or of what a command makes of it.

    Raises DataError.
    """
    return _read_file(path, dict.fromkeys(columns) | dict.fromkeys(numbers, pa.float64()), pipe)


def _paths(folder: Path, pipe: Pipe | None) -> list[Path]:
    """Return the files of a folder that are to be read; raises DataError where one cannot be."""
    found = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    # Spark and its like leave marks such as _SUCCESS
    paths = [p for p in found if (p.is_file() and not p.name.startswith("_") if pipe else p.suffix in _KINDS)]
    for path in found:
        if path not in paths and path.is_file() and not path.name.startswith("_"):
            raise DataError(path, f"is not read, as its name does not end in {', '.join(_KINDS)}: put it elsewhere")
    if not paths:
        raise DataError(folder, f"no file that ends in {', '.join(_KINDS)}")
    return paths


def _read_file(path: Path, types: Mapping[str, pa.DataType | None], pipe: Pipe | None) -> SourceTable:
    if pipe is None:
        table = _read(path, path, types)
        return SourceTable(path, table, ((path, table.num_rows),))
    shown = pipe.shown(path)
    with pipe.output(path) as made:
        table = _read(made, shown, types)
    return SourceTable(shown, table, ((shown, table.num_rows),))


def _alike(parts: list[SourceTable], name: str) -> list[SourceTable]:
    """Return parts of which none has missing values or a dictionary in a column, nor text beside whole numbers."""
    columns = [part.column(name) for part in parts]
    kind = next((column.type for column in columns if pa.types.is_integer(column.type)), None)
    if kind is not None:
        pairs = zip(parts, columns, strict=True)
        columns = [p.whole(name, kind) if pa.types.is_string(column.type) else column for p, column in pairs]
    place = [part.table.schema.get_field_index(name) for part in parts]
    return [
        replace(part, table=part.table.set_column(at, name, column))
        for part, at, column in zip(parts, place, columns, strict=True)
    ]


def _read(path: Path, shown: Path | str, types: Mapping[str, pa.DataType | None]) -> pa.Table:
    if path.suffix not in _KINDS:
        raise DataError(shown, f"cannot tell what it is: its name must end in {', '.join(_KINDS)}")
    try:
        schema = _schema(path)
        names = schema.names
        missing = [name for name in types if name not in names]
        if missing:
            raise DataError(shown, f"no such column; there are {names}", column=missing[0])
        if twice := [name for name in types if names.count(name) > 1]:
            raise DataError(shown, f"is there {names.count(twice[0])} times", column=twice[0])
        if path.suffix == ".parquet":
            return pq.read_table(path, columns=list(types))
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise DataError(shown, f"cannot be read: {error}") from error
    texts = [name for name, kind in types.items() if kind == pa.string()]
    keep = pa_csv.ConvertOptions(include_columns=list(types), strings_can_be_null=bool(texts))
    keep.column_types = {name: kind for name, kind in types.items() if kind is not None}
    if texts:
        keep.null_values = [""]  # NA and null are names, too
    table = _parsed(path, pa_csv.ReadOptions(), _DELIMITERS[path.suffix], keep, shown=shown)
    for name in texts:
        guess = schema.field(name).type  # double of whole numbers, too, that are greater than 64 bits
        if pa.types.is_floating(guess) and not pc.all(pc.match_substring_regex(table.column(name), _DIGITS)).as_py():
            raise DataError(shown, f"type {guess}; {_ID_TYPES}", column=name)
    return table


def _schema(path: Path) -> pa.Schema:
    """Return the columns of a file, and their types, which of CSV are guesses."""
    if path.suffix == ".parquet":
        return pq.read_schema(path)
    with pa_csv.open_csv(path, parse_options=pa_csv.ParseOptions(delimiter=_DELIMITERS[path.suffix])) as reader:
        return reader.schema


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
