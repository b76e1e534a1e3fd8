"""The CRD keeps the rules of structural schemas and of its budgets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from fljob_api.crd import definition

ROOT: dict[str, Any] = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def _nodes(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from _nodes(part, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from _nodes(schema[key], f"{path}[]")


SPEC = dict(_nodes(ROOT["properties"]["spec"], "spec"))
STATUS = dict(_nodes(ROOT["properties"]["status"], "status"))
ALL = {**SPEC, **STATUS}


def _unbounded(kind: str, bound: str) -> list[str]:
    return [path for path, node in ALL.items() if node.get("type") == kind and bound not in node and "enum" not in node]


@pytest.mark.parametrize(("kind", "bound"), [("array", "maxItems"), ("string", "maxLength"), ("integer", "minimum")])
def test_everything_has_a_bound(kind: str, bound: str) -> None:
    assert _unbounded(kind, bound) == []


def test_every_map_has_a_bound() -> None:
    maps = {path: node for path, node in ALL.items() if "additionalProperties" in node}

    assert [path for path, node in maps.items() if "maxProperties" not in node] == []


def test_every_field_has_a_type_or_is_int_or_string() -> None:
    untyped = [path for path, node in ALL.items() if "type" not in node and "x-kubernetes-int-or-string" not in node]

    assert untyped == []


def test_nothing_a_structural_schema_forbids_is_in_it() -> None:
    forbidden = {"$ref", "anyOf", "allOf", "oneOf", "title", "patternProperties", "propertyNames", "const"}

    assert [path for path, node in ALL.items() if forbidden & node.keys()] == []


def test_every_field_of_the_spec_is_described() -> None:
    fields = {path: node for path, node in SPEC.items() if not path.endswith("[]")}

    assert [path for path, node in fields.items() if not node.get("description")] == []


def test_the_crd_stays_below_its_size_budget_for_client_side_apply() -> None:
    assert len(yaml.safe_dump(definition())) < 200_000


def test_status_has_no_defaults_which_would_fill_every_patch() -> None:
    assert [path for path, node in STATUS.items() if "default" in node] == []


def test_columns_read_what_the_status_has() -> None:
    columns = definition()["spec"]["versions"][0]["additionalPrinterColumns"]
    own = {column["jsonPath"].removeprefix(".") for column in columns if column["type"] != "date"}

    assert own <= ALL.keys()


def test_a_nested_object_defaults_to_an_empty_one_that_the_server_fills() -> None:
    assert SPEC["spec.participation"]["default"] == {}
    assert SPEC["spec.participation.selector"]["default"] == {}
    assert SPEC["spec.participation.selector.name"]["default"] == "Random"
