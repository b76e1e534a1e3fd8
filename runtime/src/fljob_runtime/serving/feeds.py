"""What a served model is fed: its columns, and what somebody else sends as such, checked value by value. numpy only.

Used by exported models, by files of examples and over HTTP; nothing here knows torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fljob_runtime.schema import PADDING

Columns = Mapping[str, np.ndarray]
MAX_ROWS = 65_536


class FeedError(ValueError):
    """Values that a model cannot be fed; the message names the column and the row."""


@dataclass(frozen=True)
class Feed:
    """One column: an example's shape; num_ids: ids are 0 to num_ids - 1, 0 for numbers; sequence: of such, padded.

    any_ids: ids are any 64-bit numbers, and num_ids is 0; -1 is none of a sequence, as it is padding.
    """

    name: str
    shape: tuple[int, ...] = ()
    num_ids: int = 0
    sequence: bool = False
    any_ids: bool = False

    @property
    def is_ids(self) -> bool:
        """Return whether the values are ids and not numbers."""
        return self.any_ids or self.num_ids > 0

    @property
    def dtype(self) -> str:
        """Return the type of the values."""
        return "int64" if self.is_ids else "float32"

    def to_json(self) -> dict[str, Any]:
        """Return the entry of signature.json."""
        value = {"name": self.name, "dtype": self.dtype, "shape": ["batch", *self.shape]}
        if not self.is_ids:
            return value
        return value | {"sequence": self.sequence} | ({"anyIds": True} if self.any_ids else {"numIds": self.num_ids})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Feed:
        """Read the entry; raises KeyError, TypeError or ValueError."""
        shape = tuple(int(size) for size in value["shape"][1:])
        ids, kinds = int(value.get("numIds", 0)), (bool(value.get(key, False)) for key in ("sequence", "anyIds"))
        return cls(str(value["name"]), shape, ids, *kinds)

    def array(self, rows: Sequence[object]) -> np.ndarray:
        """Return what was sent for this column as one array [rows, *shape]; raises FeedError."""
        if self.sequence:
            return self._padded(rows)
        kinds: tuple[type, ...] = (int,) if self.is_ids else (int, float)
        for number, row in enumerate(rows):
            _check_kind(self.name, number, row, kinds, len(self.shape))
        return self._checked(rows)

    def _checked(self, rows: Sequence[object]) -> np.ndarray:
        try:
            array = np.array(rows, np.int64 if self.is_ids else np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            raise FeedError(f"column {self.name}: rows must be {self._words()}") from error
        if array.shape != (len(rows), *self.shape):
            raise FeedError(f"column {self.name}: rows must be {self._words()}, not of shape {list(array.shape[1:])}")
        if self.is_ids:
            self._check_ids(array)
            return array
        with np.errstate(over="ignore"):
            narrow = array.astype(np.float32)
        if not np.isfinite(narrow).all():
            raise FeedError(f"column {self.name}: a number is not finite in float32")
        return narrow

    def _padded(self, rows: Sequence[object]) -> np.ndarray:
        longest = self.shape[0]
        array = np.full((len(rows), longest), PADDING, np.int64)
        for number, row in enumerate(rows):
            if not isinstance(row, list | tuple) or not row:
                raise FeedError(f"column {self.name}, row {number}: must be a list of ids, and not an empty one")
            _check_kind(self.name, number, row, (int,), 1)
            ids = list(row)[-longest:]  # the latest count
            try:
                array[number, : len(ids)] = ids
            except (OverflowError, ValueError, TypeError) as error:
                raise FeedError(f"column {self.name}, row {number}: ids must be {self._range()}") from error
            self._check_ids(array[number, : len(ids)])
        return array

    def _check_ids(self, ids: np.ndarray) -> None:
        if self.any_ids:
            wrong = ids[ids == PADDING] if self.sequence else ids[:0]
        else:
            wrong = ids[(ids < 0) | (ids >= self.num_ids)]
        if wrong.size:
            raise FeedError(f"column {self.name}: id {int(wrong[0])} is not {self._range()}")

    def _range(self) -> str:
        return "an id of 64 bits other than -1" if self.any_ids else f"from 0 to {self.num_ids - 1}"

    def _words(self) -> str:
        what = "integers" if self.is_ids else "numbers"
        if self.any_ids:
            what = "integers of 64 bits"
        return f"lists of {list(self.shape)} {what}" if self.shape else what


def _check_kind(name: str, number: int, value: object, kinds: tuple[type, ...], depth: int) -> None:
    """Refuse what is no number (text and truth values among it) at a depth of lists."""
    if depth == 0:
        if isinstance(value, bool) or not isinstance(value, kinds):
            words = "an integer" if kinds == (int,) else "a number"
            raise FeedError(f"column {name}, row {number}: {str(value)[:40]!r} is not {words}")
        return
    if not isinstance(value, list | tuple):
        raise FeedError(f"column {name}, row {number}: must be a list")
    for part in value:
        _check_kind(name, number, part, kinds, depth - 1)


def arrays(feeds: Sequence[Feed], columns: object, *, max_rows: int = MAX_ROWS) -> dict[str, np.ndarray]:
    """Return a model's columns from column -> list of rows; raises FeedError for what is missing, more or malformed."""
    if not isinstance(columns, dict):
        raise FeedError("inputs must be an object of columns, each a list of rows")
    names = [feed.name for feed in feeds]
    if set(columns) != set(names):
        raise FeedError(f"inputs must have the columns {', '.join(names)}, not {', '.join(map(str, columns))[:200]}")
    sizes = {len(rows) if isinstance(rows, list) else -1 for rows in columns.values()}
    if len(sizes) != 1 or -1 in sizes:
        raise FeedError("all columns must be lists of equally many rows")
    if not 0 < (size := sizes.pop()) <= max_rows:
        raise FeedError(f"there must be 1 to {max_rows} rows, not {size}")
    return {feed.name: feed.array(columns[feed.name]) for feed in feeds}
