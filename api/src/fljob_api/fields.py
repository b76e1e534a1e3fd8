"""Annotated scalar types of the API, with the bounds that the CRD shows.

Decimal numbers are strings, as the Kubernetes API conventions ask (no floats in a spec).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, core_schema

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DECIMAL = r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$"
PERCENT = r"^(100|[1-9][0-9]?)%$"
QUANTITY = r"^([0-9]+(\.[0-9]+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
STORE_URI = r"^[a-z][a-z0-9]*://[^\s?#*\[\]]+$"  # no options, which would be read by whoever may read the FLJob
SUB_PATH = r"^[^/.:][^/:]*(/[^/.:][^/:]*)*$"  # no segment starts with a dot, so none leaves the volume
LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE = r"^([A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?)?$"


@dataclass(frozen=True)
class IntOrString:
    """Annotation of a value that is an integer or a string; `pattern` binds strings, `minimum` integers."""

    max_length: int
    pattern: str = ""
    minimum: int = 0

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        bounds = {"pattern": self.pattern} if self.pattern else {}
        return {
            "x-kubernetes-int-or-string": True,
            "maxLength": self.max_length,
            "minimum": self.minimum,
            **bounds,
        }

    def check(self, value: object) -> str | int:
        """Return the value; raises ValueError when it is neither or out of its bounds."""
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise ValueError(f"must be an integer or a string; quote it: {str(value).lower()!r}")  # noqa: TRY004 - pydantic reports ValueError
        if isinstance(value, int):
            if value < self.minimum:
                raise ValueError(f"must be at least {self.minimum}")
            return value
        if len(value) > self.max_length:
            raise ValueError(f"must have at most {self.max_length} characters")
        if not re.fullmatch(self.pattern or "(?s:.*)", value):
            raise ValueError(f"{value!r} does not match {self.pattern}")
        return value


DnsLabel = Annotated[str, StringConstraints(pattern=DNS_LABEL, min_length=1, max_length=63)]
RegistryName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][-_.A-Za-z0-9]*$", max_length=63)]
ModuleName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$", max_length=253)
]
ObjectName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=253)
]
Decimal = Annotated[str, StringConstraints(pattern=DECIMAL, max_length=32)]
ShortText = Annotated[str, StringConstraints(max_length=1024)]
LabelKey = Annotated[str, StringConstraints(pattern=LABEL_KEY, min_length=1, max_length=317)]
LabelValue = Annotated[str, StringConstraints(pattern=LABEL_VALUE, max_length=63)]
Quantity = Annotated[str | int, IntOrString(pattern=QUANTITY, max_length=32)]
IntOrPercent = Annotated[str | int, IntOrString(pattern=PERCENT, max_length=4, minimum=1)]
ParameterValue = Annotated[str | int, IntOrString(max_length=1024, minimum=-(2**53))]
Parameters = Annotated[
    dict[Annotated[str, StringConstraints(min_length=1, max_length=63)], ParameterValue],
    Field(max_length=32),
]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=32)]
Annotations = Annotated[dict[LabelKey, ShortText], Field(max_length=32)]
