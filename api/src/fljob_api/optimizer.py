"""The optimizer of trainers, and how its learning rate goes over the rounds. Part of the spec."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from fljob_api.base import ApiModel
from fljob_api.fields import Decimal, Parameters, RegistryName
from fljob_api.rules import Rule


class ScheduleName(StrEnum):
    """How the learning rate goes from round to round."""

    CONSTANT = "Constant"
    WARM_UP = "WarmUp"
    QUADRATIC_DECAY = "QuadraticDecay"
    COSINE = "Cosine"


_DECAYING = (ScheduleName.QUADRATIC_DECAY, ScheduleName.COSINE)


class Schedule(ApiModel):
    """What the learning rate is multiplied by in each round; a function of the round's number alone."""

    RULES: ClassVar = (
        Rule(
            cel="(self.name == 'WarmUp') ? has(self.warmUpRounds) : "
            "(self.name != 'Constant' || !has(self.warmUpRounds))",
            message="WarmUp needs warmUpRounds, and Constant has none",
            holds=lambda s: (
                s.warm_up_rounds is not None
                if s.name is ScheduleName.WARM_UP
                else s.name is not ScheduleName.CONSTANT or s.warm_up_rounds is None
            ),
            field="warmUpRounds",
        ),
        Rule(
            cel="(self.name in ['QuadraticDecay', 'Cosine']) == has(self.decayRounds)",
            message="QuadraticDecay and Cosine need decayRounds, and nothing else has any",
            holds=lambda s: (s.name in _DECAYING) == (s.decay_rounds is not None),
            field="decayRounds",
        ),
        Rule(
            cel="!has(self.decayStartRound) || (has(self.decayRounds) && "
            "(!has(self.warmUpRounds) || self.decayStartRound > self.warmUpRounds))",
            message="decayStartRound must come after warmUpRounds, in a schedule with decayRounds",
            holds=lambda s: (
                s.decay_start_round is None
                or (s.decay_rounds is not None and s.decay_start_round > (s.warm_up_rounds or 0))
            ),
            field="decayStartRound",
        ),
    )
    name: ScheduleName
    warm_up_rounds: int | None = Field(
        None, ge=1, le=10_000, description="Rounds in which the rate rises in equal steps; the last has all of it."
    )
    decay_start_round: int | None = Field(
        None, ge=1, le=10_000, description="Last round before it falls; default: the first after warmUpRounds."
    )
    decay_rounds: int | None = Field(  # the first of them has the whole rate: one alone would never fall
        None, ge=2, le=10_000, description="Rounds from decayStartRound in which it falls; then it stays as it is."
    )


class OptimizerSpec(ApiModel):
    """The optimizer that each trainer runs on its own data; its state is fresh each round."""

    name: RegistryName = Field("Adam", description="SGD, Adam or Adagrad, or a name the user's image registers.")
    learning_rate: Decimal = Field("0.001", description="Step size, as a quoted decimal number.")
    parameters: Parameters = Field(
        default_factory=dict, description="What the optimizer takes beside the learning rate."
    )
    schedule: Schedule | None = Field(None, description="How the learning rate changes over the rounds; default: not.")
