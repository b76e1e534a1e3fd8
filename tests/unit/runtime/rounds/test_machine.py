from __future__ import annotations

from dataclasses import replace

import pytest
from unit.runtime.rounds.driver import RULES, Driver, train_report

from fljob_api.exit_codes import ExitCode
from fljob_api.spec import CriterionMetric, CriterionOperator, StopCriterion
from fljob_runtime.messages import Committed, Evaluate, Finish, Initialize, Outcome, Repush, Train
from fljob_runtime.rounds.history import History
from fljob_runtime.rounds.rules import Control
from fljob_runtime.rounds.values import (
    CohortChosen,
    CommitMissing,
    ControlChanged,
    DoCommit,
    Durable,
    Evaluated,
    GaveUp,
    Joined,
    ListAccepted,
    Lost,
    Note,
    Restore,
    Restored,
    RoundCommitted,
    RoundDurable,
    Save,
    Saved,
    ShardLost,
    Stop,
    Tick,
    Trained,
    TrainerMended,
    Unrecoverable,
)


def test_first_action_asks_the_shards_what_they_hold() -> None:
    assert Driver().actions == [Restore(-1)]


def test_round_zero_asks_one_trainer_for_initial_values() -> None:
    driver = Driver()
    driver.restored()
    driver.join("a", "b", "c")
    assert [driver.told(name) for name in "abc"] == [[Initialize()], [], []]


def test_training_does_not_begin_before_the_quorum_is_there() -> None:
    driver = Driver()
    driver.restored()
    driver.join("a", "b")
    assert driver.state == "Waiting"


def test_training_does_not_begin_before_the_shards_are_there() -> None:
    driver = Driver()
    driver.join("a", "b", "c")
    assert driver.state == "Waiting"


def test_every_member_of_the_cohort_is_told_to_train_with_the_deadline() -> None:
    driver = Driver()
    driver.to_round(1)
    assert [driver.told(name)[-1] for name in "abc"] == [Train(1, driver.now + 100.0, 3, 1 / 3)] * 3


def test_accepted_list_is_journalled_before_the_shards_hear_of_it() -> None:
    driver = Driver()
    driver.to_round(1)
    driver.trained("c", "a")
    done = driver.on(Trained("b", train_report(1)))
    kinds = [type(getattr(action, "record", action)) for action in done]
    assert kinds == [ListAccepted, DoCommit]


def test_accepted_updates_are_in_the_order_of_trainer_names() -> None:
    driver = Driver()
    driver.to_round(1)
    driver.trained("c", "a", "b")
    assert [update.trainer for update in driver.of(DoCommit)[-1].accepted] == ["a", "b", "c"]


def test_commit_tells_every_trainer_whether_its_update_counts() -> None:
    driver = Driver(replace(RULES, count=2))
    driver.to_round(1)
    cohort = driver.machine.cohort
    driver.trained(*cohort)
    driver.committed()
    told = {name: driver.told(name)[-2] for name in "abc"}
    assert told == {name: Committed(1, name in cohort) for name in "abc"}


def test_a_committed_round_is_evaluated_by_all() -> None:
    driver = Driver()
    driver.to_round(1)
    driver.trained("a", "b", "c")
    driver.committed()
    assert [driver.told(name)[-1] for name in "abc"] == [Evaluate(1, 2)] * 3


def test_evaluation_every_second_round_skips_the_first() -> None:
    driver = Driver(replace(RULES, evaluate_every=2), rounds=4)
    driver.to_round(1)
    driver.trained("a", "b", "c")
    driver.committed()
    assert (driver.state, driver.machine.round) == ("Training", 2)


def test_the_last_round_is_evaluated_even_when_it_is_not_due() -> None:
    driver = Driver(replace(RULES, evaluate_every=5), rounds=1)
    driver.to_round(1)
    driver.trained("a", "b", "c")
    driver.committed()
    assert driver.state == "Evaluating"


def test_the_job_is_done_after_its_rounds() -> None:
    driver = Driver(rounds=1)
    driver.to_round(1)
    driver.trained("a", "b", "c")
    driver.committed()
    driver.evaluated("a", "b", "c")
    driver.on(Saved(durable=True, model="model"))
    assert (driver.state, driver.ending.reason, driver.ending.exit_code) == ("Done", "Completed", ExitCode.DONE)


def test_rounds_that_grow_while_running_are_trained() -> None:
    driver = Driver(rounds=1)
    driver.to_round(1)
    driver.on(ControlChanged(Control(rounds=2)))
    driver.trained("a", "b", "c")
    driver.committed()
    driver.evaluated("a", "b", "c")
    assert (driver.state, driver.machine.round) == ("Training", 2)


