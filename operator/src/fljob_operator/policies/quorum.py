"""How many trainers a job needs, and how many it may lose."""

from __future__ import annotations

import math

from fljob_api.spec import FLJobSpec


def cohort_size(spec: FLJobSpec) -> int:
    """Return how many trainers a full round has."""
    everyone = len(spec.trainers)
    if spec.participation.count is not None:
        return min(spec.participation.count, everyone)
    if spec.participation.percent is not None:
        return max(1, math.ceil(everyone * spec.participation.percent / 100))
    return everyone


def quorum(spec: FLJobSpec) -> int:
    """Return how many trainers a round needs; percentages are of the cohort, rounded up."""
    wanted = spec.quorum.min_trainers
    if isinstance(wanted, str) and wanted.endswith("%"):
        return max(1, math.ceil(cohort_size(spec) * int(wanted[:-1]) / 100))
    return max(1, int(wanted))


def allowed_failures(spec: FLJobSpec) -> int:
    """Return how many trainers may fail for good."""
    possible = len(spec.trainers) - quorum(spec)
    stated = spec.failure_policy.max_failed_trainers
    return possible if stated is None else min(stated, possible)
