"""Seeds of their own for parts of what is drawn. Part of the spec; `FLJobSpec.seed` is behind all the rest."""

from __future__ import annotations

from pydantic import Field

from fljob_api.base import ApiModel

LARGEST_SEED = 2**53


class Seeds(ApiModel):
    """Seeds that differ from spec.seed, to see what of a result is due to which; cohorts always follow spec.seed."""

    data: int | None = Field(
        None, ge=0, le=LARGEST_SEED, description="Of shuffles and negatives, and of datasets that generate themselves."
    )
    initial_values: int | None = Field(None, ge=0, le=LARGEST_SEED, description="Of what parameters begin with.")
    model: int | None = Field(
        None, ge=0, le=LARGEST_SEED, description="Of what models draw while they train, such as dropout."
    )
