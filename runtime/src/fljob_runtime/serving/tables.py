"""Files of examples to score, and of what the model says: CSV, Parquet or a JSON object per line, by the file's suffix.

Called by the command line's `predict`. In CSV the parts of a list stand in one cell, with blanks between.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as papq

from fljob_runtime.checkpoints.files import write_atomically
from fljob_runtime.errors import CheckpointError
from fljob_runtime.serving.feeds import Columns, Feed, arrays
from fljob_runtime.serving.served import Exported, best, finite

SUFFIXES = (".csv", ".parquet", ".jsonl")
MAX_ROWS = 1 << 26


class TableError(ValueError):
    """A file that cannot be read or written; the message says why."""


def read_rows(path: Path, feeds: Sequence[Feed]) -> dict[str, np.ndarray]:
    """Return the columns that a model reads; others in the file are left alone. Raises TableError or FeedError."""
    _check_suffix(path)
    try:
        names, table = _read(path, [feed.name for feed in feeds])
    except (OSError, pa.ArrowException, ValueError, RecursionError) as error:
        raise TableError(f"cannot be read: {error}"[:300]) from error
    if missing := [feed.name for feed in feeds if feed.name not in names]:
        raise TableError(f"no column {', '.join(missing)}; the file has {', '.join(names)}"[:300])
    rows = {feed.name: _parsed(feed, table[feed.name]) for feed in feeds}
    return arrays(feeds, rows, max_rows=MAX_ROWS)


def results(model: Exported, columns: Columns, *, top: int) -> dict[str, list[Any]]:
    """Return what is written for each row: the output, or of a next item the `top` best items and their scores.

    Raises FeedError for a row whose output is not finite.
    """
    if model.target != "scores":
        return {model.target: model.score(columns).tolist()}
    items, scores = list[Any](), list[Any]()
    for at, outputs in model.parts(columns):  # of all rows together they may be more than the memory holds
        places = best(finite(outputs, at), top)
        items += places.tolist()
        scores += np.take_along_axis(outputs, places, 1).tolist()
    return {"items": items, "scores": scores}


def write_rows(path: Path, columns: Mapping[str, list[Any]]) -> None:
    """Write columns of equally many rows, all or none; raises TableError."""
    _check_suffix(path)

    def write(file: BinaryIO) -> None:
        if path.suffix == ".parquet":
            papq.write_table(pa.table(dict(columns)), file)
        elif path.suffix == ".csv":
            pacsv.write_csv(pa.table({name: list(map(_cell, rows)) for name, rows in columns.items()}), file)
        else:
            for row in zip(*columns.values(), strict=True):
                file.write(json.dumps(dict(zip(columns, row, strict=True))).encode() + b"\n")

    try:
        write_atomically(path, write)
    except CheckpointError as error:
        raise TableError(f"{path} cannot be written: {error.__cause__}") from error  # no word of checkpoints
    except pa.ArrowException as error:
        raise TableError(f"{path} cannot be written: {error}") from error


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise TableError(f"{path.name}: must end in {', '.join(SUFFIXES)}")


def _read(path: Path, wanted: Sequence[str]) -> tuple[list[str], dict[str, list[Any]]]:
    """Return the names of all columns, and those that are wanted and there; raises ValueError and what a reader does.

    No other one is made into Python's values: of some types, such as times in nanoseconds, it cannot be.
    """
    if path.suffix == ".parquet":
        file = papq.ParquetDataset(path)
        names = list(file.schema.names)
        return names, dict(file.read(columns=_once(names, wanted)).to_pydict())
    if path.suffix == ".csv":
        table = pacsv.read_csv(path)
        return table.column_names, dict(table.select(_once(table.column_names, wanted)).to_pydict())
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("each line must be a JSON object")
    names = list(rows[0]) if rows else []
    return names, {name: [row.get(name) for row in rows] for name in _once(names, wanted)}


def _once(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return the wanted names that are there; raises ValueError for one that is there more than once."""
    if twice := [name for name in wanted if names.count(name) > 1]:
        raise ValueError(f"column {twice[0]} is there {names.count(twice[0])} times")
    return [name for name in wanted if name in names]


def _parsed(feed: Feed, rows: list[Any]) -> list[Any]:
    """Return rows of lists that stand in cells of text as lists."""
    if not feed.shape:
        return rows
    kind = int if feed.is_ids else float
    try:
        return [[kind(part) for part in row.split()] if isinstance(row, str) else _list(feed, row) for row in rows]
    except ValueError as error:
        raise TableError(f"column {feed.name}: {error}") from error


def _list(feed: Feed, row: Any) -> Any:  # noqa: ANN401 - of any file
    """Return a cell that a reader took for one number as the list that it is."""
    return [row] if isinstance(row, int | float) and len(feed.shape) == 1 else row


def _cell(value: Any) -> Any:  # noqa: ANN401 - of any column
    return " ".join(map(str, value)) if isinstance(value, list) else value
