"""Sessions as others publish them, read with every fault named by file, line and column. Used by `sessions`' import.

What a file is, its first line tells: YooChoose's clicks (session,timestamp,item,category without a header),
tab-separated columns SessionId, ItemId and Time in seconds, prefix TAB next item (SR-GNN's test pairs), or the items of
one session a line (PaddleFL). Plain, .gz or .xz. Pickles are refused: to read one is to run it.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fljob_runtime.data.compressed import opened
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.examples import Ids
from fljob_runtime.data.table_files import read_columns

_CLICKS = ("SessionId", "Time", "ItemId", "Category")
_EVENTS = {"SessionId": pa.int64(), "ItemId": pa.int64()}


@dataclass(frozen=True)
class Sessions:
    """Sessions in the order of the times at which they end, as far as these are known, else of the file.

    items: int64 [N], those of a session one after another; starts: int64 [S + 1], session s has
    items[starts[s]:starts[s + 1]]; times: float64 [N], seconds of the items' events, None where files do not tell.
    """

    items: Ids
    starts: Ids
    times: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> Ids:
        """Return the items of each session."""
        return np.diff(self.starts)

    @property
    def ends(self) -> NDArray[np.float64] | None:
        """Return the time of each session's last event, float64 [S], None where files do not tell; none is empty."""
        return None if self.times is None else self.times[self.starts[1:] - 1]

    @property
    def owners(self) -> Ids:
        """Return the session of each item, by its place: int64 [N]."""
        return np.arange(len(self)).repeat(self.lengths)

    def take(self, which: NDArray[np.bool_] | slice) -> Sessions:
        """Return some of the sessions, in their order."""
        chosen = np.zeros(len(self), np.bool_)
        chosen[which] = True
        return self._of(chosen.repeat(self.lengths), self.lengths[chosen])

    def without(self, dropped: NDArray[np.bool_], shortest: int = 2) -> Sessions:
        """Return sessions less some items, [N], and less those that are then shorter than `shortest`.

        A session ends with the last item that it has left.
        """
        lengths = np.bincount(self.owners[~dropped], minlength=len(self))
        return self._of(~dropped, lengths).take(lengths >= shortest).by_end()

    def by_end(self) -> Sessions:
        """Return sessions by the time at which they end, as they are where that is not known."""
        ends = self.ends
        if ends is None or (ends[1:] >= ends[:-1]).all():
            return self
        order = np.argsort(ends, kind="stable")
        lengths = self.lengths[order]
        return self._of(stretches(self.starts[:-1][order], lengths), lengths)

    def _of(self, places: NDArray[np.bool_] | Ids, lengths: Ids) -> Sessions:
        """Return sessions of these lengths, of the events at some places."""
        return Sessions(self.items[places], _starts(lengths), None if self.times is None else self.times[places])


def stretches(starts: Ids, lengths: Ids) -> Ids:
    """Return the places start, start + 1 … of each stretch [R], one stretch after the other: [sum of lengths]."""
    return np.arange(lengths.sum()) + (starts - (np.cumsum(lengths) - lengths)).repeat(lengths)


def read_sessions(path: Path) -> Sessions:
    """Read a file of any of the kinds above; raises DataError."""
    head = _first_line(path)
    if head[:1] == b"\x80":
        raise DataError(path, "is a pickle, which is not read: write one session a line, items between spaces")
    first = head.decode("utf-8", "replace").strip()
    if not first:
        raise DataError(path, "is empty, or its first line is", line=1)
    if first.count(",") == len(_CLICKS) - 1:
        types = {**_EVENTS, "Time": pa.timestamp("ms", "UTC")}
        return _by_session(path, read_columns(path, _CLICKS, types, delimiter=","))
    names = first.split("\t")
    if not names[0][:1].isdigit() and len(names) > 1:
        return _by_session(path, read_columns(path, names, {**_EVENTS, "Time": pa.float64()}, skip=1), skip=1)
    return _pairs(path) if len(names) == 2 else _lines(path)


def _first_line(path: Path) -> bytes:
    try:
        with opened(path) as file:
            return file.readline(1 << 16)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(path, f"cannot be read: {error}") from error


def _by_session(path: Path, columns: dict[str, pa.ChunkedArray], skip: int = 0) -> Sessions:
    """Put events into their sessions, in the order of time; events of the same time stay as they are."""
    sessions, items, times = (columns[name] for name in ("SessionId", "ItemId", "Time"))
    if pa.types.is_timestamp(times.type):
        times = times.cast(pa.int64())
        seconds = times.to_numpy() / 1000.0
    else:
        seconds = times.to_numpy()
    if not np.isfinite(seconds).all():
        bad = int(np.flatnonzero(~np.isfinite(seconds))[0])
        raise DataError(path, f"{seconds[bad]}: a time is a finite number", line=bad + 1 + skip, column="Time")
    ids = sessions.to_numpy()
    order = np.lexsort((seconds, ids))
    ids, ordered, seconds = ids[order], items.to_numpy()[order].astype(np.int64), seconds[order]
    starts = np.flatnonzero(np.diff(ids, prepend=ids[0] - 1, append=ids[-1] + 1))
    return Sessions(ordered, starts, seconds).by_end()


def _lines(path: Path) -> Sessions:
    return _of_lists([_numbers(path, number, line.split()) for number, line in _text(path)])


def _pairs(path: Path) -> Sessions:
    """Read pairs, where a session's longest prefix comes first and is followed by its shorter ones, if at all."""
    found: list[list[int]] = []
    last: list[int] = []
    for number, line in _text(path):
        prefix, _, after = line.partition("\t")
        session = _numbers(path, number, [*prefix.split(), after.strip()])
        if last[:-1] != session:
            found.append(session)
        last = session
    return _of_lists(found)


def _text(path: Path) -> Iterable[tuple[int, str]]:
    """Return the lines that are not empty, with their numbers."""
    try:
        with opened(path) as file:
            lines = file.read().decode("utf-8").split("\n")
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(path, f"cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(path, f"is not text: {error}") from error
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _numbers(path: Path, line: int, words: list[str]) -> list[int]:
    try:
        numbers = [int(word) for word in words]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0 or max(numbers) >= 1 << 63:
        at, word = next(((at, w) for at, w in enumerate(words, 1) if not _is_id(w)), (1, ""))
        raise DataError(path, f"{word!r} is not the number of an item", line=line, column=str(at))
    return numbers


def _is_id(word: str) -> bool:
    try:
        return word.isascii() and word.isdigit() and int(word) < 1 << 63
    except ValueError:  # more digits than Python reads
        return False


def _of_lists(sessions: list[list[int]]) -> Sessions:
    lengths = np.array([len(session) for session in sessions], np.int64)
    return Sessions(np.array([item for session in sessions for item in session], np.int64), _starts(lengths))


def _starts(lengths: Ids) -> Ids:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
