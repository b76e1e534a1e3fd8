"""What the learning rate is multiplied by in each round: pure functions of the round's number, which counts from 1.

Used by TrainPlan. Nothing here remembers anything, so a trainer that was started anew repeats a round bit for bit.
"""

from __future__ import annotations

import math

from fljob_api.optimizer import Schedule, ScheduleName


def factor(schedule: Schedule | None, train_round: int) -> float:
    """Return the factor of a round, in (0, 1].

    Warming up, round r of W has r / W. Decaying from round S over D rounds, with k = min(r - S, D - 1) of them gone:
    QuadraticDecay has ((D - k) / D)^2 (the policy of DLRM, https://github.com/facebookresearch/dlrm), Cosine
    (1 + cos(pi k / D)) / 2 (Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983). After the decay the factor
    stays as it is. Between them, and without a schedule, it is 1.
    """
    if schedule is None:
        return 1.0
    warm_up = schedule.warm_up_rounds or 0
    if train_round < warm_up:
        return train_round / warm_up
    start, rounds = schedule.decay_start_round or warm_up + 1, schedule.decay_rounds or 0
    gone = min(train_round - start, rounds - 1)
    if gone <= 0:
        return 1.0
    if schedule.name is ScheduleName.COSINE:
        return 0.5 * (1.0 + math.cos(math.pi * gone / rounds))
    return ((rounds - gone) / rounds) ** 2
