"""Annotated scalar types of the API, with the bounds that the CRD shows.

Decimal numbers are strings, as the Kubernetes API conventions ask (no floats in a spec).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DECIMAL = r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$"
PERCENT_OR_INT = r"^((100|[1-9]?[0-9])%|[0-9]+)$"
QUANTITY = r"^([0-9]+(\.[0-9]+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"


def _no_bool(value: Any) -> Any:  # noqa: ANN401 - runs before validation
    if isinstance(value, bool):
        raise ValueError("must be an integer or a string, not a boolean; quote it")
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
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
LabelValue = Annotated[str, StringConstraints(max_length=63)]
Quantity = Annotated[
    str | int,
    BeforeValidator(_no_bool),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": QUANTITY, "maxLength": 32}),
]
IntOrPercent = Annotated[
    str | int,
    BeforeValidator(_no_bool),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": PERCENT_OR_INT, "maxLength": 8}),
]
ParameterValue = Annotated[
    str | int,
    BeforeValidator(_no_bool),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 1024}),
]
Parameters = Annotated[
    dict[Annotated[str, StringConstraints(min_length=1, max_length=63)], ParameterValue],
    Field(max_length=32),
]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=32)]
Annotations = Annotated[dict[LabelKey, ShortText], Field(max_length=32)]
