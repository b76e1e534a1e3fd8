"""What the round machine may assume about a job: fixed rules, mutable control, quorum arithmetic.

Made from the FLJob spec by the coordinator; read by `machine`.
"""

from __future__ import annotations

from dataclasses import dataclass

from fljob_api.spec import FLJobSpec, StopCriterion
from fljob_api.strategy import Mode, Weighting
from fljob_runtime.registry import RegistryKind, find, parse_parameters
from fljob_runtime.selection import Selector

ABSENCE_GRACE_S = 10.0


@dataclass(frozen=True)
class Rules:
    """The parts of the spec that cannot change while the job runs."""

    trainers: tuple[str, ...]
    seed: int
    selector: Selector
    min_trainers: int | str = "100%"
    percent: int | None = None
    count: int | None = None
    round_timeout_s: float = 3600.0
    startup_deadline_s: float = 600.0
    suspend_grace_s: float = 30.0
    max_failed_trainers: int | None = None
    evaluate_every: int = 1
    checkpoint_every: int = 1
    keep: int = 2
    best_by: str = ""
    absence_grace_s: float = ABSENCE_GRACE_S
    mode: Mode = Mode.SYNC
    weighting: Weighting = Weighting.SAMPLES
    buffer_size: int = 1
    max_staleness: int = 10
    incarnation: int = 0

    @property
    def exchanges(self) -> bool:
        """Return whether trainers and servers exchange values within a round."""
        return self.mode not in {Mode.SYNC, Mode.BUFFERED}

    @property
    def begins_anew(self) -> bool:
        """Return whether a lost shard costs what is under way at all of them: updates cannot be sent again."""
        return self.mode is not Mode.SYNC

    @property
    def lockstep(self) -> bool:
        """Return whether within a round each step waits for every trainer of the cohort."""
        return self.mode is Mode.STEP_SYNC

    @property
    def cohort_size(self) -> int:
        """Return how many trainers a round asks for."""
        total = len(self.trainers)
        if self.count is not None:
            return min(self.count, total)
        return portion(f"{self.percent or 100}%", total)

    @property
    def required(self) -> int:
        """Return how many trainers a full cohort needs to count."""
        return portion(self.min_trainers, self.cohort_size)

    def quorum(self, cohort: int) -> int:
        """Return how many updates a cohort of this size needs; never more than it has members."""
        return min(portion(self.min_trainers, cohort), cohort)


@dataclass(frozen=True)
class Control:
    """The fields of the spec that a person may change while the job runs."""

    suspend: bool = False
    rounds: int = 1
    stop_criteria: tuple[StopCriterion, ...] = ()


def portion(value: int | str, total: int) -> int:
    """Return an int-or-percent of a total, percent rounded up, at least 1."""
    if isinstance(value, int):
        return max(1, value)
    percent = int(value.removesuffix("%"))
    return max(1, -(-percent * total // 100))


def rules_of(spec: FLJobSpec, *, incarnation: int = 0, absence_grace_s: float = ABSENCE_GRACE_S) -> Rules:
    """Return the fixed rules of one start of a job; raises RegistryError for a selector that is unknown."""
    return Rules(
        trainers=tuple(sorted(trainer.name for trainer in spec.trainers)),
        seed=spec.seed,
        selector=_selector(spec),
        min_trainers=spec.quorum.min_trainers,
        percent=spec.participation.percent,
        count=spec.participation.count,
        round_timeout_s=float(spec.round_timeout_seconds),
        startup_deadline_s=float(spec.startup_deadline_seconds),
        suspend_grace_s=float(spec.suspend_grace_period_seconds),
        max_failed_trainers=spec.failure_policy.max_failed_trainers,
        evaluate_every=spec.evaluation.every_rounds,
        checkpoint_every=spec.checkpoint.every_rounds if spec.checkpoint else 1,
        keep=spec.checkpoint.keep if spec.checkpoint else 2,
        best_by=spec.evaluation.best_metric or "",
        absence_grace_s=absence_grace_s,
        mode=spec.strategy.mode,
        weighting=spec.strategy.weighting,
        buffer_size=spec.strategy.buffered(len(spec.trainers)),
        max_staleness=spec.strategy.stalest,
        incarnation=incarnation,
    )


def control_of(spec: FLJobSpec) -> Control:
    """Return the mutable part of a job."""
    return Control(spec.suspend, spec.rounds, tuple(spec.stop_criteria))


def _selector(spec: FLJobSpec) -> Selector:
    wanted = spec.participation.selector
    cls, schema = find(RegistryKind.SELECTOR, wanted.name)
    selector: Selector = cls(parse_parameters("spec.participation.selector.parameters", schema, wanted.parameters))
    return selector
