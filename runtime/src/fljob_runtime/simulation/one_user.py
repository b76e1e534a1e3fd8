"""One user is one client: the split of each user's ratings, and what is drawn against them.

Leave one out by time: the last rating is for the test, the one before for choosing the round, the rest for training
(He et al. 2017); among ratings of one second the file's order counts. Used by `pfedrec`. U users, I items, P pairs to
train on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from fljob_runtime.data.errors import DataError
from fljob_runtime.data.examples import Ids, Positives

NEGATIVES = 99
_COLUMNS = ("user", "item", "rating", "timestamp")


@dataclass(frozen=True)
class Split:
    """users, items: int64 [P], pairs to train on, ascending by user; valid, test: int64 [U], an item of each user."""

    num_items: int
    users: Ids
    items: Ids
    valid: Ids
    test: Ids

    @property
    def num_users(self) -> int:
        """Return how many users there are."""
        return len(self.test)

    def positives(self, *, with_held_out: bool) -> tuple[Ids, Ids]:
        """Return (users, items) of the pairs that count as seen: of training, and behind them the held-out ones."""
        if not with_held_out:
            return self.users, self.items
        everyone = np.arange(self.num_users)
        users = np.concatenate([self.users, everyone, everyone])
        return users, np.concatenate([self.items, self.valid, self.test])


def read_ratings(path: Path) -> Split:
    """Read MovieLens-100K's `u.data` (user, item, rating, time; tabs between). Raises DataError with file and line."""
    options = pyarrow.csv.ParseOptions(delimiter="\t")
    columns = dict.fromkeys(_COLUMNS, pa.int64())
    try:
        table = pyarrow.csv.read_csv(
            path,
            pyarrow.csv.ReadOptions(column_names=list(_COLUMNS), use_threads=False),
            options,
            pyarrow.csv.ConvertOptions(column_types=columns),
        )
    except (OSError, pa.ArrowException) as error:
        raise DataError(path, f"cannot be read as {', '.join(_COLUMNS)}: {error}") from error
    if any(table.column(name).null_count for name in _COLUMNS):
        raise DataError(path, "a value is missing")
    users, items, _, times = (table.column(name).to_numpy() for name in _COLUMNS)
    user_ids, users = np.unique(users, return_inverse=True)
    item_ids, items = np.unique(items, return_inverse=True)
    order = np.lexsort((times, users))  # of equal times the file's order: by item it would hold out rare ones
    users, items = users[order], items[order]
    first = np.searchsorted(users, np.arange(len(user_ids) + 1))
    few = np.flatnonzero(np.diff(first) < 3)
    if len(few):
        raise DataError(path, f"user {user_ids[few[0]]} has fewer than 3 ratings: none is left to train on")
    last = first[1:] - 1
    train = np.ones(len(users), np.bool_)
    train[last] = train[last - 1] = False
    return Split(len(item_ids), users[train], items[train], items[last - 1], items[last])


def generated(num_users: int, num_items: int, per_user: int, seed: int) -> Split:
    """Make ratings of users who like items near to them in a plane, so that there is something to learn."""
    rng = np.random.Generator(np.random.Philox(seed))
    users, items = (rng.standard_normal((count, 2)) for count in (num_users, num_items))
    liking = users @ items.T * 2.0 + rng.gumbel(size=(num_users, num_items))
    chosen = np.argsort(-liking, axis=1)[:, :per_user]  # the gumbel noise makes this a draw without putting back
    chosen = rng.permuted(chosen, axis=1)
    return Split(
        num_items,
        np.arange(num_users).repeat(per_user - 2),
        chosen[:, 2:].reshape(-1),
        chosen[:, 0],
        chosen[:, 1],
    )


def rivals(split: Split, rng: np.random.Generator) -> tuple[Ids, Ids]:
    """Draw the items that validation and test are ranked against: [U, 99] each, none that its user ever rated.

    Raises ValueError for a user who has not left enough items unrated.
    """
    users, items = split.positives(with_held_out=True)
    seen = np.zeros((split.num_users, split.num_items), np.bool_)
    seen[users, items] = True
    fewest = int(split.num_items - seen.sum(1).max())
    if fewest < 2 * NEGATIVES:
        raise ValueError(f"a user has {fewest} unrated items; {2 * NEGATIVES} are needed to rank against")
    keys = rng.random(seen.shape)
    keys[seen] = 2.0  # behind all others
    drawn = np.argpartition(keys, 2 * NEGATIVES, axis=1)[:, : 2 * NEGATIVES]
    drawn = rng.permuted(drawn, axis=1)
    return drawn[:, :NEGATIVES], drawn[:, NEGATIVES:]


def drawer(split: Split, *, leaky: bool) -> Positives:
    """Return what training negatives are drawn against.

    leaky: never a held-out item, as the published code has it, so that the test item is the one unrated item that is
    never trained as a negative; else only the pairs of training are spared, as a client that knows no future would.
    """
    users, items = split.positives(with_held_out=leaky)
    return Positives(users, items, split.num_items)
