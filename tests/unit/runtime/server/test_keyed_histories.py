"""Whole histories of a keyed table, over 1 to 4 shards, against a dict: commits, admission, expiry, limits, rewinds."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fljob_runtime.algorithms.server_optimizers import make
from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.initial_values import initial_rows
from fljob_runtime.parameters import ModelLayout, TableRules
from fljob_runtime.server.placement import shards_of
from fljob_runtime.server.shard import Named, Shard
from support import keyed
from support.shards import UID, config, named, save_named

IDS = (-(2**63), -7, -1, 0, 1, 2, 3, 2**40, 2**63 - 1)
TRAINERS = ("a", "b", "c")
Update = Mapping[int, float]


@dataclass
class Table:
    """What one shard's part should be. rows: id -> value, last version; waiting: id -> touches, last version."""

    rules: TableRules
    rows: dict[int, tuple[float, int]] = field(default_factory=dict)
    waiting: dict[int, tuple[int, int]] = field(default_factory=dict)

    def commit(self, version: int, updates: Sequence[Update]) -> None:
        limit = self.rules.max_rows or 10**9
        room, room_to_wait = limit - len(self.rows), limit - len(self.waiting)
        for row in sorted({row for update in updates for row in update}):
            sent = [update[row] for update in updates if row in update]
            touches = self.waiting.get(row, (0, 0))[0] + len(sent)
            if row not in self.rows and touches >= self.rules.admit_after and room > 0:
                room -= 1
                self.waiting.pop(row, None)
                self.rows[row] = (0.0, version)
            if row in self.rows:
                self.rows[row] = (float(np.float32(sum(sent) / len(sent))), version)
            elif self.rules.admit_after > 1 and (row in self.waiting or room_to_wait > 0):
                room_to_wait -= row not in self.waiting
                self.waiting[row] = (min(touches, self.rules.admit_after), version)
        if self.rules.expire_after_rounds:
            oldest = version - self.rules.expire_after_rounds
            self.rows = {row: kept for row, kept in self.rows.items() if kept[1] > oldest}
            self.waiting = {row: kept for row, kept in self.waiting.items() if kept[1] > oldest}


@dataclass(frozen=True)
class Commit:
    """Updates of some trainers, in the order in which they arrive."""

    updates: tuple[tuple[str, Update], ...]


@dataclass(frozen=True)
class GoBack:
    """Back by so many versions, as far as they are held."""

    versions: int


@dataclass(frozen=True)
class Release:
    """Forget versions that are so much older than the newest."""

    age: int


updates = st.dictionaries(st.sampled_from(IDS), st.integers(-64, 64).map(float), max_size=6)
commits = st.builds(
    Commit,
    st.permutations(TRAINERS)
    .flatmap(lambda order: st.integers(1, 3).map(lambda n: order[:n]))
    .flatmap(lambda order: st.tuples(*[st.tuples(st.just(name), updates) for name in order])),
)
histories = st.lists(
    st.one_of(commits, commits, st.builds(GoBack, st.integers(0, 3)), st.builds(Release, st.integers(1, 3))),
    min_size=1,
    max_size=8,
)
rules = st.fixed_dictionaries(
    {"admit_after": st.integers(1, 3), "expire_after_rounds": st.integers(0, 3), "max_rows": st.integers(0, 3)}
)


