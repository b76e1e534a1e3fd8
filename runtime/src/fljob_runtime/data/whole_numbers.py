"""Whole numbers out of text, the quick way: by pyarrow, where a file is as it should be. Used by `movielens_files`.

It never says what is wrong. A file with anything unusual is left to the caller, who reads it line by line, slowly, and
knows what may be forgiven and how to name the line of what may not.
"""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from fljob_runtime.data.table_files import opened

_LONGEST_LINE = 1 << 16


def plain_columns(path: Path, separator: str | None, count: int) -> list[NDArray[np.int64]] | None:
    """Read the first `count` whole numbers of each line, int64 [rows] of each; None where some line is unusual.

    separator: of one character or of the same one twice; None: a tab.
    """
    try:
        with opened(path) as file:
            head = file.readline(_LONGEST_LINE)
            file.seek(0)
            return _parsed(head, cast("BinaryIO", _WithoutX(file)), separator or "\t", count)
    except (OSError, EOFError, ValueError, lzma.LZMAError, pa.ArrowException):
        return None


class _WithoutX:
    """A file that may not have an x, as pyarrow reads 0x1f as 31. Has what pyarrow asks of a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; raises ValueError where there is an x among them."""
        data = self._file.read(size)
        if b"x" in data or b"X" in data:
            raise ValueError("not a whole number in decimal")
        return data

    def close(self) -> None:
        """Leave the file to who opened it."""
        self.closed = True


def _parsed(head: bytes, file: BinaryIO, separator: str, count: int) -> list[NDArray[np.int64]] | None:
    if not head.isascii():  # pyarrow passes over a mark of UTF-8
        return None
    delimiter, step = separator[0], len(separator)  # between two delimiters of a pair is a column of nothing
    names = [str(place) for place in range(head.count(delimiter.encode()) + 1)]
    wanted = names[: (count - 1) * step + 1]
    if len(wanted) != (count - 1) * step + 1:
        return None
    types = {name: pa.null() if place % step else pa.int64() for place, name in enumerate(wanted)}
    table = pa_csv.read_csv(
        file,
        pa_csv.ReadOptions(column_names=names),
        pa_csv.ParseOptions(delimiter=delimiter, quote_char=False),
        pa_csv.ConvertOptions(column_types=types, include_columns=wanted, null_values=[""]),
    )
    columns = [table.column(name) for name in wanted[::step]]
    if table.num_rows == 0 or any(column.null_count for column in columns):
        return None
    return [column.to_numpy() for column in columns]
