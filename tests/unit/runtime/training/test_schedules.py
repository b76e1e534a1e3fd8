"""Learning rates by round, worked out by hand; and that training takes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from unit.runtime.training.tiny import trainer

from fljob_api.optimizer import Schedule
from fljob_api.strategy import Mode, StrategySpec
from fljob_runtime.training.schedules import factor
from fljob_runtime.training.stepwise import ReplicaRound, stepwise_round


def factors(rounds: int, **fields: Any) -> list[float]:
    schedule = Schedule.model_validate(fields)
    return [factor(schedule, number) for number in range(1, rounds + 1)]


def test_without_a_schedule_the_rate_stays() -> None:
    assert [factor(None, number) for number in (1, 2, 1000)] == [1.0, 1.0, 1.0]


def test_constant_is_the_same_as_no_schedule() -> None:
    assert factors(3, name="Constant") == [1.0, 1.0, 1.0]


def test_the_rate_rises_in_equal_steps_and_stays() -> None:
    assert factors(6, name="WarmUp", warmUpRounds=4) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_the_quadratic_decay_is_that_of_dlrm() -> None:
    # DLRM's LRPolicyScheduler with 2 steps of warm-up and a decay of 4 from step 3: its last rate is kept.
    expected = [0.5, 1.0, 1.0, (3 / 4) ** 2, (2 / 4) ** 2, (1 / 4) ** 2, (1 / 4) ** 2]
    assert factors(7, name="QuadraticDecay", warmUpRounds=2, decayRounds=4) == expected


def test_a_decay_may_begin_later_than_the_warm_up_ends() -> None:
    assert factors(5, name="QuadraticDecay", decayStartRound=3, decayRounds=2) == [1.0, 1.0, 1.0, 0.25, 0.25]


def test_the_cosine_falls_along_half_a_wave() -> None:
    expected = [1.0, 0.5 + 0.25 * math.sqrt(3), 0.75, 0.5, 0.25, 0.5 - 0.25 * math.sqrt(3), 0.5 - 0.25 * math.sqrt(3)]
    assert factors(7, name="Cosine", decayRounds=6) == pytest.approx(expected, abs=1e-15)


def test_a_round_is_trained_at_its_own_rate() -> None:
    schedule = Schedule.model_validate({"name": "WarmUp", "warmUpRounds": 4})
    halved, plain = trainer(schedule=schedule), trainer(learning_rate=0.05)
    scheduled, constant = halved.train(2), plain.train(2)
    for name, value in constant.state.dense.items():
        assert np.array_equal(value, scheduled.state.dense[name])


def test_a_replica_is_trained_at_its_rounds_rate() -> None:
    schedule = Schedule.model_validate({"name": "WarmUp", "warmUpRounds": 4})
    strategy = StrategySpec(mode=Mode.GEO, geo_step=2)
    moved = []
    for local in (trainer(schedule=schedule), trainer(learning_rate=0.05)):
        replica = stepwise_round(local, strategy, 2)
        assert isinstance(replica, ReplicaRound)
        moved.append(replica.train(0).state.dense)
    for name, value in moved[1].items():
        assert np.array_equal(value, moved[0][name])
