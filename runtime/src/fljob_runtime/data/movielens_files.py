"""Reading MovieLens as its publisher and the NCF authors ship it, into plain arrays.

Layouts: `ml-1m` (ratings.dat, users.dat), `ml-100k` (u.data, u.user), and NCF's leave-one-out files beside ml-1m's
users (a folder with ncf/ and ml-1m/). Files may be xz-compressed. Used by the import alone.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.data.errors import DataError

Ids = NDArray[np.int64]
NUM_NEGATIVES = 99


@dataclass(frozen=True)
class LeaveOneOut:
    """MovieLens as NCF uses it; users and items numbered from 0.

    users, items: int64 [P] positives for training; test_items: int64 [U]; negatives: int64 [U, 99], -1 where the
    published negative is the user's own test item; zip_codes: one text per user.
    """

    users: Ids
    items: Ids
    test_items: Ids
    negatives: Ids
    zip_codes: tuple[str, ...]
    num_items: int
    published_negatives: bool


def read_source(source: Path, seed: int) -> LeaveOneOut:
    """Find out which layout a folder has and read it; raises DataError that lists what was looked for."""
    if _find(source / "ncf", "ml-1m.test.rating") and _find(source / "ml-1m", "users.dat"):
        return _read_ncf(source / "ncf", source / "ml-1m")
    for folder in (source, source / "ml-1m"):
        if _find(folder, "ratings.dat"):
            return _read_ratings(folder, "ratings.dat", "users.dat", "::", seed=seed)
    for folder in (source, source / "ml-100k"):
        if _find(folder, "u.data"):
            return _read_ratings(folder, "u.data", "u.user", None, seed=seed)
    wanted = "ratings.dat and users.dat (ml-1m), u.data and u.user (ml-100k), or ncf/ml-1m.* with ml-1m/users.dat"
    raise DataError(source, f"no MovieLens files; looked for {wanted}, each also as .xz")


def _find(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.xz") if p.is_file()), None)


def _require(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is None:
        raise DataError(folder / name, "missing (also looked for .xz)")
    return path


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    opener = lzma.open if path.suffix == ".xz" else open
    try:
        with opener(path, "rt", encoding="latin-1") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(path, f"cannot be read to its end: {error}") from error


def _integers(path: Path, separator: str | None, columns: tuple[str, ...]) -> NDArray[np.int64]:
    """Read whole numbers, one row per line; extra columns are ignored. Returns int64 [rows, columns]."""
    rows: list[tuple[int, ...]] = []
    for number, line in _lines(path):
        parts = line.split(separator)
        if len(parts) < len(columns):
            raise DataError(path, f"{len(parts)} columns; expected {', '.join(columns)}", line=number)
        rows.append(tuple(_whole(part, path, number, column) for part, column in zip(parts, columns, strict=False)))
    if not rows:
        raise DataError(path, "is empty")
    return np.array(rows, np.int64)


def _whole(text: str, path: Path, line: int, column: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise DataError(path, "not a whole number", line=line, column=column) from None
    if not -(1 << 63) <= value < 1 << 63:
        raise DataError(path, "does not fit 64 bits", line=line, column=column)
    return value


def _refuse_twice(path: Path, pairs: NDArray[np.int64]) -> None:
    """Refuse a (user, item) pair that is there twice: held out and trained on, it would flatter every metric."""
    ordered = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    twice = np.flatnonzero((np.diff(ordered, axis=0) == 0).all(1))
    if len(twice):
        user, item = ordered[twice[0]]
        raise DataError(path, f"user {user} has item {item} twice")


def _zip_codes(path: Path, separator: str) -> dict[int, str]:
    codes: dict[int, str] = {}
    for number, line in _lines(path):
        parts = line.split(separator)
        if len(parts) < 5 or not parts[0].isdigit() or not parts[4].strip():
            raise DataError(path, "expected user, age/gender, gender/age, occupation, zip code", line=number)
        code = parts[4].strip()
        if not (code[0].isascii() and code[0].isalnum()):
            problem = f"{code!r} begins with neither a digit nor a letter, which names the user's site"
            raise DataError(path, problem, line=number, column="zip code")
        codes[int(parts[0])] = code
    return codes


def _read_ncf(ncf: Path, users_folder: Path) -> LeaveOneOut:
    train_path = _find(ncf, "ml-1m.train.rating") or _require(ncf, "ml-1m.train.rating.rebuilt")
    test_path, negative_path = _require(ncf, "ml-1m.test.rating"), _require(ncf, "ml-1m.test.negative")
    train = _integers(train_path, "\t", ("user", "item", "rating"))
    test = _integers(test_path, "\t", ("user", "item"))
    num_users = len(test)
    if not np.array_equal(test[:, 0], np.arange(num_users)):
        raise DataError(test_path, "users are not 0, 1, 2, …", column="user")
    negatives = _read_negatives(negative_path, test)
    codes = _zip_codes(_require(users_folder, "users.dat"), "::")
    if len(codes) != num_users:
        raise DataError(users_folder / "users.dat", f"{len(codes)} users; the test file has {num_users}")
    if train[:, 0].max() >= num_users or train[:, :2].min() < 0:
        raise DataError(train_path, f"a user or item id is out of range (there are {num_users} users)")
    _refuse_twice(train_path, np.concatenate([train[:, :2], test]))
    num_items = int(max(train[:, 1].max(), test[:, 1].max(), negatives.max())) + 1
    zips = tuple(codes[user + 1] for user in range(num_users))
    return LeaveOneOut(train[:, 0], train[:, 1], test[:, 1], negatives, zips, num_items, published_negatives=True)


def _read_negatives(path: Path, test: NDArray[np.int64]) -> Ids:
    negatives = np.full((len(test), NUM_NEGATIVES), -1, np.int64)
    for number, line in _lines(path):
        pair, *items = line.split("\t")
        user = number - 1
        if user >= len(test) or pair != f"({user},{test[user, 1]})" or len(items) != NUM_NEGATIVES:
            raise DataError(path, f"expected the pair of user {user} and {NUM_NEGATIVES} items", line=number)
        try:
            negatives[user] = [int(item) for item in items]
        except ValueError as error:
            raise DataError(path, f"not a whole number: {error}", line=number) from None
    if (negatives < 0).any():
        raise DataError(path, f"fewer than {len(test)} lines (the file is truncated), or an id below 0")
    negatives[negatives == test[:, 1:2]] = -1
    return negatives


def _read_ratings(folder: Path, ratings: str, users: str, separator: str | None, *, seed: int) -> LeaveOneOut:
    """Hold out each user's latest rating (ties: the later line); number items by first appearance, as NCF does."""
    path = _require(folder, ratings)
    rows = _integers(path, separator, ("user", "item", "rating", "timestamp"))
    _refuse_twice(path, rows[:, :2])
    codes = _zip_codes(_require(folder, users), separator or "|")
    user_ids, user = np.unique(rows[:, 0], return_inverse=True)
    unknown = [int(u) for u in user_ids if int(u) not in codes]
    if unknown:
        raise DataError(folder / users, f"no line for user {unknown[0]}, who has ratings")
    item_ids, first, inverse = np.unique(rows[:, 1], return_index=True, return_inverse=True)
    rank = np.empty(len(item_ids), np.int64)
    rank[np.argsort(first)] = np.arange(len(item_ids))
    item = rank[inverse]
    order = np.lexsort((np.arange(len(rows)), rows[:, 3], user))
    last = order[np.append(np.flatnonzero(np.diff(user[order])), len(order) - 1)]  # one line per user
    keep = np.ones(len(rows), bool)
    keep[last] = False
    negatives = _draw_negatives(user, item, len(user_ids), len(item_ids), seed)
    zips = tuple(codes[int(u)] for u in user_ids)
    return LeaveOneOut(user[keep], item[keep], item[last], negatives, zips, len(item_ids), published_negatives=False)


def _draw_negatives(users: Ids, items: Ids, num_users: int, num_items: int, seed: int) -> Ids:
    """Draw 99 distinct items per user that the user never rated; -1 where a user has fewer such items."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, num_users])))
    negatives = np.full((num_users, NUM_NEGATIVES), -1, np.int64)
    order = np.argsort(users, kind="stable")
    borders = np.searchsorted(users[order], np.arange(num_users + 1))
    for user in range(num_users):
        free = np.ones(num_items, bool)
        free[items[order[borders[user] : borders[user + 1]]]] = False
        candidates = np.flatnonzero(free)
        chosen = rng.permutation(candidates)[:NUM_NEGATIVES]
        negatives[user, : len(chosen)] = chosen
    return negatives
