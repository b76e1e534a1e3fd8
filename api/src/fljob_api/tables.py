"""What the FLJob spec says of single parameters: whether they are shared, and by which ids a table's rows are known.

Parts of the spec; the trainer's setup turns them into the layout that everything else in the runtime reads.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from fljob_api.base import ApiModel
from fljob_api.rules import Rule

ParameterName = Annotated[str, StringConstraints(min_length=1, max_length=253)]
ADMIT_AFTER, MAX_ROWS = 1, 10_000_000


class Scope(StrEnum):
    """Whether a parameter is trained together or stays with the trainer."""

    SHARED = "Shared"
    PRIVATE = "Private"


class ParameterScope(ApiModel):
    """Scope of one parameter of the model, or of all whose name starts with `name` and a dot."""

    name: ParameterName = Field(description="Name of the parameter, or its beginning up to a dot.")
    scope: Scope


class Keys(StrEnum):
    """By which ids the rows of a table are known."""

    RANGE = "Range"
    ANY = "Any"


def _only_any(field: str) -> Rule:
    """Make the rule that a field is set for keys Any only."""
    return Rule(
        cel=f"!has(self.{field}) || has(self.keys) && self.keys == 'Any'",
        message=f"{field} is for a table with keys: Any; remove it, or set keys",
        holds=lambda table: field not in table.to_dict() or table.keys is Keys.ANY,
        field=field,
    )


class TableSpec(ApiModel):
    """How the rows of one table are known, or of all tables whose name starts with `name` and a dot."""

    RULES: ClassVar = (_only_any("admitAfter"), _only_any("expireAfterRounds"), _only_any("maxRows"))
    name: ParameterName = Field(description="Name of the table, or its beginning up to a dot.")
    keys: Keys = Field(
        Keys.RANGE,
        description="Range: ids 0 to n - 1, every row there from the start. Any: 64-bit numbers; a row is made when "
        "its id is first trained. Tables of one column have the same.",
    )
    admit_after: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description=f"Any: updates that must have trained an id before its row is kept; {ADMIT_AFTER} if unset.",
    )
    expire_after_rounds: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Any: a row that no update has trained in so many rounds is dropped; never if unset.",
    )
    max_rows: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description=f"Any: rows of the table that each shard keeps at most; {MAX_ROWS:,} if unset.",
    )

    @property
    def admitted_after(self) -> int:
        """Return how many updates must have trained an id before its row is kept."""
        return ADMIT_AFTER if self.admit_after is None else self.admit_after

    @property
    def most_rows(self) -> int:
        """Return how many rows a shard keeps at most."""
        return MAX_ROWS if self.max_rows is None else self.max_rows
