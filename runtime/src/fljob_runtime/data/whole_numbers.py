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

from fljob_runtime.data.compressed import opened

_LONGEST_LINE = 1 << 16


def plain_columns(path: Path, separator: str | None, count: int) -> list[pa.ChunkedArray] | None:
    """Read the first `count` whole numbers of each line, int64 [rows] of each; None where some line is unusual.

    separator: of one character, or of the same one twice, behind which there is nothing more; None: a tab.
    """
    try:
        with opened(path) as file:
            head = file.readline(_LONGEST_LINE)
            file.seek(0)
            return _parsed(head, file, separator or "\t", count)
    except (OSError, EOFError, ValueError, lzma.LZMAError, pa.ArrowException):
        return None


class _Plain:
    """A file that may not have an x, as pyarrow reads 0x1f as 31. Has what pyarrow asks of a file.

    pairs: how many delimiters follow upon another one so far; counted where a separator is two.
    """

    def __init__(self, file: IO[bytes], delimiter: str, *, paired: bool) -> None:
        self._file, self._delimiter, self._paired = file, ord(delimiter), paired
        self._open = False  # whether the last byte so far is a delimiter
        self.pairs = 0
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; raises ValueError where there is an x among them."""
        data = self._file.read(size)
        if b"x" in data or b"X" in data:
            raise ValueError("not a whole number in decimal")
        if self._paired and data:
            delimits = np.frombuffer(data, np.uint8) == self._delimiter
            self.pairs += int(np.count_nonzero(delimits[1:] & delimits[:-1])) + (self._open and bool(delimits[0]))
            self._open = bool(delimits[-1])
        return data

    def close(self) -> None:
        """Leave the file to who opened it."""
        self.closed = True


def _parsed(head: bytes, file: IO[bytes], separator: str, count: int) -> list[pa.ChunkedArray] | None:
    if not head.isascii():  # pyarrow passes over a mark of UTF-8
        return None
    delimiter, step = separator[0], len(separator)  # between two delimiters of a pair is a column of nothing
    names = [str(place) for place in range(head.count(delimiter.encode()) + 1)]
    wanted = names[: (count - 1) * step + 1 : step]
    if len(wanted) != count or (step > 1 and wanted[-1] != names[-1]):
        return None
    plain = _Plain(file, delimiter, paired=step > 1)
    table = pa_csv.read_csv(
        cast("BinaryIO", plain),
        pa_csv.ReadOptions(column_names=names),
        pa_csv.ParseOptions(delimiter=delimiter, quote_char=False),
        pa_csv.ConvertOptions(column_types=dict.fromkeys(wanted, pa.int64()), include_columns=wanted, null_values=[""]),
    )
    columns: list[pa.ChunkedArray] = [table.column(name) for name in wanted]
    if table.num_rows == 0 or any(column.null_count for column in columns):
        return None
    # No number is absent, so delimiters that follow upon each other are pairs: every pair, unless some hold a text
    paired = plain.pairs == (count - 1) * table.num_rows
    return columns if step == 1 or paired else None
