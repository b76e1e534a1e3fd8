"""A round of StepSync, Async or Geo under way at one shard: values that change while trainers train.

Used by `shard`, which makes one from the last version and cuts the next version from it. Each trainer numbers its
exchanges within the round, so one that is repeated changes nothing, and a trainer that was started anew learns
how far it was. Thread-safe; what each contribution does to the values is the mode's rule.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fljob_runtime.algorithms.exchange import Contribution, ExchangeRule, LiveState
from fljob_runtime.errors import NotReadyError, StaleError
from fljob_runtime.parameters import Float32Array, Int64Array, RowSet
from fljob_runtime.server.fold import FoldedRows
from fljob_runtime.server.staging import Staged
from fljob_runtime.server.versions import ShardModel
from fljob_runtime.server.work import Work

_MARKED_AT_ONCE = 1 << 16  # rows
STEP_WAIT_S = 20.0  # then the trainer asks again, so that a call never outlives its caller for long


@dataclass(frozen=True)
class Exchange:
    """One exchange of a trainer: its number in the round (0: nothing is sent) and what it wants to read.

    members: trainers in the round's cohort; share: this trainer's part of their samples; last: nothing more follows.
    wanted: table -> positions in this shard's part.
    """

    trainer: str
    sequence: int
    members: int
    share: float
    last: bool
    wanted: Mapping[str, Int64Array]
    dense: bool = True


@dataclass(frozen=True)
class Answer:
    """What a trainer learns: how many of its exchanges are applied, and the values it asked for.

    staleness: how often others changed the values since this trainer had read them; dropped: too often, so that its
    contribution was left out. values: the dense range [K] if wanted, then [n, D] per table, as they are now.
    """

    applied: int
    staleness: int
    dropped: bool
    values: tuple[Float32Array, ...]


@dataclass
class _Member:
    applied: int = 0
    finished: bool = False
    read_at: int = 0  # count of changes when it last read values


class LiveRound:
    """The values of one round, from the first exchange to the cut."""

    def __init__(
        self, base: ShardModel, rule: ExchangeRule, max_staleness: int | None = None, work: Work | None = None
    ) -> None:
        self.round = base.newest + 1
        self._work = work or Work()
        self._rule = rule
        self._max_staleness = max_staleness
        self._state = base.live_state()
        self._drafts = base.drafts()
        self._touched = {n: Touched(len(t)) for n, t in self._state.tables.items() if n not in self._drafts}
        self._members: dict[str, _Member] = {}
        self._waiting: dict[str, tuple[Exchange, Staged]] = {}
        self._expected = 0
        self._changes = 0
        self._ended = ""
        self._changed = threading.Condition()

    def exchange(self, asked: Exchange, staged: Staged | None) -> Answer:
        """Apply a contribution, if there is one and it is new, and return values; frees its memory.

        Raises StaleError when the round has ended or does not know the exchanges before this one (begin the round
        again), NotReadyError when the others' contributions do not come (ask again).
        """
        with self._changed:
            self._check_open()
            member = self._members.setdefault(asked.trainer, _Member())
            self._expected = asked.members  # the coordinator may have begun the round again with fewer
            self._step_if_complete()
            if asked.sequence > member.applied + 1:
                raise StaleError(
                    f"exchange {asked.sequence} of round {self.round}, but only {member.applied} of "
                    f"{asked.trainer!r} are known here: begin the round again"
                )
            staleness, dropped = 0, False
            if staged is not None and asked.sequence == member.applied + 1:
                staleness = self._changes - member.read_at
                dropped = self._max_staleness is not None and staleness > self._max_staleness
                self._take(asked, staged, member, dropped=dropped)
            elif staged is not None:
                staged.buffers.free()
            member.read_at = self._changes
            return Answer(member.applied, staleness, dropped, self._values(asked))

    @property
    def num_waiting(self) -> int:
        """Return how many contributions wait for the others' of their step."""
        with self._changed:
            return len(self._waiting)

    def unfinished(self, trainers: Sequence[str]) -> tuple[str, ...]:
        """Return those of the trainers whose last exchange has not been applied."""
        with self._changed:
            return tuple(t for t in trainers if t not in self._members or not self._members[t].finished)

    def cut(self) -> tuple[LiveState, dict[str, FoldedRows]]:
        """End the round; return its values and, by table, the rows that were changed with the state of them."""
        self.end(f"round {self.round} is committed")
        changed = {name: touched.positions() for name, touched in self._touched.items()}
        rows = {name: _folded(self._state, name, where) for name, where in changed.items() if where.size}
        return self._state, rows | {name: draft.folded() for name, draft in self._drafts.items()}

    def end(self, reason: str) -> None:
        """Take no more exchanges; those that wait fail with StaleError."""
        with self._changed:
            self._ended = reason
            for _, staged in self._waiting.values():
                staged.buffers.free()
            self._waiting.clear()
            self._changed.notify_all()

    def _take(self, asked: Exchange, staged: Staged, member: _Member, *, dropped: bool) -> None:
        if self._rule.lockstep:
            self._wait_for_step(asked, staged, member)
            return
        if not dropped:
            self._apply([(asked, staged)])
        member.applied, member.finished = asked.sequence, asked.last
        staged.buffers.free()

    def _wait_for_step(self, asked: Exchange, staged: Staged, member: _Member) -> None:
        older = self._waiting.get(asked.trainer)
        if older is not None:
            older[1].buffers.free()
        self._waiting[asked.trainer] = (asked, staged)
        self._step_if_complete()
        arrived = self._changed.wait_for(lambda: self._ended or member.applied >= asked.sequence, STEP_WAIT_S)
        self._check_open()
        if not arrived:
            raise NotReadyError(f"step {asked.sequence} of round {self.round} waits for {', '.join(self._missing())}")

    def _step_if_complete(self) -> None:
        if not self._waiting or self._missing():
            return
        contributions = [self._waiting.pop(trainer) for trainer in sorted(self._waiting)]
        self._apply(contributions)
        for asked, staged in contributions:
            member = self._members[asked.trainer]
            member.applied, member.finished = asked.sequence, asked.last
            staged.buffers.free()
        self._changed.notify_all()

    def _missing(self) -> list[str]:
        """Return whom the next step waits for."""
        unknown = self._expected - len(self._members)
        late = [t for t, m in sorted(self._members.items()) if not m.finished and t not in self._waiting]
        return late + [f"{unknown} trainers that have not begun"] * (unknown > 0)

    def _apply(self, exchanged: Sequence[tuple[Exchange, Staged]]) -> None:
        contributions = [_contribution(asked, staged) for asked, staged in exchanged]
        for name in self._drafts:
            contributions = self._entered(name, contributions)
        with self._work.folding([staged for _, staged in exchanged]):
            self._rule.apply(self._state, contributions)
        for contribution in contributions:
            for name, rows in contribution.rows.items():
                if name in self._touched:
                    self._touched[name].add(rows.ids)
        self._changes += 1

    def _entered(self, name: str, contributions: Sequence[Contribution]) -> list[Contribution]:
        """Return contributions whose rows of a keyed table are those let in, by position in the state's arrays."""
        draft, touching = self._drafts[name], [c.rows[name] for c in contributions if name in c.rows]
        entered = iter(draft.enter([rows.ids for rows in touching]))
        self._state.tables[name], *slots = draft.parts
        if self._state.table_slots:
            self._state.table_slots[name] = slots
        return [replace(c, rows=_let_in(c.rows, name, *next(entered))) if name in c.rows else c for c in contributions]

    def _values(self, asked: Exchange) -> tuple[Float32Array, ...]:
        dense = (self._state.dense.copy(),) if asked.dense else ()
        return (*dense, *(self._rows(name, where) for name, where in asked.wanted.items()))

    def _rows(self, name: str, keys: Int64Array) -> Float32Array:
        draft = self._drafts.get(name)
        return self._state.tables[name].take(keys, axis=0) if draft is None else draft.take(keys)

    def _check_open(self) -> None:
        if self._ended:
            raise StaleError(self._ended)


