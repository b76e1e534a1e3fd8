"""What a trainer sends where the job compresses: how far it moved, and what was left unsent before.

Used by the trainer. Error feedback (Karimireddy et al. 2019, https://arxiv.org/abs/1901.09847), per round:

    due = (values - base) + left        sent = what the shards make of the bytes        left = due - sent

`left` is kept as private values are: by round, on the trainer's storage, so that a round done again begins with what
the round before it left. A row's part waits until the trainer touches the row again. In the modes that exchange within
a round, where gradients or changes travel, the same holds of every exchange, and `left` is kept when the round ends.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fljob_runtime.algorithms.fedavg import positions
from fljob_runtime.parameters import Float32Array, ModelState, RowSet
from fljob_runtime.roles.private_state import PrivateStore, merge_rows


class Compressing:
    """Makes differences of values. `left`: where what was not sent is kept; None for codecs without feedback."""

    def __init__(self, left: PrivateStore | None) -> None:
        self._left = left

    def due(self, round_number: int, base: ModelState, new: ModelState) -> ModelState:
        """Return what to push for a round: new values less those pulled, and what earlier rounds left.

        Raises KeyError for a row that was trained but not pulled.
        """
        for name, rows in new.rows.items():
            positions(base.rows[name].ids, rows.ids)
        difference = _combined(new, base, np.subtract)
        if self._left is None:
            return difference
        return _combined(difference, self._left.load(round_number - 1), np.add)

    def keep(self, round_number: int, due: ModelState, received: Callable[[ModelState], ModelState]) -> None:
        """Store what the push of `due` leaves unsent; received: what the shards make of it. Raises OSError."""
        if self._left is None:
            return
        unsent = _combined(due, received(due), np.subtract)
        older = self._left.load(round_number - 1)
        self._left.save(round_number, ModelState(unsent.dense, merge_rows(older.rows, unsent.rows)))

    def begin(self, round_number: int, *, whole: bool) -> Unsent | None:
        """Return what is unsent as a round of exchanges begins, None for codecs without feedback.

        whole: from its first exchange. A trainer that was started anew within the round does not know what the earlier
        exchanges left, only that they sent what the round before had left.
        """
        if self._left is None:
            return None
        return Unsent(self._left.load(round_number - 1) if whole else ModelState({}, {}))

    def end(self, round_number: int, unsent: Unsent | None) -> None:
        """Store what a round of exchanges leaves unsent. None: a round that another process ended. Raises OSError."""
        if self._left is not None and (unsent is not None or self._left.newest() < round_number):
            self._left.save(round_number, unsent.state if unsent is not None else ModelState({}, {}))

    def has(self, round_number: int) -> bool:
        """Return whether it is known what this very round left."""
        return self._left is not None and self._left.has(round_number)

    def discard_after(self, round_number: int) -> None:
        """Forget what rounds left that did not count."""
        if self._left is not None:
            self._left.discard_after(round_number)


class Unsent:
    """What exchanges have left unsent so far: changed by each, kept in memory."""

    def __init__(self, left: ModelState) -> None:
        self._dense = dict(left.dense)
        self._rows = {name: RowSet(rows.ids, rows.values.copy()) for name, rows in left.rows.items()}

    @property
    def state(self) -> ModelState:
        """Return it: dense values, and rows without weights."""
        return ModelState(self._dense, self._rows)

    def due(self, contribution: ModelState) -> ModelState:
        """Return what to send: a contribution, and what was left of the same parameters and rows."""
        return _combined(contribution, self.state, np.add)

    def keep(self, due: ModelState, received: ModelState) -> None:
        """Take note of an exchange that counted; received: what the shards made of what was due."""
        unsent = _combined(due, received, np.subtract)
        self._dense |= unsent.dense
        for name, rows in unsent.rows.items():
            older = self._rows.get(name)
            if older is not None and np.isin(rows.ids, older.ids, assume_unique=True).all():
                older.values[positions(older.ids, rows.ids)] = rows.values
            else:
                self._rows |= merge_rows({name: older} if older is not None else {}, {name: rows})


def _combined(one: ModelState, other: ModelState, operation: np.ufunc) -> ModelState:
    """Return operation(one, other) on the names and rows of `one`; those that `other` has not stay as they are."""
    dense = {
        name: operation(value, other.dense[name]) if name in other.dense else value for name, value in one.dense.items()
    }
    rows = {
        name: RowSet(part.ids, _combined_rows(part, other.rows[name], operation), part.weights)
        if name in other.rows
        else part
        for name, part in one.rows.items()
    }
    return ModelState(dense, rows)


def _combined_rows(one: RowSet, other: RowSet, operation: np.ufunc) -> Float32Array:
    values = one.values.copy()
    both = np.flatnonzero(np.isin(one.ids, other.ids, assume_unique=True))
    values[both] = operation(values[both], other.values[positions(other.ids, one.ids[both])])
    return values
