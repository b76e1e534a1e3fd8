"""Reading MovieLens and Pinterest as their publishers, the NCF authors and others ship them, into plain arrays.

Layouts: `ml-1m` (ratings.dat, users.dat), `ml-100k` (u.data, u.user), NCF's leave-one-out files beside ml-1m's users (a
folder with ncf/ and ml-1m/), NCF's `pinterest-20.*`, and `train.txt` and `test.txt` with a user's items on each line
(LightGCN's, of Pinterest and other sets). Files may be xz-compressed. Used by the import alone.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.data.errors import DataError
from fljob_runtime.data.numbering import first_of_each, latest_of_each, numbered, twice
from fljob_runtime.data.threads import in_threads
from fljob_runtime.data.whole_numbers import plain_columns

Ids = NDArray[np.int64]
NUM_NEGATIVES = 99
_MOST_GAPS = 10  # item ids to an interaction; published ones have hardly a gap
_FEW_ITEMS = 1 << 20  # so many are never refused, as of a part of a file: a table of them is small
_DRAWS = 160  # of a user at first: enough who has rated up to a third of all items
_DRAWN_PAIRS = 1 << 20  # of users and items at a time, so that what is known of each stays in the cache
_NUMBERED = "items are numbered from 0, about as many as are in the files; a table has a row for each number"


@dataclass(frozen=True)
class LeaveOneOut:
    """Interactions as NCF uses them; users and items numbered from 0.

    users, items: int64 [P] positives for training; test_items: int64 [U]; negatives: int64 [U, 99], -1 where the
    published negative is the user's own test item; zip_codes: one text per user, none where they are not known;
    num_repeated: interactions of the source that were there before, and are left out.
    """

    users: Ids
    items: Ids
    test_items: Ids
    negatives: Ids
    zip_codes: tuple[str, ...]
    num_items: int
    published_negatives: bool
    num_repeated: int = 0

    @property
    def num_users(self) -> int:
        """Return how many users there are."""
        return len(self.test_items)


def read_source(source: Path, seed: int) -> LeaveOneOut:
    """Find out which layout a folder has and read it; raises DataError that lists what was looked for."""
    if _find(source / "ncf", "ml-1m.test.rating") and _find(source / "ml-1m", "users.dat"):
        return _read_ncf(source / "ncf", "ml-1m", source / "ml-1m", seed)
    for folder in (source, source / "ml-1m"):
        if _find(folder, "ratings.dat"):
            return _read_ratings(folder, "ratings.dat", "users.dat", "::", seed=seed)
    for folder in (source, source / "ml-100k"):
        if _find(folder, "u.data"):
            return _read_ratings(folder, "u.data", "u.user", None, seed=seed)
    for folder in (source, source / "ncf"):
        if _find(folder, "pinterest-20.train.rating"):
            return _read_ncf(folder, "pinterest-20", None, seed)
    for folder in (source, source / "pinterest"):
        if _find(folder, "train.txt") and _find(folder, "test.txt"):
            return _read_lists(folder, seed)
    wanted = "ratings.dat and users.dat (ml-1m), u.data and u.user (ml-100k), ncf/ml-1m.* with ml-1m/users.dat, "
    wanted += "pinterest-20.*, or train.txt and test.txt"
    raise DataError(source, f"no MovieLens or Pinterest files; looked for {wanted}, each also as .xz")


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


def _integers(path: Path, separator: str | None, columns: tuple[str, ...], checked: str = "") -> list[Ids]:
    """Read whole numbers, one row per line; extra columns are ignored. Returns int64 [rows] of each column.

    checked: one of them that is to be there, but is not wanted.
    """
    kept = [place for place, column in enumerate(columns) if column != checked]
    quick = plain_columns(path, separator, len(columns))
    if quick is not None:
        return list(in_threads(lambda place: quick[place].to_numpy(), kept))
    rows: list[tuple[int, ...]] = []
    for number, line in _lines(path):
        parts = line.split(separator)
        if len(parts) < len(columns):
            raise DataError(path, f"{len(parts)} columns; expected {', '.join(columns)}", line=number)
        rows.append(tuple(_whole(part, path, number, column) for part, column in zip(parts, columns, strict=False)))
    if not rows:
        raise DataError(path, "is empty")
    return list(np.array(rows, np.int64).T[kept])


def _whole(text: str, path: Path, line: int, column: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise DataError(path, "not a whole number", line=line, column=column) from None
    if not -(1 << 63) <= value < 1 << 63:
        raise DataError(path, "does not fit 64 bits", line=line, column=column)
    return value


def _line(path: Path, row: np.intp) -> int | None:
    """Return the number of the line that a row is from."""
    return next(islice((number for number, _ in _lines(path)), int(row), None), None)


def _check_ids(path: Path, column: str, ids: Ids, limit: int, why: str) -> None:
    bad = np.flatnonzero((ids < 0) | (ids >= limit))
    if len(bad):
        problem = f"{column} {ids[bad[0]]} is not in 0..{limit - 1}: {why}"
        raise DataError(path, problem, line=_line(path, bad[0]), column=column)


def _refuse_twice(path: Path, users: Ids, items: Ids, names: tuple[Ids, Ids]) -> None:
    """Refuse a (user, item) pair that is there twice: held out and trained on, it would flatter every metric.

    users, items: by their place in `names`; the first rows are the file's.
    """
    if pair := twice(users, items):
        first = np.flatnonzero((users == pair[0]) & (items == pair[1]))[0]
        problem = f"user {names[0][pair[0]]} has item {names[1][pair[1]]} twice, here first"
        raise DataError(path, problem, line=_line(path, first), column="item")


def _zip_codes(path: Path, separator: str) -> dict[int, str]:
    codes: dict[int, str] = {}
    for number, line in _lines(path):
        parts = line.split(separator)
        if len(parts) < 5 or not parts[0].isdecimal() or not parts[4].strip():
            raise DataError(path, "expected user, age/gender, gender/age, occupation, zip code", line=number)
        code = parts[4].strip()
        if not (code[0].isascii() and code[0].isalnum()):
            problem = f"{code!r} begins with neither a digit nor a letter, which names the user's site"
            raise DataError(path, problem, line=number, column="zip code")
        codes[_whole(parts[0], path, number, "user")] = code
    return codes


def _read_ncf(ncf: Path, name: str, users_folder: Path | None, seed: int) -> LeaveOneOut:
    """Read NCF's files of one name; users_folder: with their zip codes. Without them, negatives are drawn if absent."""
    train_path = _find(ncf, f"{name}.train.rating") or _require(ncf, f"{name}.train.rating.rebuilt")
    test_path, negative_path = _require(ncf, f"{name}.test.rating"), _find(ncf, f"{name}.test.negative")
    if users_folder is not None:
        negative_path = _require(ncf, f"{name}.test.negative")
    users, items = _integers(train_path, "\t", ("user", "item", "rating"), "rating")
    test_users, test_items = _integers(test_path, "\t", ("user", "item"))
    num_users = len(test_users)
    odd = np.flatnonzero(test_users != np.arange(num_users))
    if len(odd):
        raise DataError(test_path, "users are not 0, 1, 2, …", line=_line(test_path, odd[0]), column="user")
    _check_ids(train_path, "user", users, num_users, "the test file has a line for each user")
    most_items = max(_FEW_ITEMS, _MOST_GAPS * (len(users) + num_users))
    _check_ids(train_path, "item", items, most_items, _NUMBERED)
    _check_ids(test_path, "item", test_items, most_items, _NUMBERED)
    user_ids, user = numbered(np.concatenate([users, test_users]))
    item_ids, item = numbered(np.concatenate([items, test_items]))
    _refuse_twice(train_path, user, item, (user_ids, item_ids))
    zips = _zips(users_folder, num_users) if users_folder is not None else ()
    num_items = int(max(items.max(), test_items.max())) + 1
    if negative_path is None:
        every = np.concatenate([users, test_users]), np.concatenate([items, test_items])
        negatives, _ = draw_negatives(*every, num_users, num_items, seed)
    else:
        negatives = _read_negatives(negative_path, test_items, most_items)
        num_items = max(num_items, int(negatives.max()) + 1)
    published = negative_path is not None
    return LeaveOneOut(users, items, test_items, negatives, zips, num_items, published_negatives=published)


