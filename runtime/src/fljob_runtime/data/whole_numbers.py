"""Whole numbers out of text, the quick way: by pyarrow, where a file is as it should be. Used by `movielens_files`.

It never says what is wrong. A file with anything unusual is left to the caller, who reads it line by line, slowly, and
knows what may be forgiven and how to name the line of what may not.
"""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from fljob_runtime.data.table_files import opened


def plain_columns(path: Path, separator: str | None, count: int) -> list[NDArray[np.int64]] | None:
    """Read the first `count` whole numbers of each line, int64 [rows] of each; None where some line is unusual.

    separator: of one character or of the same one twice; None: a tab.
    """
    try:
        with opened(path) as file:
            text = file.read()
        return _parsed(text, separator or "\t", count)
    except (OSError, EOFError, lzma.LZMAError, pa.ArrowException):
        return None


def _parsed(text: bytes, separator: str, count: int) -> list[NDArray[np.int64]] | None:
    head = text[: text.find(b"\n") + 1]
    if not head.isascii() or b"x" in text or b"X" in text:  # pyarrow passes over a mark of UTF-8, and reads 0x1f
        return None
    delimiter, step = separator[0], len(separator)  # between two delimiters of a pair is a column of nothing
    names = [str(place) for place in range(head.count(delimiter.encode()) + 1)]
    wanted = names[: (count - 1) * step + 1]
    if len(wanted) != (count - 1) * step + 1:
        return None
    types = {name: pa.null() if place % step else pa.int64() for place, name in enumerate(wanted)}
    table = pa_csv.read_csv(
        pa.BufferReader(text),
        pa_csv.ReadOptions(column_names=names),
        pa_csv.ParseOptions(delimiter=delimiter, quote_char=False),
        pa_csv.ConvertOptions(column_types=types, include_columns=wanted, null_values=[""]),
    )
    columns = [table.column(name) for name in wanted[::step]]
    if table.num_rows == 0 or any(column.null_count for column in columns):
        return None
    return [column.to_numpy() for column in columns]
