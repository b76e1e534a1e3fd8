"""The CustomResourceDefinition, made from the pydantic types and their rules.

Called by tools/generate_crd.py; nothing imports it at run time. Must not know any field by name except for
the printer columns: what a field is, is said once, in the types.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from fljob_api import GROUP, KIND, PLURAL, SHORT_NAME, VERSION
from fljob_api.base import ApiModel
from fljob_api.fljob import MAX_NAME, NAME_PATTERN, FLJob
from fljob_api.rules import Rule, Transition
from fljob_api.spec import FLJobSpec
from fljob_api.status import FLJobStatus

_DROPPED = frozenset({"title", "additionalProperties", "$defs"})
_COLUMNS = (
    ("State", ".status.state", "string", 0),
    ("Round", ".status.display.round", "string", 0),
    ("Trainers", ".status.display.trainers", "string", 0),
    ("Loss", ".status.display.loss", "string", 0),
    ("AUC", ".status.display.auc", "string", 0),
    ("Score", ".status.display.score", "string", 0),
    ("Age", ".metadata.creationTimestamp", "date", 0),
    ("Strategy", ".spec.strategy.name", "string", 1),
    ("Reason", ".status.display.reason", "string", 1),
    ("Model", ".spec.model.name", "string", 1),
)


def definition() -> dict[str, Any]:
    """Return the CRD as plain data."""
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(*column) for column in _COLUMNS],
        "schema": {"openAPIV3Schema": _root()},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": [SHORT_NAME],
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def _column(name: str, path: str, kind: str, priority: int) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "jsonPath": path, "type": kind}
    return {**column, "priority": priority} if priority else column


def _root() -> dict[str, Any]:
    return {
        "type": "object",
        "description": FLJob.__doc__,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {
                "type": "object",
                "properties": {"name": {"type": "string", "maxLength": MAX_NAME, "pattern": NAME_PATTERN}},
            },
            "spec": structural(FLJobSpec),
            "status": structural(FLJobStatus, defaults=False),
        },
    }


def structural(model: type[ApiModel], *, defaults: bool = True) -> dict[str, Any]:
    """Return the structural schema of one model: no references or nulls; rules and defaults inside."""
    schema = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    dropped = _DROPPED if defaults else _DROPPED | {"default"}
    return _inline(schema, schema.get("$defs", {}), dropped)


class _Generator(GenerateJsonSchema):
    """pydantic's generator with what Kubernetes wants to see otherwise."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Add the rules of the class."""
        value = super().model_schema(schema)
        rules = getattr(schema["cls"], "RULES", ()) + getattr(schema["cls"], "TRANSITIONS", ())
        if rules:
            value["x-kubernetes-validations"] = [_validation(rule) for rule in rules]
        return value

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Leave null out: an optional field is one that may be absent."""
        return self.generate_inner(schema["schema"])

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Leave the keys' bounds out, which a structural schema cannot say (validation checks them)."""
        value: JsonSchemaValue = {
            "type": "object",
            "additionalProperties": self.generate_inner(schema["values_schema"]),
        }
        self.update_with_validations(value, schema, self.ValidationsMapping.object)
        return value

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Write every default down; an object's is `{}`, for the API server fills in its fields."""
        value = {**self.generate_inner(schema["schema"])}
        default = _default(schema)
        if isinstance(default, ApiModel):
            value["default"] = {}
        elif default is not None:
            value["default"] = self.encode_default(default)
        return value


def _default(schema: core_schema.WithDefaultSchema) -> object:
    factory: Any = schema.get("default_factory")
    return factory() if factory else schema.get("default")


def _validation(rule: Rule | Transition) -> dict[str, str]:
    reason = rule.reason if isinstance(rule, Rule) else "FieldValueForbidden"
    value = {"rule": rule.cel, "message": rule.message, "reason": reason}
    return {**value, "fieldPath": f".{rule.field}"} if rule.field else value


def _inline(node: dict[str, Any], definitions: dict[str, Any], dropped: frozenset[str]) -> dict[str, Any]:
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[-1]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    schema: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            schema[key] = {name: _inline(field, definitions, dropped) for name, field in value.items()}
        elif isinstance(value, dict) and key in {"items", "additionalProperties"}:
            schema[key] = _inline(value, definitions, dropped)
        elif key not in dropped:
            schema[key] = value
    return schema