def _zips(users_folder: Path, num_users: int) -> tuple[str, ...]:
    codes = _zip_codes(_require(users_folder, "users.dat"), "::")
    if len(codes) != num_users:
        raise DataError(users_folder / "users.dat", f"{len(codes)} users; the test file has {num_users}")
    if lacking := [user for user in range(1, num_users + 1) if user not in codes]:
        problem = f"no line for user {lacking[0]}: users 0, 1, … of the test file are 1, 2, … here"
        raise DataError(users_folder / "users.dat", problem)
    return tuple(codes[user + 1] for user in range(num_users))


def _read_lists(folder: Path, seed: int) -> LeaveOneOut:
    """Hold out the last item of each user's line in test.txt; the others train. Ids are numbered in their order.

    An item that a user has twice counts once: Pinterest has such, even in train.txt and test.txt both.
    """
    train, test = (_require(folder, name) for name in ("train.txt", "test.txt"))
    test_rows = _item_lists(test)
    rows = np.concatenate([_item_lists(train), test_rows])
    tested, from_behind = np.unique(test_rows[::-1, 0], return_index=True)  # each user's last row
    user_ids, user = np.unique(rows[:, 0], return_inverse=True)
    item_ids, item = np.unique(rows[:, 1], return_inverse=True)
    if len(tested) != len(user_ids):
        lacking = int(np.setdiff1d(user_ids, tested)[0])
        raise DataError(test, f"no item of user {lacking}, who is in train.txt")
    last = len(rows) - 1 - from_behind
    keys = user * len(item_ids) + item
    once = np.sort(np.unique(keys, return_index=True)[1])
    kept = once[~np.isin(keys[once], keys[last])]  # what is held out may be in train.txt, too
    negatives, num_repeated = draw_negatives(user, item, len(user_ids), len(item_ids), seed)
    return LeaveOneOut(
        user[kept],
        item[kept],
        item[last],
        negatives,
        (),
        len(item_ids),
        published_negatives=False,
        num_repeated=num_repeated,
    )


