"""A keyed table at one shard: when rows come and go, who waits, what is refused, and what is read meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fljob_runtime.algorithms.algorithm import Averaging
from fljob_runtime.algorithms.geo import Geo
from fljob_runtime.errors import MalformedError
from fljob_runtime.initial_values import initial_rows
from fljob_runtime.server.keyed import TableCounts
from fljob_runtime.server.shard import Named, Shard
from support import keyed
from support.keyed import values
from support.shards import config

ZERO = {"initial_std": 0.0}
FAR = 2**62


class Rounds:
    """A shard and its rounds: of each trainer's rows, by id."""

    def __init__(self, tmp_path: Path, **rules: Any) -> None:
        self.layout = keyed.layout(**{**ZERO, **rules})
        self.shard = keyed.begun(self.layout, tmp_path)
        self.newest = 0

    def round(self, **rows: dict[int, float]) -> str:
        self.newest += 1
        staged = [
            keyed.push(self.layout, self.shard, keyed.rows(given), self.newest, name) for name, given in rows.items()
        ]
        return keyed.commit(self.shard, self.newest, *staged)

    def held(self, version: int | None = None) -> list[int]:
        ids: list[int] = self.shard.model().keys(self.newest if version is None else version, "items").tolist()
        return ids

    def counts(self) -> TableCounts:
        return self.shard.table_counts["items"][1]


# Rows are made on first touch.


def test_an_id_that_nobody_touched_has_its_initial_values_and_no_row(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path, initial_std=0.5)
    ids = np.array([-FAR, 7, FAR])
    expected = initial_rows(rounds.layout["items"], keyed.SEED, ids)
    assert np.array_equal(rounds.shard.model().rows(0, "items", ids), expected)
    assert rounds.held() == []


def test_a_row_is_made_by_the_update_that_touches_it(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path)
    rounds.round(a={-FAR: 2.0, 5: 3.0}, b={5: 5.0})
    assert rounds.held() == [-FAR, 5]
    assert values(rounds.shard, 1, [-FAR, 5, 6]) == [2.0, 4.0, 0.0]


def test_a_row_that_a_later_version_made_reads_as_initial_before(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path)
    rounds.round(a={5: 3.0})
    assert (values(rounds.shard, 0, [5]), rounds.held(0)) == ([0.0], [])


def test_going_back_unmakes_rows(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path)
    rounds.round(a={5: 3.0})
    rounds.shard.restore(0)
    assert (values(rounds.shard, 0, [5]), rounds.held(0)) == ([0.0], [])


def test_a_staged_update_makes_no_row_until_a_commit_names_it(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path)
    keyed.push(rounds.layout, rounds.shard, keyed.rows({8: 1.0}), 1, "late")
    rounds.round(a={5: 3.0})
    assert rounds.held() == [5]


def test_round_0_brings_no_rows(tmp_path: Path) -> None:
    layout = keyed.layout()
    shard = Shard(config(tmp_path))
    with pytest.raises(MalformedError, match="table items: its rows are made on first touch; round 0 brings none"):
        keyed.push(layout, shard, keyed.rows({3: 1.0}), 0, "a")


@pytest.mark.parametrize("ids", [[3, 1], [1, 1]])
def test_ids_out_of_order_are_refused(tmp_path: Path, ids: list[int]) -> None:
    with pytest.raises(MalformedError, match=r"table items: ids must be sorted, unique$"):
        Rounds(tmp_path).shard.model().locate("items", np.array(ids))


def test_ids_of_another_shard_are_refused(tmp_path: Path) -> None:
    shard = keyed.begun(keyed.layout(), tmp_path, num_shards=2)
    with pytest.raises(MalformedError, match="ids of another shard"):
        shard.model().locate("items", np.arange(40))


# Admission.


