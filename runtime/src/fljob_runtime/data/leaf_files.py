"""Reading LEAF's JSON (Caldas et al. 2018, https://arxiv.org/abs/1812.01097) into arrays, one user at a time.

A file is {"users": [..], "num_samples": [..], "user_data": {user: {"x": [..], "y": [..]}}}; a user is in one file.
Every fault is named by file, user and position, from 0 as in the file's lists. Used by the import of pictures alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.data.errors import DataError

_MOST_CLASSES = 1 << 24  # a site's labels are float32, which tells no more apart


@dataclass(frozen=True)
class LeafUser:
    """One user's samples in one file. x: float32 [N, ...], a square where the file has it flat; y: int64 [N]."""

    name: str
    path: Path
    x: NDArray[np.float32]
    y: NDArray[np.int64]


def read_leaf(folder: Path) -> Iterator[LeafUser]:
    """Yield the users of all .json files of a folder, by the files' names. Raises DataError.

    A whole file's text is in memory, and its numbers as arrays: lists of numbers exist of one user at a time.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise DataError(folder, "no .json file of LEAF's")
    seen: dict[str, Path] = {}
    for path in paths:
        for user in _read_file(path):
            if user.name in seen:
                raise DataError(path, f"user {user.name!r} is in {seen[user.name].name}, too")
            seen[user.name] = path
            yield user


def _read_file(path: Path) -> Iterator[LeafUser]:
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_object)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(path, f"not JSON: {error}") from error
    users, counts, data = (_part(path, content, key) for key in ("users", "num_samples", "user_data"))
    if not (isinstance(users, list) and isinstance(counts, list) and isinstance(data, dict)):
        raise DataError(path, "expected lists users and num_samples, and an object user_data")
    if len(users) != len(counts):
        raise DataError(path, f"{len(users)} users, but {len(counts)} num_samples")
    if others := sorted(set(data) ^ set(map(str, users)))[:3]:
        raise DataError(path, f"users and user_data differ: {', '.join(others)}")
    for name, count in zip(map(str, users), counts, strict=True):
        user = _user(path, name, data.pop(name, None))
        if len(user.y) != count:
            raise DataError(path, f"user {name!r}: {len(user.y)} samples; num_samples says {count}")
        yield user


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, its `x` and `y` as arrays at once where they are numbers of one shape."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    for key in ("x", "y"):
        if isinstance(found.get(key), list):
            found[key] = _array(found[key])
    return found


def _array(values: list[Any]) -> list[Any] | NDArray[Any]:
    """Return numbers as an array, float32 unless they are whole; what is none of it stays as it is."""
    try:
        array = np.array(values)
    except ValueError:
        return values  # lists of different lengths
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # looked at where the user is known
            return array.astype(np.float32)
    return array if array.dtype.kind in "iu" else values


def _part(path: Path, content: object, key: str) -> object:
    if not isinstance(content, dict) or key not in content:
        raise DataError(path, f"no {key!r}: not a file of LEAF's")
    return content[key]


def _user(path: Path, name: str, samples: object) -> LeafUser:
    where = f"user {name!r}"
    if not isinstance(samples, dict) or not {"x", "y"} <= samples.keys():
        raise DataError(path, f"{where}: no object with x and y (is it there twice?)")
    x, y = samples["x"], samples["y"]
    if not (isinstance(x, list | np.ndarray) and isinstance(y, list | np.ndarray)):
        raise DataError(path, f"{where}: x and y must be lists")
    if len(x) != len(y):
        raise DataError(path, f"{where}: {len(x)} pictures in x, but {len(y)} labels in y")
    if not len(x):
        return LeafUser(name, path, np.empty((0, 0), np.float32), np.empty(0, np.int64))
    if not isinstance(x, np.ndarray) or x.ndim < 2:
        raise DataError(path, f"{where}, {_odd(x)}")
    if not x.size:
        raise DataError(path, f"{where}, x[0]: a picture without a number")
    bad = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(1))
    if len(bad):
        raise DataError(path, f"{where}, x[{bad[0]}]: a number that is not finite in float32")
    if not isinstance(y, np.ndarray) or y.ndim != 1 or y.dtype.kind not in "iu":
        at = next((i for i, label in enumerate(y) if type(label) is not int), 0)
        raise DataError(path, f"{where}, y[{at}]: expected a class, a whole number from 0")
    if y.min() < 0:
        raise DataError(path, f"{where}, y[{int(y.argmin())}]: class {y.min()} is below 0")
    if y.max() >= _MOST_CLASSES:
        raise DataError(path, f"{where}, y[{int(y.argmax())}]: class {y.max()} is not below {_MOST_CLASSES}")
    return LeafUser(name, path, _square(x.astype(np.float32)), y.astype(np.int64))


def _odd(rows: list[Any] | NDArray[Any]) -> str:
    """Say which row of x is not as the first one."""
    size = len(rows[0]) if isinstance(rows[0], list) else 0
    for at, row in enumerate(rows):
        if not isinstance(row, list):
            return f"x[{at}]: expected a list of numbers"
        if len(row) != size:
            return f"x[{at}]: {len(row)} numbers; x[0] has {size}"
        odd = next((k for k, value in enumerate(row) if not isinstance(value, (int, float, list))), None)
        if odd is not None:
            return f"x[{at}][{odd}]: not a number"
    return "x: lists of numbers of one shape were expected"


def _square(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return flat rows of a square number of values as pictures: [N, S²] -> [N, S, S]."""
    side = math.isqrt(x.shape[1])
    return x.reshape(-1, side, side) if x.ndim == 2 and side * side == x.shape[1] else x
