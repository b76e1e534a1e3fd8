"""Base class of every value of the API: frozen, camelCase on the outside, no unknown keys.

Used by the spec, status, progress and job configuration types.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from pydantic_core import to_json


class ApiModel(BaseModel):
    """A frozen value whose JSON form has camelCase keys and no others than declared."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        use_enum_values=False,
    )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: camelCase keys, unset optional fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def differing(self, other: Self) -> set[str]:
        """Return the keys of the JSON form in which the two differ."""
        mine, theirs = self.to_dict(), other.to_dict()
        return {name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)}

    @classmethod
    def from_dict(cls, value: Any) -> Self:  # noqa: ANN401 - the edge, where JSON becomes a type
        """Parse the JSON form as strictly as the API server does: "5" is no integer, "true" no boolean.

        Raises pydantic.ValidationError with the path of each fault.
        """
        return cls.model_validate_json(to_json(value), strict=True)