def test_a_row_is_made_by_the_touch_that_makes_enough(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path, admit_after=3)
    rounds.round(a={5: 3.0}, b={5: 5.0})
    assert (rounds.held(), values(rounds.shard, 1, [5])) == ([], [0.0])
    rounds.round(a={5: 7.0})
    assert (rounds.held(), values(rounds.shard, 2, [5])) == ([5], [7.0])


def test_all_updates_of_the_commit_that_lets_a_row_in_count(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path, admit_after=2)
    rounds.round(a={5: 3.0}, b={5: 5.0})
    assert values(rounds.shard, 1, [5]) == [4.0]


def test_going_back_takes_touches_back(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path, admit_after=2)
    rounds.round(a={5: 3.0})
    rounds.shard.restore(0)
    rounds.newest = 0
    rounds.round(a={5: 3.0})
    assert rounds.held() == []


def test_contributions_left_out_for_want_of_touches_are_counted(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path, admit_after=3)
    rounds.round(a={5: 3.0, 6: 1.0}, b={5: 5.0})
    rounds.round(a={5: 3.0})
    assert rounds.counts() == TableCounts(made=1, unadmitted=3)


def test_an_id_that_has_a_row_waits_no_more(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path, admit_after=2)
    rounds.round(a={5: 3.0, 6: 3.0})
    rounds.round(a={5: 3.0})
    assert rounds.shard.model().waiting("items").ids.tolist() == [6]


# Expiry.


def test_a_row_goes_when_so_many_versions_have_not_touched_it(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path, expire_after_rounds=2)
    rounds.round(a={5: 3.0, 6: 1.0})
    rounds.round(a={6: 1.0})
    assert rounds.held() == [5, 6]
    rounds.round(a={})
    assert (rounds.held(), values(rounds.shard, 3, [5, 6])) == ([6], [0.0, 1.0])


def test_a_row_that_is_gone_is_still_read_in_older_versions_and_comes_back_with_them(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path, expire_after_rounds=1)
    rounds.round(a={5: 3.0})
    rounds.round(a={6: 1.0})
    assert (values(rounds.shard, 1, [5]), rounds.held(1), rounds.held(2)) == ([3.0], [5], [6])
    rounds.shard.restore(1)
    assert (values(rounds.shard, 1, [5]), rounds.held(1)) == ([3.0], [5])


def test_touches_of_who_waits_expire_too(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path, admit_after=2, expire_after_rounds=1)
    rounds.round(a={5: 3.0})
    rounds.round(a={6: 3.0})
    rounds.round(a={5: 3.0})
    assert rounds.held() == []


def test_expired_rows_are_counted(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path, expire_after_rounds=1)
    rounds.round(a={5: 3.0, 6: 1.0})
    rounds.round(a={6: 1.0})
    assert (rounds.counts(), rounds.shard.table_counts["items"][0]) == (TableCounts(made=2, expired=1), 1)


# Limits.


def test_past_the_limit_the_lowest_ids_get_the_rows_and_the_others_are_counted(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path, max_rows=2)
    rounds.round(a={9: 1.0, -3: 2.0}, b={9: 1.0, 4: 3.0})
    assert (rounds.held(), values(rounds.shard, 1, [-3, 4, 9])) == ([-3, 4], [2.0, 3.0, 0.0])
    assert rounds.counts() == TableCounts(made=2, refused=2)


def test_rows_that_are_there_go_on_past_the_limit(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path, max_rows=1)
    rounds.round(a={9: 1.0})
    rounds.round(a={3: 1.0, 9: 2.0})
    assert (rounds.held(), values(rounds.shard, 2, [9])) == ([9], [2.0])


def test_room_that_expiry_makes_is_used_from_the_next_version_on(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path, max_rows=1, expire_after_rounds=1)
    rounds.round(a={9: 1.0})
    rounds.round(a={3: 1.0})
    assert rounds.held() == []
    rounds.round(a={3: 1.0})
    assert rounds.held() == [3]


def test_no_more_ids_wait_than_there_may_be_rows(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path, max_rows=2, admit_after=3)
    rounds.round(a=dict.fromkeys(range(100), 1.0))
    assert rounds.shard.model().waiting("items").ids.tolist() == [0, 1]