class Touched:
    """Which rows of a plain table were changed, marked many calls at a time: the marks are in the cache then."""

    def __init__(self, num_rows: int) -> None:
        self._marked = np.zeros(num_rows, np.bool_)
        self._added: list[Int64Array] = []
        self._room = _MARKED_AT_ONCE

    def add(self, positions: Int64Array) -> None:
        """Note rows by position."""
        self._added.append(positions.copy())
        self._room -= positions.size
        if self._room < 0:
            self._mark()

    def positions(self) -> Int64Array:
        """Return the sorted positions of all rows noted."""
        self._mark()
        return np.flatnonzero(self._marked)

    def _mark(self) -> None:
        for positions in self._added:
            self._marked[positions] = True
        self._added, self._room = [], _MARKED_AT_ONCE


def _contribution(asked: Exchange, staged: Staged) -> Contribution:
    rows = {name: RowSet(r.positions, r.values, r.weights) for name, r in staged.rows.items()}
    return Contribution(staged.dense, rows, staged.header.num_samples, asked.share)


def _let_in(rows: Mapping[str, RowSet], name: str, which: Int64Array, positions: Int64Array) -> Mapping[str, RowSet]:
    """Return rows of which those of one table are some only, under other names."""
    given = rows[name]
    return {**rows, name: RowSet(positions, given.values[which], given.weights[which])}


def _folded(state: LiveState, name: str, positions: Int64Array) -> FoldedRows:
    slots = tuple(slot.take(positions, axis=0) for slot in state.slots_of(name))
    return FoldedRows(positions, state.tables[name].take(positions, axis=0), slots)
