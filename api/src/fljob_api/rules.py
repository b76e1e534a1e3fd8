"""Cross-field rules, each written once as CEL for the API server and once as Python for `fljob validate`.

A rule sits on the model class whose fields it ties together (class attribute `RULES`). `crd` writes the CEL
into the schema; `validation` runs the Python side. A contract test holds both against the same manifests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic.config import JsonDict


@dataclass(frozen=True)
class Rule:
    """One rule between fields of one object.

    cel: expression over `self`; message: what to do about it; field: the JSON path under the object that the
    error points at (empty: the object itself); holds: the same rule in Python over the parsed model.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool]
    field: str = ""
    reason: str = "FieldValueInvalid"


@dataclass(frozen=True)
class Transition:
    """A rule between the old and the new version of a spec, checked by the API server only."""

    cel: str
    message: str
    field: str = ""


def list_map(key: str) -> JsonDict:
    """Return the schema marks of a list whose items are told apart by one of their fields."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def list_map_key(extra: object) -> str:
    """Return the key of a list marked by `list_map`; nothing for any other field."""
    keys = extra.get("x-kubernetes-list-map-keys") if isinstance(extra, dict) else None
    return str(keys[0]) if keys else ""


def at_most_one(*fields: str) -> Rule:
    """Make the rule that no more than one of the (JSON named) fields is set."""
    return Rule(
        cel="[" + ", ".join(f"has(self.{name})" for name in fields) + "].filter(x, x).size() <= 1",
        message=f"at most one of {', '.join(fields)} may be set",
        holds=lambda value: _count(value, fields) <= 1,
    )


def exactly_one(*fields: str) -> Rule:
    """Make the rule that one and only one of the (JSON named) fields is set."""
    return Rule(
        cel="[" + ", ".join(f"has(self.{name})" for name in fields) + "].filter(x, x).size() == 1",
        message=f"exactly one of {', '.join(fields)} must be set",
        holds=lambda value: _count(value, fields) == 1,
    )


def frozen(*fields: str) -> tuple[Transition, ...]:
    """Make the rules that the (JSON named) fields never change, nor come or go."""
    return tuple(
        Transition(_same(field), f"{field} cannot be changed; delete the FLJob and create it anew", field)
        for field in fields
    )


def frozen_unless_suspended(*fields: str) -> tuple[Transition, ...]:
    """Make the rules that the (JSON named) fields of the spec change only while the job is suspended."""
    return tuple(
        Transition(
            f"oldSelf.suspend || ({_same(field)})",
            f"{field} can be changed only while the FLJob is suspended",
            field,
        )
        for field in fields
    )


def _same(name: str) -> str:
    return f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})"


def _count(value: Any, fields: tuple[str, ...]) -> int:  # noqa: ANN401 - any model with these fields
    dumped = value.to_dict()
    return sum(name in dumped for name in fields)