# Within a round of exchanges.


def live(tmp_path: Path, **rules: Any) -> tuple[Any, Shard]:
    layout = keyed.layout(**{**ZERO, **rules})
    return layout, keyed.begun(layout, tmp_path, exchange=Geo())


def test_a_row_that_an_exchange_makes_is_seen_at_once_and_is_the_versions_from_the_cut_on(tmp_path: Path) -> None:
    layout, shard = live(tmp_path)
    wanted = {"items": np.array([5, 6])}
    answer = keyed.exchange(layout, shard, "a", 1, keyed.rows({5: 3.0}), wanted=wanted, last=True)
    assert answer.values[1][:, 0].tolist() == [3.0, 0.0]
    assert shard.model().num_rows("items") == 0
    shard.commit(1, [Named("a", 1, "")], checkpoint=False)
    assert (values(shard, 1, [5, 6]), shard.model().keys(1, "items").tolist()) == ([3.0, 0.0], [5])


def test_a_round_that_does_not_end_leaves_nothing(tmp_path: Path) -> None:
    layout, shard = live(tmp_path, admit_after=2)
    keyed.exchange(layout, shard, "a", 1, keyed.rows({5: 3.0}))
    keyed.exchange(layout, shard, "a", 2, keyed.rows({5: 3.0, 6: 1.0}))
    shard.restore(0)
    model = shard.model()
    assert (model.num_rows("items"), model.waiting("items").ids.size) == (0, 0)
    assert shard.table_counts["items"][1] == TableCounts()


def test_exchanges_count_for_admission_one_by_one(tmp_path: Path) -> None:
    layout, shard = live(tmp_path, admit_after=2)
    wanted = {"items": np.array([5])}
    seen = [
        keyed.exchange(layout, shard, name, 1, keyed.rows({5: 3.0}), wanted=wanted, last=True).values[1][0, 0]
        for name in "abc"
    ]
    assert seen == [0.0, 3.0, 6.0]
    shard.commit(1, [Named(name, 1, "") for name in "abc"], checkpoint=False)
    assert shard.table_counts["items"] == (1, TableCounts(made=1, unadmitted=1))


def test_touches_within_a_round_go_on_in_the_next(tmp_path: Path) -> None:
    layout, shard = live(tmp_path, admit_after=2)
    keyed.exchange(layout, shard, "a", 1, keyed.rows({5: 3.0}), last=True)
    shard.commit(1, [Named("a", 1, "")], checkpoint=False)
    assert shard.model().waiting("items").touches.tolist() == [1]
    answer = keyed.exchange(layout, shard, "a", 1, keyed.rows({5: 3.0}), wanted={"items": np.array([5])}, round_=2)
    assert answer.values[1][0, 0] == 3.0


def test_the_limit_holds_within_a_round(tmp_path: Path) -> None:
    layout, shard = live(tmp_path, max_rows=2)
    for name in "ab":
        given = {ord(name): 1.0, 1000: 1.0}
        keyed.exchange(layout, shard, name, 1, keyed.rows(given), last=True)
    shard.commit(1, [Named(name, 1, "") for name in "ab"], checkpoint=False)
    assert shard.model().keys(1, "items").tolist() == [ord("a"), 1000]
    assert shard.table_counts["items"][1] == TableCounts(made=2, refused=1)


def test_part_of_the_way_to_the_mean_is_gone_from_the_initial_value(tmp_path: Path) -> None:
    class Half(Averaging):
        def part(self, name: str, num_updates: int) -> float:
            return 0.5 if name == "items" and num_updates else 1.0

    layout = keyed.layout(**ZERO)
    shard = keyed.begun(layout, tmp_path, averaging=Half())
    keyed.commit(shard, 1, keyed.push(layout, shard, keyed.rows({5: 4.0}), 1, "a"))
    assert values(shard, 1, [5]) == [2.0]
