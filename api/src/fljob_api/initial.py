"""Values that a job's model begins with in place of those by the seed: models that earlier runs kept. Part of the spec.

The trainer's setup reads them (`fljob_runtime.training.beginning`); in a cluster the operator mounts their claims.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from fljob_api.base import ApiModel
from fljob_api.fields import Decimal
from fljob_api.storage import ClaimSource
from fljob_api.tables import ParameterName


class InitialParameter(ApiModel):
    """Parameters to take: one, or all whose name starts with `name` and a dot."""

    name: ParameterName = Field(description="Name in this job's model, or its beginning up to a dot.")
    kept_name: ParameterName | None = Field(None, description="Name in the kept model, if it is another.")
    weight: Decimal = Field("1", description="What the values are multiplied by.")

    @property
    def there(self) -> str:
        """Return the name in the kept model."""
        return self.kept_name or self.name


class InitialValues(ApiModel):
    """A kept model and what is taken of it."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = Field(
        description="A model's file, a folder with model.safetensors, or the folder of a run; within the claim, if "
        "there is one."
    )
    persistent_volume_claim: ClaimSource | None = Field(
        None, description="In a cluster: where path lies; mounted read-only into every trainer's pod."
    )
    parameters: list[InitialParameter] = Field(
        default_factory=list,
        max_length=64,
        description="What to take; all that the kept model has, by its own names, if empty.",
    )