def test_a_stop_criterion_ends_the_job_early() -> None:
    criterion = StopCriterion(metric=CriterionMetric.AUC, operator=CriterionOperator.GREATER_OR_EQUAL, value="0.7")
    driver = Driver(rounds=9, stop_criteria=(criterion,))
    driver.to_round(1)
    driver.trained("a", "b", "c")
    driver.committed()
    driver.evaluated("a", "b", "c", auc=0.75)
    driver.on(Saved())
    assert (driver.state, driver.ending.reason) == ("Done", "StopCriterionMet")


def test_quorum_of_all_waits_for_a_lost_trainer_and_has_it_repeat_the_round() -> None:
    driver = Driver()
    driver.to_round(1)
    driver.trained("a", "b")
    driver.on(Lost("c"))
    driver.on(Tick(), after_s=50.0)
    driver.join("c")
    assert (driver.state, driver.told("c")[-1]) == ("Training", Train(1, 1100.0, 3, 1 / 3))


def test_a_lost_trainer_is_not_waited_for_when_the_others_are_a_quorum() -> None:
    driver = Driver(replace(RULES, min_trainers=2))
    driver.to_round(1)
    driver.trained("a", "b")
    driver.on(Lost("c"))
    driver.on(Tick(), after_s=10.0)
    assert driver.records[-1].dropped == ("c",)


def test_a_lost_trainer_has_the_grace_time_to_come_back() -> None:
    driver = Driver(replace(RULES, min_trainers=2))
    driver.to_round(1)
    driver.trained("a", "b")
    driver.on(Lost("c"))
    driver.on(Tick(), after_s=9.0)
    assert driver.state == "Training"


def test_at_the_deadline_a_quorum_is_committed_without_the_stragglers() -> None:
    driver = Driver(replace(RULES, min_trainers="60%"))
    driver.to_round(1)
    driver.trained("a", "c")
    driver.on(Tick(), after_s=100.0)
    assert [update.trainer for update in driver.of(DoCommit)[-1].accepted] == ["a", "c"]


def test_at_the_deadline_less_than_a_quorum_fails_and_names_the_missing() -> None:
    driver = Driver()
    driver.to_round(1)
    driver.trained("a")
    driver.on(Tick(), after_s=100.0)
    assert (driver.ending.reason, driver.ending.exit_code) == ("RoundTimeout", 21)
    assert "b, c" in driver.ending.message


def test_a_report_of_another_round_is_not_counted() -> None:
    driver = Driver()
    driver.to_round(2)
    driver.trained("a", "b", "c", round_number=1)
    assert driver.state == "Training"


def test_a_late_joiner_enters_the_next_round() -> None:
    driver = Driver(replace(RULES, min_trainers=2))
    driver.restored()
    driver.join("a", "b")
    driver.on(Tick(), after_s=10.0)
    driver.trained("a")
    driver.committed()
    driver.join("c")
    driver.trained("a", "b")
    driver.committed()
    driver.evaluated("a", "b", "c")
    assert driver.machine.cohort == ("a", "b", "c")


def test_startup_deadline_names_the_trainers_that_never_came() -> None:
    driver = Driver()
    driver.restored()
    driver.join("a", "b")
    driver.on(Tick(), after_s=50.0)
    assert (driver.ending.exit_code, driver.ending.message[-3:]) == (ExitCode.STARTUP_TIMEOUT, ": c")


def test_a_trainer_that_failed_for_good_makes_a_full_quorum_impossible() -> None:
    driver = Driver()
    driver.to_round(1)
    driver.on(GaveUp("b", ExitCode.BAD_DATA, "b: x.parquet: no such file"))
    assert driver.ending.exit_code is ExitCode.QUORUM_IMPOSSIBLE
    assert "x.parquet" in driver.ending.message


def test_a_trainer_that_gives_up_is_let_go_at_once() -> None:
    driver = Driver(replace(RULES, min_trainers=2))
    driver.to_round(1)
    driver.on(GaveUp("b", ExitCode.BAD_DATA, "broken"))
    word = driver.told("b")[-1]
    assert (word.outcome, word.exit_code) == (Outcome.REFUSED, ExitCode.BAD_DATA)


def test_a_failed_trainer_is_done_without_when_the_quorum_allows_it() -> None:
    driver = Driver(replace(RULES, min_trainers=2))
    driver.to_round(1)
    driver.on(GaveUp("b", ExitCode.BAD_DATA, "broken"))
    driver.trained("a", "c")
    assert driver.state == "Committing"