@settings(max_examples=80)
@given(rules=rules, history=histories, num_shards=st.integers(1, 4))
def test_any_history_is_that_of_dicts(rules: dict[str, Any], history: list[object], num_shards: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        layout = keyed.layout(**rules)
        shards = [keyed.begun(layout, Path(folder), shard=i, num_shards=num_shards) for i in range(num_shards)]
        owner = dict(zip(IDS, shards_of("items", np.array(IDS), num_shards).tolist(), strict=True))
        versions = {0: [Table(TableRules(**rules)) for _ in shards]}
        newest = 0
        for step in history:
            if isinstance(step, Commit):
                newest += 1
                tables = copy.deepcopy(versions[newest - 1])
                for number, (shard, table) in enumerate(zip(shards, tables, strict=True)):
                    staged = [keyed.push(layout, shard, keyed.rows(u), newest, name) for name, u in step.updates]
                    keyed.commit(shard, newest, *staged)
                    mine = [{row: v for row, v in u.items() if owner[row] == number} for _, u in sorted(step.updates)]
                    table.commit(newest, mine)
                versions[newest] = tables
            elif isinstance(step, GoBack):
                newest = max(min(versions), newest - step.versions)
                for shard in shards:
                    shard.restore(newest)
                versions = {version: held for version, held in versions.items() if version <= newest}
            elif isinstance(step, Release):
                for shard in shards:
                    shard.model().release(newest - step.age)
                versions = {version: held for version, held in versions.items() if version > newest - step.age}
            for number, shard in enumerate(shards):
                ids = [row for row in IDS if owner[row] == number]
                compare(shard, ids, {version: tables[number] for version, tables in versions.items()})


def compare(shard: Shard, ids: list[int], versions: Mapping[int, Table]) -> None:
    """Hold all that a shard says of a table's versions against what it should be."""
    model = shard.model()
    newest = max(versions)
    assert model.versions == tuple(sorted(versions))
    fresh = initial_rows(model.layout["items"], keyed.SEED, np.array(ids, np.int64))[:, 0].tolist()
    for version, table in versions.items():
        expected = [table.rows.get(row, (start, 0))[0] for row, start in zip(ids, fresh, strict=True)]
        assert keyed.values(shard, version, ids) == expected
        assert model.keys(version, "items").tolist() == sorted(table.rows)
        changed = sorted(row for row, (_, last) in versions[newest].rows.items() if last > version)
        assert model.changed_since(version)["items"].tolist() == changed
    rows, waiting = versions[newest].rows, model.waiting("items")
    keys = np.array(sorted(rows), np.int64)
    assert model.row_versions("items", keys).tolist() == [rows[key][1] for key in keys.tolist()]
    numbers = zip(waiting.touches.tolist(), waiting.versions.tolist(), strict=True)
    assert dict(zip(waiting.ids.tolist(), numbers, strict=True)) == versions[newest].waiting


@settings(max_examples=25)
@given(steps=st.lists(commits, min_size=1, max_size=4), rules=rules)
def test_neither_values_nor_digests_depend_on_what_was_made_and_undone_before(
    steps: list[Commit], rules: dict[str, Any]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        layout = keyed.layout(**rules)
        straight, crooked = (keyed.begun(layout, Path(folder)) for _ in range(2))
        detour = keyed.push(layout, crooked, keyed.rows({9: 1.0, 0: 2.0, -5: 3.0}), 1, "a")
        keyed.commit(crooked, 1, detour)
        crooked.restore(0)
        for version, step in enumerate(steps, start=1):
            digests = []
            for shard in (straight, crooked):
                staged = [keyed.push(layout, shard, keyed.rows(u), version, name) for name, u in step.updates]
                digests.append(keyed.commit(shard, version, *staged))
            assert digests[0] == digests[1]
        assert keyed.items(straight, len(steps), IDS) == keyed.items(crooked, len(steps), IDS)


@settings(max_examples=30)
@given(
    steps=st.lists(st.tuples(commits, st.booleans()), min_size=1, max_size=6),
    rules=rules,
    before=st.integers(1, 4),
    after=st.integers(1, 4),
)
def test_a_history_goes_on_over_checkpoints_with_any_number_of_shards(
    steps: list[tuple[Commit, bool]], rules: dict[str, Any], before: int, after: int
) -> None:
    """Some steps are written, the last in any case, so that files build upon each other.

    Without a limit, which is one shard's own: else what it lets in depends on the number of shards.
    """
    rules = {**rules, "max_rows": 0}
    momentum = make("Momentum", 1.0, {})
    with tempfile.TemporaryDirectory() as folder:
        layout = keyed.layout(**rules)
        options: dict[str, Any] = {"optimizer": momentum, "job_uid": UID}
        old = [keyed.begun(layout, Path(folder), shard=i, num_shards=before, **options) for i in range(before)]
        files = []
        for shard in old:
            for version, (step, checkpoint) in enumerate(steps, start=1):
                last = advance(shard, layout, version, step, checkpoint=checkpoint)
            saved = save_named(shard, len(steps), last)
            files.append(ShardFileName(saved.checkpoint, saved.checkpoint_digest))
        configs = [config(Path(folder), shard=i, num_shards=after, seed=keyed.SEED, **options) for i in range(after)]
        new = [Shard(one) for one in configs]
        for shard in new:
            shard.restore(len(steps), files)
        assert whole(old) == whole(new)
        for shard in (*old, *new):
            for version, (step, _) in enumerate(steps, start=len(steps) + 1):
                advance(shard, layout, version, step)
        assert whole(old) == whole(new)


def advance(shard: Shard, layout: ModelLayout, version: int, step: Commit, *, checkpoint: bool = False) -> list[Named]:
    """Commit a step; returns what it was named by."""
    staged = [keyed.push(layout, shard, keyed.rows(u), version, name) for name, u in step.updates]
    shard.commit(version, named(*staged), checkpoint=checkpoint)
    return named(*staged)


def whole(shards: list[Shard]) -> dict[int, tuple[bytes, bytes, int] | tuple[int, int]]:
    """Return by id what all shards together hold: values, state and version of rows, and who waits."""
    found: dict[int, tuple[bytes, bytes, int] | tuple[int, int]] = {}
    for shard in shards:
        model = shard.model()
        for row in model.keys(model.newest, "items").tolist():
            key = np.array([row])
            values, slot = (model.rows(model.newest, name, key).tobytes() for name in ("items", "items#0"))
            found[row] = (values, slot, int(model.row_versions("items", key)[0]))
        waiting = model.waiting("items")
        found |= dict(
            zip(
                waiting.ids.tolist(),
                zip(waiting.touches.tolist(), waiting.versions.tolist(), strict=True),
                strict=True,
            )
        )
    return found