def _item_lists(path: Path) -> NDArray[np.int64]:
    """Read lines of a user and items, in their order: int64 [rows, 2]. A user without an item has no row."""
    rows: list[tuple[int, int]] = []
    for number, line in _lines(path):
        user, *items = (
            _whole(part, path, number, "user" if at == 0 else f"{at + 1}") for at, part in enumerate(line.split())
        )
        rows += [(user, item) for item in items]
    if not rows:
        raise DataError(path, "is empty")
    return np.array(rows, np.int64)


def _read_negatives(path: Path, test_items: Ids, most_items: int) -> Ids:
    """Read a user's pair and 99 items a line; an item that is the user's test item is -1."""
    num_users = len(test_items)
    negatives = np.full((num_users, NUM_NEGATIVES), -1, np.int64)
    num_lines = 0
    for number, line in _lines(path):
        num_lines += 1
        pair, *items = line.split("\t")
        user = number - 1
        if user >= num_users or pair != f"({user},{test_items[user]})" or len(items) != NUM_NEGATIVES:
            raise DataError(path, f"expected the pair of user {user} and {NUM_NEGATIVES} items", line=number)
        try:
            negatives[user] = [int(item) for item in items]
        except (ValueError, OverflowError):
            negatives[user] = [_whole(item, path, number, str(at)) for at, item in enumerate(items, 2)]
    if num_lines < num_users:
        raise DataError(path, f"fewer than {num_users} lines: the file is truncated")
    bad = np.argwhere((negatives < 0) | (negatives >= most_items))
    if len(bad):
        user, at = bad[0].tolist()
        problem = f"item {negatives[user, at]} is not in 0..{most_items - 1}: {_NUMBERED}"
        raise DataError(path, problem, line=user + 1, column=str(at + 2))
    negatives[negatives == test_items[:, None]] = -1
    return negatives