def test_more_failed_trainers_than_allowed_end_the_job() -> None:
    driver = Driver(replace(RULES, min_trainers=1, max_failed_trainers=0))
    driver.to_round(1)
    driver.on(GaveUp("b", ExitCode.BAD_DATA, "broken"))
    assert driver.ending.exit_code is ExitCode.QUORUM_IMPOSSIBLE


def test_a_failed_member_of_a_small_cohort_is_replaced() -> None:
    driver = Driver(replace(RULES, count=1))
    driver.to_round(1)
    (member,) = driver.machine.cohort
    driver.on(GaveUp(member, ExitCode.BAD_DATA, "broken"))
    assert driver.state == "Training"
    assert driver.machine.cohort != (member,)


def test_a_restarted_coordinator_knows_who_failed_for_good() -> None:
    driver = Driver(replace(RULES, min_trainers=2))
    driver.to_round(1)
    driver.on(GaveUp("b", ExitCode.BAD_DATA, "broken"))
    again = Driver(replace(RULES, min_trainers=2), history=driver.machine.history)
    again.restored(0)
    again.join("a", "c")
    assert (again.state, again.machine.cohort) == ("Training", ("a", "b", "c"))
    again.trained("a", "c")
    assert again.state == "Committing"


def test_a_failed_trainer_that_comes_back_has_been_mended() -> None:
    driver = Driver(replace(RULES, min_trainers=2))
    driver.to_round(1)
    driver.on(GaveUp("b", ExitCode.BAD_DATA, "broken"))
    driver.join("b")
    assert driver.records[-1] == TrainerMended("b")
    assert driver.machine.roster.failed == driver.machine.history.failed.keys() == set()


def test_a_stranger_that_gives_up_is_not_counted_as_failed() -> None:
    driver = Driver()
    driver.to_round(1)
    driver.on(GaveUp("stranger", ExitCode.BAD_DATA, "broken"))
    assert (driver.state, driver.machine.history.failed) == ("Training", {})


def test_a_temporary_failure_counts_as_lost() -> None:
    driver = Driver()
    driver.to_round(1)
    driver.on(GaveUp("b", ExitCode.TEMPORARY, "server not reachable"))
    assert (driver.state, driver.machine.roster.failed) == ("Training", set())


def test_divergence_at_one_trainer_ends_the_job() -> None:
    driver = Driver()
    driver.to_round(1)
    driver.on(GaveUp("b", ExitCode.DIVERGED, "loss is nan"))
    assert driver.ending.exit_code is ExitCode.DIVERGED


def test_a_trainer_with_another_layout_is_refused() -> None:
    driver = Driver(replace(RULES, min_trainers=2))
    driver.to_round(1)
    driver.on(Lost("c"))
    driver.on(Joined("c", "other"))
    assert driver.told("c")[-1].exit_code is ExitCode.LAYOUT_MISMATCH


def test_before_the_first_version_the_layout_of_the_majority_is_the_jobs() -> None:
    driver = Driver(replace(RULES, min_trainers=2))
    driver.restored()
    for trainer, layout in (("a", "odd"), ("b", "common"), ("c", "common")):
        driver.on(Joined(trainer, layout))
    assert driver.machine.roster.failed == {"a"}


def test_an_unknown_trainer_is_refused() -> None:
    driver = Driver()
    driver.on(Joined("stranger", "layout"))
    assert driver.told("stranger")[-1].outcome is Outcome.REFUSED


def test_suspend_waits_for_the_end_of_the_round() -> None:
    driver = Driver()
    driver.to_round(1)
    driver.on(ControlChanged(Control(suspend=True, rounds=2)))
    driver.trained("a", "b", "c")
    driver.committed()
    driver.evaluated("a", "b", "c")
    driver.on(Saved())
    assert (driver.state, driver.ending.exit_code, driver.ending.round) == ("Paused", ExitCode.STOPPED, 1)


def test_suspend_drops_the_round_after_its_grace_time() -> None:
    driver = Driver()
    driver.to_round(1)
    driver.on(ControlChanged(Control(suspend=True, rounds=2)))
    driver.on(Tick(), after_s=5.0)
    driver.on(Saved())
    assert (driver.state, driver.ending.round) == ("Paused", 0)


