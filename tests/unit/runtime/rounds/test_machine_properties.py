"""Whatever happens in whatever order: a round counts once, never below its quorum, and the end is the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from unit.runtime.rounds.driver import RULES, Driver, answers, train_report

from fljob_api.exit_codes import ExitCode
from fljob_runtime.messages import EvaluateReport
from fljob_runtime.rounds.history import History
from fljob_runtime.rounds.rules import Control, Rules
from fljob_runtime.rounds.states import TERMINAL
from fljob_runtime.rounds.values import (
    Action,
    CommitDone,
    CommitMissing,
    ControlChanged,
    DoCommit,
    Evaluated,
    GaveUp,
    Joined,
    ListAccepted,
    Lost,
    Note,
    Restored,
    Rewound,
    RoundCommitted,
    Saved,
    ShardLost,
    Stop,
    Tick,
    Trained,
)

TRAINERS = st.sampled_from(RULES.trainers)
ROUNDS = st.integers(0, 4)
EVENTS = st.one_of(
    st.builds(Joined, TRAINERS, st.just("layout")),
    st.builds(Lost, TRAINERS),
    st.builds(Trained, TRAINERS, ROUNDS.map(train_report)),
    st.builds(Evaluated, TRAINERS, ROUNDS.map(lambda version: EvaluateReport(version, b"0.6"))),
    st.builds(GaveUp, TRAINERS, st.sampled_from([ExitCode.TEMPORARY, ExitCode.BAD_DATA]), st.just("words")),
    st.builds(Restored, st.integers(-1, 3)),
    st.builds(ShardLost, st.just("words")),
    st.builds(CommitDone, ROUNDS, st.booleans()),
    st.builds(CommitMissing, ROUNDS, st.frozensets(TRAINERS, min_size=1), st.booleans()),
    st.builds(ControlChanged, st.builds(Control, st.booleans(), st.integers(1, 4))),
    st.just(Saved()),
    st.just(Tick()),
)
STEPS = st.lists(st.tuples(st.one_of(st.none(), EVENTS), st.sampled_from([0.0, 0.5, 11.0])), max_size=80)
ALL_RULES = st.builds(
    lambda quorum, count, every: replace(RULES, min_trainers=quorum, count=count, checkpoint_every=every),
    st.sampled_from(["100%", "50%", 1, 2]),
    st.sampled_from([None, 2]),
    st.sampled_from([1, 2]),
)


def play(driver: Driver, steps: list[tuple[Any, float]]) -> None:
    """Feed events; None stands for the healthy answer to the oldest action that is not answered yet."""
    answered = 0
    for event, seconds in steps:
        if event is None:
            waiting = [a for action in driver.actions[answered:] if (a := answers(action)) is not None]
            answered = len(driver.actions)
            for answer in waiting:
                driver.on(answer, after_s=seconds)
        elif not (isinstance(event, Restored) and event.version > driver.machine.history.committed):
            driver.on(event, after_s=seconds)


@settings(max_examples=300)
@given(ALL_RULES, STEPS)
def test_rounds_count_once_and_in_order(rules: Rules, steps: list[tuple[Any, float]]) -> None:
    driver = Driver(rules, rounds=3)
    driver.to_round(1)
    play(driver, steps)
    newest = -1
    for record in driver.records:
        if isinstance(record, RoundCommitted):
            assert record.round == newest + 1 or (record.round == newest and record.durable)
            newest = record.round
        elif isinstance(record, Rewound):
            assert record.version < newest
            newest = record.version


@settings(max_examples=300)
@given(ALL_RULES, st.sets(TRAINERS), st.sets(TRAINERS), STEPS)
def test_no_list_is_accepted_below_the_quorum(
    rules: Rules, reported: set[str], lost: set[str], steps: list[tuple[Any, float]]
) -> None:
    driver = Driver(rules, rounds=3)
    driver.to_round(1)
    driver.trained(*sorted(reported))
    for trainer in sorted(lost):
        driver.on(Lost(trainer))
    play(driver, [(Tick(), 11.0), *steps, (Tick(), 101.0)])
    sizes = [len(r.accepted) for r in driver.records if isinstance(r, ListAccepted) and r.round > 0]
    assert all(size >= driver.machine.rules.required for size in sizes)


@settings(max_examples=300)
@given(ALL_RULES, STEPS, st.lists(EVENTS, max_size=10))
def test_after_the_end_nothing_changes(rules: Rules, steps: list[tuple[Any, float]], late: list[Any]) -> None:
    driver = Driver(rules, rounds=1)
    play(driver, steps)
    play(driver, [(None, 0.0)] * 40 + [(Tick(), 11.0)] * 20)
    before = (driver.state, len(driver.records), len(driver.of(Stop)))
    play(driver, [(event, 0.0) for event in late])
    after = (driver.state, len(driver.records), len(driver.of(Stop)))
    assert driver.machine.state not in TERMINAL or (before == after and before[2] == 1)


@settings(max_examples=300)
@given(ALL_RULES, STEPS)
def test_shards_hear_of_no_list_that_is_not_journalled(rules: Rules, steps: list[tuple[Any, float]]) -> None:
    driver = Driver(rules, rounds=3)
    play(driver, steps)
    assert all(journalled(driver.actions, index) for index, a in enumerate(driver.actions) if isinstance(a, DoCommit))


def journalled(actions: list[Action], index: int) -> bool:
    """Whether the newest accepted list before the commit at this index is the one that it names."""
    commit = actions[index]
    notes = [a.record for a in actions[:index] if isinstance(a, Note) and isinstance(a.record, ListAccepted)]
    return bool(notes) and (notes[-1].round, notes[-1].accepted) == (commit.round, commit.accepted)


@settings(max_examples=200)
@given(ALL_RULES, STEPS, STEPS)
def test_a_restart_at_any_moment_goes_on_from_the_journal(
    rules: Rules, before: list[tuple[Any, float]], after: list[tuple[Any, float]]
) -> None:
    first = Driver(rules, rounds=3)
    first.to_round(1)
    play(first, before)
    replayed = History()
    for record in first.records:
        replayed.apply(record)
    assert replayed.commits == first.machine.history.commits
    second = Driver(rules, rounds=3, history=replayed)
    play(second, [(None, 0.0), *after])
    assert second.machine.history.committed >= -1
