"""What the machine does otherwise where values are exchanged within a round."""

from __future__ import annotations

from dataclasses import replace

from unit.runtime.rounds.driver import RULES, Driver

from fljob_api.strategy import Mode
from fljob_runtime.messages import Train
from fljob_runtime.rounds.values import Joined, Lost, Restore, ShardLost, Tick


def test_steps_in_lockstep_are_begun_again_without_a_trainer_that_is_gone() -> None:
    driver = Driver(replace(RULES, min_trainers=2, mode=Mode.STEP_SYNC))
    driver.to_round(1)
    driver.on(Lost("c"))
    driver.on(Tick(), after_s=9.0)
    before = driver.machine.cohort
    driver.on(Tick(), after_s=1.0)
    assert (before, driver.machine.cohort) == (("a", "b", "c"), ("a", "b"))
    assert Restore(0, anew=True) in driver.actions
    assert driver.told("a")[-1] == Train(1, driver.now + 100.0, 2, 0.5)


def test_with_a_full_quorum_steps_in_lockstep_wait_for_a_trainer_that_is_gone() -> None:
    driver = Driver(replace(RULES, mode=Mode.STEP_SYNC))
    driver.to_round(1)
    driver.on(Lost("c"))
    driver.on(Tick(), after_s=50.0)
    assert driver.machine.cohort == ("a", "b", "c")


def test_when_values_were_exchanged_a_lost_shard_costs_the_round() -> None:
    driver = Driver(replace(RULES, mode=Mode.GEO))
    driver.to_round(1)
    driver.trained("a")
    driver.on(ShardLost("killed"))
    assert driver.actions[-1] == Restore(0, anew=True)
    driver.restored(0)
    assert [type(told) for told in driver.told("a")[-2:]] == [Train, Train]
    driver.trained("a", "b", "c")
    assert driver.state == "Committing"


def test_shares_follow_from_the_samples_that_trainers_have() -> None:
    driver = Driver(replace(RULES, mode=Mode.GEO))
    driver.restored()
    for trainer, samples in (("a", 10), ("b", 30), ("c", 60)):
        driver.on(Joined(trainer, "layout", samples))
    driver.trained(*driver.machine.cohort)
    driver.committed()
    assert [driver.told(name)[-1].share for name in "abc"] == [0.1, 0.3, 0.6]