def test_suspend_taken_back_within_the_round_changes_nothing() -> None:
    driver = Driver()
    driver.to_round(1)
    driver.on(ControlChanged(Control(suspend=True, rounds=2)))
    driver.on(ControlChanged(Control(suspend=False, rounds=2)))
    driver.on(Tick(), after_s=6.0)
    assert driver.state == "Training"


def test_a_shard_started_anew_is_restored_and_the_updates_are_asked_for_again() -> None:
    driver = Driver()
    driver.to_round(2)
    driver.trained("a", "b")
    asked = driver.on(ShardLost("restarted"))
    driver.on(Restored(1))
    assert asked == [Restore(1)]
    assert [driver.told(name)[-1] for name in "ab"] == [Repush(2), Repush(2)]


def test_no_commit_is_asked_of_a_shard_that_is_not_restored() -> None:
    driver = Driver()
    driver.to_round(2)
    driver.trained("a", "b")
    driver.on(ShardLost("restarted"))
    driver.trained("c")
    assert driver.state == "Training"


def test_a_version_that_is_on_disk_at_last_is_noted_while_later_rounds_are_made() -> None:
    driver = Driver(rounds=9)
    driver.to_round(4)
    assert driver.on(Durable(2)) == [Note(RoundDurable(2))]


def test_what_was_written_of_a_version_that_is_lost_is_not_noted() -> None:
    driver = Driver(rounds=9)
    driver.to_round(4)
    driver.on(ShardLost("restarted"))
    driver.on(Restored(2))
    assert not any(isinstance(action, Note) for action in driver.on(Durable(3)))


def test_rounds_newer_than_the_durable_version_are_repeated() -> None:
    driver = Driver(rounds=9)
    driver.to_round(4)
    driver.on(ShardLost("restarted"))
    driver.on(Restored(2))
    assert (driver.machine.round, driver.machine.repeated) == (3, 1)


def test_with_nothing_durable_the_job_begins_again_with_the_initial_model() -> None:
    driver = Driver(rounds=9)
    driver.to_round(2)
    driver.on(ShardLost("restarted"))
    driver.on(Restored(-1))
    assert driver.told("a")[-1] == Initialize()


def test_an_update_missing_at_commit_is_pushed_again_and_then_committed() -> None:
    driver = Driver()
    driver.to_round(1)
    driver.trained("a", "b", "c")
    driver.on(CommitMissing(1, frozenset({"b"}), folded=False))
    assert driver.told("b")[-1] == Repush(1)
    driver.trained("b")
    assert (driver.state, len(driver.of(DoCommit))) == ("Committing", 3)  # rounds 0, 1 and 1 again


def test_a_list_that_one_shard_folded_is_never_made_smaller() -> None:
    driver = Driver(replace(RULES, min_trainers=1))
    driver.to_round(1)
    driver.trained("a", "b", "c")
    driver.on(CommitMissing(1, frozenset({"b"}), folded=True))
    driver.on(Lost("b"))
    driver.on(Tick(), after_s=99.0)
    assert driver.state == "Training"


def test_a_restarted_coordinator_repeats_the_recorded_cohort() -> None:
    history = History()
    first = Driver(replace(RULES, count=2), history=history)
    first.to_round(1)
    second = Driver(replace(RULES, count=2), history=history)
    second.restored(0)
    second.join("a", "b", "c")
    assert second.machine.cohort == first.machine.cohort
    assert [r for r in second.records if isinstance(r, CohortChosen)] == []


def test_a_restarted_coordinator_commits_the_recorded_list() -> None:
    history = History()
    first = Driver(history=history)
    first.to_round(1)
    first.trained("a", "b", "c")
    second = Driver(history=history)
    second.restored(0)
    second.join("a", "b", "c")
    assert second.of(DoCommit)[-1].accepted == first.of(DoCommit)[-1].accepted


def test_a_restarted_coordinator_evaluates_what_was_not() -> None:
    history = History()
    first = Driver(history=history)
    first.to_round(1)
    first.trained("a", "b", "c")
    first.committed()
    second = Driver(history=history)
    second.restored(1)
    second.join("a", "b", "c")
    assert second.state == "Evaluating"


def test_a_finished_job_that_is_started_again_needs_no_trainers() -> None:
    history = History()
    first = Driver(rounds=1, history=history)
    first.to_round(1)
    first.trained("a", "b", "c")
    first.committed()
    first.evaluated("a", "b", "c")
    second = Driver(rounds=1, history=history)
    second.restored(1)
    assert second.state == "Finishing"