def _read_ratings(folder: Path, ratings: str, users: str, separator: str | None, *, seed: int) -> LeaveOneOut:
    """Hold out each user's latest rating (ties: the later line); number items by first appearance, as NCF does."""
    path = _require(folder, ratings)
    raters, rated, times = _integers(path, separator, ("user", "item", "rating", "timestamp"), "rating")

    def number_users() -> tuple[Ids, Ids, Ids]:
        ids, user = numbered(raters)
        return ids, user, latest_of_each(user, times, len(ids))

    def number_items() -> tuple[Ids, Ids]:
        ids, place = numbered(rated)
        order = np.argsort(first_of_each(place, len(ids)))
        rank = np.empty(len(ids), np.int64)
        rank[order] = np.arange(len(ids))
        return ids[order], rank[place]

    with ThreadPoolExecutor(2, "fljob-import") as pool:
        by_user, by_item = pool.submit(number_users), pool.submit(number_items)
        codes = _zip_codes(_require(folder, users), separator or "|")
    (user_ids, user, last), (item_ids, item) = by_user.result(), by_item.result()
    unknown = [u for u in user_ids.tolist() if u not in codes]
    if unknown:
        raise DataError(folder / users, f"no line for user {unknown[0]}, who has ratings")
    negatives, num_repeated = draw_negatives(user, item, len(user_ids), len(item_ids), seed)
    if num_repeated:
        _refuse_twice(path, user, item, (user_ids, item_ids))
    keep = np.ones(len(user), np.bool_)
    keep[last] = False
    kept_users, kept_items = in_threads(lambda column: column[keep], (user, item))
    zips = tuple(codes[u] for u in user_ids.tolist())
    return LeaveOneOut(kept_users, kept_items, item[last], negatives, zips, len(item_ids), published_negatives=False)


def draw_negatives(users: Ids, items: Ids, num_users: int, num_items: int, seed: int) -> tuple[Ids, int]:
    """Draw 99 distinct items per user that the user never rated; -1 where a user has fewer such items.

    Items are drawn one after the other and those that do not count are passed over; a user who has rated so many that
    it takes too long chooses among the others. Returns also how many pairs of user and item were there before.
    """
    if (users[1:] < users[:-1]).any():
        order = np.argsort(users, kind="stable")
        users, items = users[order], items[order]
    block = max(1, _DRAWN_PAIRS // num_items)

    def draw(start: int) -> tuple[Ids, int]:
        stop = min(start + block, num_users)
        mine = slice(*np.searchsorted(users, [start, stop]))
        free = np.ones((stop - start) * num_items, np.bool_)
        free[(users[mine] - start) * num_items + items[mine]] = False
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, num_users, start])))
        return _drawn(free.reshape(-1, num_items), rng), int(np.count_nonzero(free)) - free.size

    parts = list(in_threads(draw, range(0, num_users, block)))
    return np.concatenate([part for part, _ in parts]), len(users) + sum(taken for _, taken in parts)


def _drawn(free: NDArray[np.bool_], rng: np.random.Generator) -> Ids:
    """Draw for some users at once. free: [B, items], which of the items a user may get. Returns int64 [B, 99]."""
    num_users, num_items = free.shape
    negatives = np.full((num_users, NUM_NEGATIVES), -1, np.int64)
    drawn = rng.integers(0, num_items, (num_users, _DRAWS))  # [B, T]
    places = (drawn + np.arange(0, free.size, num_items)[:, None]).ravel()  # in `free`, laid out flat
    turns = np.tile(np.arange(_DRAWS, dtype=np.int16), num_users)
    first = np.empty(free.size, np.int16)  # at which turn a place was drawn first
    first[places[::-1]] = turns[::-1]  # of several the last assignment stays
    counts = (free.ravel().take(places) & (first.take(places) == turns)).reshape(drawn.shape)
    nth = counts.cumsum(1, dtype=np.int16)
    full = nth[:, -1] >= NUM_NEGATIVES
    counts &= (nth <= NUM_NEGATIVES) & full[:, None]
    negatives[full] = drawn[counts].reshape(-1, NUM_NEGATIVES)
    for row in np.flatnonzero(~full):
        candidates = np.flatnonzero(free[row])
        chosen = rng.choice(candidates, min(NUM_NEGATIVES, len(candidates)), replace=False, shuffle=False)
        negatives[row, : len(chosen)] = chosen
    return negatives
