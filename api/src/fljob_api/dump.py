"""What a job writes down of its examples and parameters, for those who look into them. Part of the spec."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from fljob_api.base import ApiModel
from fljob_api.rules import Rule
from fljob_api.tables import ParameterName

ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=253)]
LABEL, PREDICTION, OUTPUT = "label", "prediction", "output"
MAX_EXAMPLES, MAX_MIB, KEEP = 10_000, 256, 3


class DumpSpec(ApiModel):
    """Held-out examples and parameters written after evaluations, by each site for itself: they stay there."""

    RULES: ClassVar = (
        Rule(
            cel="size(self.fields) > 0 || size(self.parameters) > 0",
            message="fields and parameters are both empty, so nothing would be dumped; name some, or leave dump out",
            holds=lambda d: bool(d.fields or d.parameters),
            field="fields",
        ),
    )
    fields: list[ColumnName] = Field(
        default_factory=lambda: [LABEL, PREDICTION],
        max_length=64,
        description="Columns of the dataset, and label, prediction (a probability, or the number of a class) and "
        "output (what the model itself says); none: no examples.",
    )
    parameters: list[ParameterName] = Field(
        default_factory=list,
        max_length=32,
        description="Parameters, or the beginnings of their names up to a dot; of tables the rows that the evaluation "
        "reads. Private ones too.",
    )
    every_rounds: int = Field(1, ge=1, le=100_000, description="Of the rounds that are evaluated each so manieth.")
    max_examples: int = Field(
        MAX_EXAMPLES, ge=1, le=10_000_000, description="The first so many held-out examples of each site."
    )
    max_mebibytes: int = Field(
        MAX_MIB, ge=1, le=65_536, description="The parameters of one dump take so many at most; more are refused."
    )
    keep: int = Field(KEEP, ge=1, le=1000, description="Newest dumps that each site keeps.")