@pytest.mark.parametrize("suspend", [False, True])
def test_who_ended_ends_alike_after_a_restart_and_needs_no_shard(*, suspend: bool) -> None:
    first = Driver(rounds=1)
    first.to_round(1)
    first.trained("a", "b", "c")
    first.committed()
    first.evaluated("a", "b", "c")
    first = Driver(rounds=1, history=first.machine.history, suspend=suspend)
    first.restored(1)
    first.on(Saved(durable=True, model="model"))
    again = Driver(rounds=5, history=first.machine.history)
    assert [again.of(Restore), len(again.of(Save))] == [[], 1]
    again.on(Saved(durable=True, model="model"))
    assert (again.ending, again.records, again.machine.over) == (first.ending, [], True)


def test_who_failed_fails_alike_after_a_restart() -> None:
    first = Driver()
    first.on(Unrecoverable(ExitCode.CHECKPOINT_UNUSABLE, "volume is full"))
    again = Driver(history=first.machine.history)
    assert (again.ending, again.of(Restore), again.state) == (first.ending, [], "Failed")


def test_the_next_start_of_a_job_that_failed_goes_on() -> None:
    first = Driver()
    first.on(Unrecoverable(ExitCode.CHECKPOINT_UNUSABLE, "volume is full"))
    again = Driver(replace(RULES, incarnation=1), history=first.machine.history)
    assert (again.actions, again.state) == ([Restore(-1)], "Waiting")


def test_a_trainer_that_joins_after_the_end_is_told_so() -> None:
    driver = Driver()
    driver.on(Unrecoverable(ExitCode.CHECKPOINT_UNUSABLE, "volume is full"))
    driver.on(Joined("a", "layout"))
    assert driver.told("a")[-1] == Finish(
        Outcome.FAILED, "CheckpointUnusable", "volume is full", ExitCode.CHECKPOINT_UNUSABLE
    )


def test_nothing_happens_after_the_end() -> None:
    driver = Driver()
    driver.on(Unrecoverable(ExitCode.CHECKPOINT_UNUSABLE, "volume is full"))
    assert driver.on(Restored(0)) == []


@pytest.mark.parametrize(("round_number", "words"), [(0, "updates of round 0: a"), (1, "updates of round 1: a, b, c")])
def test_the_wait_says_whose_updates_are_missing(round_number: int, words: str) -> None:
    driver = Driver()
    driver.restored()
    driver.join("a", "b", "c")
    for _ in range(round_number):
        driver.trained("a")
        driver.committed()
    wait = driver.machine.waiting()
    assert wait is not None
    assert (wait.name, wait.deadline - wait.since) == (words, 100.0)


def test_the_versions_kept_are_the_newest_two_and_the_best() -> None:
    driver = Driver(rounds=9)
    driver.to_round(1)
    driver.trained("a", "b", "c")
    driver.committed()
    driver.evaluated("a", "b", "c", auc=0.9)  # version 1 is the best
    driver.to_round(5)
    driver.trained("a", "b", "c")
    released = {version for action in driver.of(DoCommit) for version in action.release}
    assert released == {0, 2, 3}


def test_an_evaluation_short_of_its_quorum_ends_the_job_at_the_deadline() -> None:
    driver = Driver()
    driver.to_round(1)
    driver.trained("a", "b", "c")
    driver.committed()
    driver.evaluated("a", "b")
    driver.on(Tick(), after_s=100.0)
    assert driver.ending.exit_code is ExitCode.ROUND_TIMEOUT


def test_round_metrics_are_those_of_all_trainers() -> None:
    driver = Driver()
    driver.to_round(1)
    driver.trained("a", "b", "c")
    driver.committed()
    driver.evaluated("a", auc=0.5)
    driver.evaluated("b", auc=0.6)
    driver.evaluated("c", auc=0.7)
    assert driver.machine.history.commits[1].metrics == pytest.approx({"AUC": 0.6})


def test_a_round_is_recorded_once() -> None:
    driver = Driver()
    driver.to_round(1)
    driver.trained("a", "b", "c")
    driver.committed()
    driver.committed()
    assert [r.round for r in driver.records if isinstance(r, RoundCommitted)] == [0, 1]
    assert not driver.of(Stop)


def test_a_second_evaluation_report_replaces_the_first() -> None:
    driver = Driver()
    driver.to_round(1)
    driver.trained("a", "b", "c")
    driver.committed()
    driver.evaluated("a", auc=0.1)
    driver.evaluated("a", "b", "c", auc=0.6)
    assert driver.machine.history.commits[1].metrics == pytest.approx({"AUC": 0.6})
    assert not [event for event in driver.actions if isinstance(event, Evaluated)]
