"""Versions made of the first updates that arrive, while others still train from older ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from unit.runtime.rounds.driver import RULES, Driver, train_report
from unit.runtime.rounds.test_machine_properties import STEPS, journalled, play

from fljob_api.exit_codes import ExitCode
from fljob_api.strategy import Mode
from fljob_runtime.messages import Committed, Evaluate, Initialize, Train
from fljob_runtime.rounds.history import History
from fljob_runtime.rounds.rules import Rules
from fljob_runtime.rounds.values import (
    CommitDone,
    CommitMissing,
    ControlChanged,
    DoCommit,
    GaveUp,
    Joined,
    ListAccepted,
    Lost,
    Restore,
    Restored,
    Rewound,
    RoundCommitted,
    ShardLost,
    Tick,
    Trained,
)

TWO = replace(RULES, mode=Mode.BUFFERED, buffer_size=2, min_trainers=1, evaluate_every=100)


def begun(rules: Rules = TWO, rounds: int = 50) -> Driver:
    driver = Driver(rules, rounds=rounds)
    driver.to_round(1)
    return driver


def version(driver: Driver, *updates: tuple[str, int]) -> None:
    """Let updates arrive, each trained for a round, and the shards fold them."""
    for trainer, round_number in updates:
        driver.trained(trainer, round_number=round_number)
    driver.committed()


def listed(driver: Driver) -> list[tuple[str, int]]:
    return [(update.trainer, update.round) for update in driver.of(DoCommit)[-1].accepted]


def trains(driver: Driver, trainer: str) -> list[tuple[int, int]]:
    """Return (round, number of the task) of all that a trainer was told to train."""
    return [(told.round, told.task) for told in driver.told(trainer) if isinstance(told, Train)]


# What a version is made of.


def test_a_version_is_made_as_soon_as_the_buffer_is_full() -> None:
    driver = begun()
    driver.trained("c")
    assert driver.state == "Training"
    driver.trained("a")
    assert (driver.state, listed(driver)) == ("Committing", [("a", 1), ("c", 1)])


def test_whose_update_is_in_trains_on_from_the_new_version_and_the_others_are_left_alone() -> None:
    driver = begun()
    version(driver, ("a", 1), ("c", 1))
    assert driver.told("a")[-2:] == [Committed(1, accepted=True), Train(2, driver.now + 100.0, 3, task=2)]
    assert trains(driver, "b") == [(1, 1)]


def test_a_stale_update_counts_and_says_which_round_it_was_trained_for() -> None:
    driver = begun()
    version(driver, ("a", 1), ("c", 1))
    version(driver, ("a", 2), ("c", 2))
    driver.trained("b", round_number=1)
    driver.trained("c", round_number=3)
    assert listed(driver) == [("b", 1), ("c", 3)]


def test_the_number_of_a_task_is_that_of_the_trainer_s_own_updates() -> None:
    driver = begun()
    version(driver, ("a", 1), ("c", 1))
    version(driver, ("a", 2), ("c", 2))
    version(driver, ("b", 1), ("c", 3))
    assert (trains(driver, "b"), trains(driver, "c")[-1]) == ([(1, 1), (4, 2)], (4, 4))


def test_what_arrives_while_a_version_is_committed_is_the_first_of_the_next() -> None:
    driver = begun()
    driver.trained("a", "b", "c")
    driver.committed()
    driver.trained("b", round_number=2)
    assert listed(driver) == [("b", 2), ("c", 1)]


def test_an_update_reported_twice_counts_once() -> None:
    driver = begun()
    driver.trained("a", "a")
    assert driver.state == "Training"
    driver.trained("b")
    driver.committed()
    driver.trained("a", round_number=1)
    assert driver.machine.under_way.reports == {}


def test_an_update_that_would_become_too_stale_is_dropped_and_its_trainer_begins_anew() -> None:
    driver = begun(replace(TWO, max_staleness=1))
    version(driver, ("a", 1), ("c", 1))
    version(driver, ("a", 2), ("c", 2))
    assert driver.machine.history.commits[-1].dropped == ("b",)
    assert driver.told("b")[-2:] == [Committed(1, accepted=False), Train(3, driver.now + 100.0, 3, task=1)]
    driver.trained("b", round_number=1)
    assert driver.machine.under_way.reports == {}


def test_shards_hold_the_versions_that_trainers_still_work_from() -> None:
    driver = begun()
    for number in range(1, 6):
        version(driver, ("a", number), ("c", number))
    assert all(commit.release == () for commit in driver.of(DoCommit))
    version(driver, ("b", 1), ("c", 6))
    assert driver.of(DoCommit)[-1].release == (0, 1, 2, 3, 4)


# Who is missing.


def test_a_trainer_that_is_gone_holds_nobody_up() -> None:
    driver = begun()
    driver.on(Lost("b"))
    version(driver, ("a", 1), ("c", 1))
    assert (driver.state, driver.machine.round) == ("Training", 2)


def test_a_trainer_that_comes_back_is_told_its_task_again() -> None:
    driver = begun()
    version(driver, ("a", 1), ("c", 1))
    driver.on(Lost("b"))
    driver.join("b")
    assert trains(driver, "b") == [(1, 1), (1, 1)]


def test_with_fewer_left_than_fill_the_buffer_their_updates_do() -> None:
    driver = begun()
    driver.on(Lost("b"))
    driver.on(Lost("c"))
    driver.trained("a")
    driver.on(Tick(), after_s=9.0)
    assert driver.state == "Training"
    driver.on(Tick(), after_s=1.0)
    assert listed(driver) == [("a", 1)]


def test_below_the_quorum_a_short_version_waits_until_its_deadline() -> None:
    driver = begun(replace(TWO, min_trainers=2))
    driver.on(Lost("b"))
    driver.on(Lost("c"))
    driver.trained("a")
    driver.on(Tick(), after_s=50.0)
    assert driver.machine.waiting().name == "updates of round 1 (1 of 2 are there): b, c"
    driver.on(Tick(), after_s=50.0)
    assert driver.ending.exit_code is ExitCode.ROUND_TIMEOUT


def test_at_the_deadline_a_quorum_is_enough() -> None:
    driver = begun()
    driver.trained("a")
    driver.on(Tick(), after_s=100.0)
    assert listed(driver) == [("a", 1)]


def test_a_trainer_that_failed_for_good_is_not_asked_again() -> None:
    driver = begun()
    driver.trained("b")
    driver.on(GaveUp("b", ExitCode.BAD_DATA, "words"))
    version(driver, ("a", 1), ("c", 1))
    assert (driver.machine.cohort, trains(driver, "b")) == (("a", "c"), [(1, 1)])


# Evaluation, suspension.


def test_an_evaluation_says_which_task_is_the_first_that_is_not_in_the_version() -> None:
    driver = begun(replace(TWO, evaluate_every=1))
    version(driver, ("a", 1), ("c", 1))
    assert [driver.told(name)[-1] for name in "ab"] == [Evaluate(1, next_task=2), Evaluate(1, next_task=1)]


def test_updates_that_arrive_during_an_evaluation_are_kept() -> None:
    driver = begun(replace(TWO, evaluate_every=1))
    version(driver, ("a", 1), ("c", 1))
    driver.trained("b", round_number=1)
    driver.evaluated("a", "b", "c")
    driver.trained("c", round_number=2)
    assert listed(driver) == [("b", 1), ("c", 2)]


def test_a_suspended_job_pauses_at_the_next_version() -> None:
    driver = begun()
    driver.on(ControlChanged(replace(driver.machine.control, suspend=True)))
    version(driver, ("a", 1), ("c", 1))
    assert driver.state == "Finishing"


# What was lost.


def test_a_lost_shard_costs_the_updates_and_the_tasks_from_older_versions() -> None:
    driver = begun()
    version(driver, ("a", 1), ("c", 1))
    driver.trained("a", round_number=2)
    driver.on(ShardLost("killed"))
    assert driver.actions[-1] == Restore(1, anew=True)
    driver.restored(1)
    assert (trains(driver, "a")[-1], trains(driver, "b")) == ((2, 2), [(1, 1), (2, 1)])
    assert driver.told("b")[-2] == Committed(1, accepted=False)


def test_a_list_that_a_shard_cannot_fold_is_made_anew() -> None:
    driver = begun()
    driver.trained("a", "c")
    driver.on(CommitMissing(1, frozenset({"a"}), folded=True))
    assert driver.actions[-1] == Restore(0, anew=True)
    driver.restored(0)
    assert driver.state == "Training"
    driver.trained("b", "c")
    assert listed(driver) == [("b", 1), ("c", 1)]


def test_updates_from_versions_that_were_taken_back_do_not_count() -> None:
    driver = begun()
    version(driver, ("a", 1), ("c", 1))
    driver.on(ShardLost("killed"))
    driver.restored(0)
    driver.trained("a", "b", round_number=1)
    assert (driver.state, driver.told("a")[-1].attempt) == ("Training", 2)
    for trainer in "ab":
        driver.on(Trained(trainer, train_report(1, attempt=2)))
    assert driver.state == "Committing"


def test_when_everything_is_lost_the_job_begins_anew() -> None:
    driver = begun()
    version(driver, ("a", 1), ("c", 1))
    driver.on(ShardLost("killed"))
    driver.restored(-1)
    assert driver.told("a")[-1] == Initialize()


def test_a_restarted_coordinator_commits_the_recorded_list_and_asks_everyone_again() -> None:
    first = begun()
    version(first, ("a", 1), ("c", 1))
    version(first, ("a", 2), ("c", 2))
    first.trained("b", round_number=1)
    first.trained("a", round_number=3)
    history = History()
    for record in first.records:
        history.apply(record)
    second = Driver(TWO, rounds=50, history=history)
    second.restored(2)
    second.join("a", "b", "c")
    assert listed(second) == [("a", 3), ("b", 1)]
    second.committed()
    assert [trains(second, name) for name in "abc"] == [[(4, 4)], [(4, 2)], [(4, 3)]]


# Whatever happens.

ALL_RULES = st.builds(
    lambda quorum, size, every, stalest: replace(
        TWO, min_trainers=quorum, buffer_size=size, evaluate_every=every, max_staleness=stalest, checkpoint_every=every
    ),
    st.sampled_from(["100%", 1, 2]),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([1, 2]),
    st.sampled_from([0, 1, 10]),
)


@settings(max_examples=300)
@given(ALL_RULES, STEPS)
def test_no_update_counts_twice_and_none_is_too_stale(rules: Rules, steps: list[tuple[Any, float]]) -> None:
    driver = begun(rules, rounds=5)
    play(driver, steps)
    pending, counted = ListAccepted(-1, (), (), 0, {}), list[ListAccepted]()
    for record in driver.records:
        if isinstance(record, ListAccepted):
            pending = record
        elif isinstance(record, Rewound):
            counted = counted[: record.version + 1]
        elif isinstance(record, RoundCommitted) and record.round == len(counted):
            counted.append(pending)
    updates = [(u.trainer, u.round, u.attempt) for listed in counted[1:] for u in listed.accepted]
    assert len(set(updates)) == len(updates)
    assert all(0 <= one.round - u.round <= rules.max_staleness for one in counted[1:] for u in one.accepted)
    assert all(1 <= len(one.accepted) <= rules.buffer_size for one in counted[1:])


@settings(max_examples=300)
@given(ALL_RULES, STEPS)
def test_shards_hear_of_no_list_that_is_not_journalled(rules: Rules, steps: list[tuple[Any, float]]) -> None:
    driver = Driver(rules, rounds=5)
    play(driver, steps)
    assert all(journalled(driver.actions, index) for index, a in enumerate(driver.actions) if isinstance(a, DoCommit))


@settings(max_examples=200)
@given(ALL_RULES, STEPS)
def test_once_all_is_well_again_the_job_ends(rules: Rules, steps: list[tuple[Any, float]]) -> None:
    first = begun(rules, rounds=5)
    play(first, [step for step in steps if not isinstance(step[0], GaveUp | ControlChanged | Tick)])
    replayed = History()
    for record in first.records:
        replayed.apply(record)
    second = Driver(rules, rounds=5, history=replayed)
    play(second, [(Restored(replayed.committed), 0.0), *((Joined(name, "layout"), 0.0) for name in "abc")])
    play(second, [(None, 0.0)] * 200)
    assert (second.state, second.machine.history.committed) == ("Done", 5) or replayed.failed or first.machine.over


def test_a_commit_that_nobody_waits_for_changes_nothing() -> None:
    driver = begun()
    driver.on(CommitDone(7, durable=True))
    assert (driver.state, driver.machine.history.committed) == ("Training", 0)
