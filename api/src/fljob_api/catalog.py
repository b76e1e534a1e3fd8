"""What the built-in registries hold: names of models, datasets, optimizers, selectors, strategies; and parameters.

Plain data generated from the runtime's classes (`make generate` writes catalog.json; a contract test
compares), so that `fljob validate` and the operator refuse a wrong name or parameter without importing torch.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from fljob_api.problems import Problem, child, nearest

NEEDS_FOLDER = "x-needs-folder"
_TRUTHS = ("true", "false")
_BOUNDS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "minimum": ("at least", operator.ge),
    "maximum": ("at most", operator.le),
    "exclusiveMinimum": ("more than", operator.gt),
    "exclusiveMaximum": ("less than", operator.lt),
}


@dataclass(frozen=True)
class Entry:
    """One built-in: what it is in a line, and the JSON schema of each of its parameters.

    needs_folder: a dataset that has no data unless trainers[].data says where it lies.
    """

    name: str
    help: str
    parameters: Mapping[str, Mapping[str, Any]]
    required: tuple[str, ...] = ()
    needs_folder: bool = False


@dataclass(frozen=True)
class Catalog:
    """All built-ins: kind (`models`, `datasets`, `optimizers`, `selectors`, ...) → name → entry."""

    kinds: Mapping[str, Mapping[str, Entry]]

    def check(
        self, kind: str, name: str, parameters: Mapping[str, str | int], *, path: str, others: bool | None
    ) -> list[Problem]:
        """Return what is wrong with one use of a built-in; `path` is where its `name` and `parameters` are.

        With `others` (the user's image registers more) an unknown name is let through unchecked; None: nobody can.
        """
        entries = self.kinds[kind]
        if name not in entries:
            known = ", ".join(sorted(entries))
            more = "" if others is None else "; or name your module in spec.imports"
            message = f"unknown name {name!r}; built in: {known}{more}"
            return [] if others else [Problem(f"{path}.name", message, nearest(name, entries))]
        return _parameters(entries[name], parameters, f"{path}.parameters")


def _parameters(entry: Entry, given: Mapping[str, str | int], path: str) -> list[Problem]:
    problems = [Problem(child(path, key), f"is required by {entry.name}") for key in entry.required if key not in given]
    for key, value in given.items():
        if key not in entry.parameters:
            known = ", ".join(sorted(entry.parameters)) or "none"
            message = f"{entry.name} has no such parameter; it has: {known}"
            problems.append(Problem(child(path, key), message, nearest(key, entry.parameters)))
        elif fault := _fault(entry.parameters[key], value):
            problems.append(Problem(child(path, key), fault[0], fault[1]))
    return problems


def _fault(schema: Mapping[str, Any], value: str | int) -> tuple[str, str] | None:
    kind = schema.get("type", "string")
    text = str(value)
    if "items" in schema:
        return _list_fault(schema, text)
    if "enum" in schema and text not in map(str, schema["enum"]):
        known = [str(word) for word in schema["enum"]]
        return f"must be one of {', '.join(known)}", nearest(text, known)
    if kind == "boolean":
        return None if text in _TRUTHS else ('must be "true" or "false"', "")
    if kind in ("integer", "number"):
        return _number_fault(schema, text, kind)
    pattern = schema.get("pattern", "")
    return (f"must match {pattern}", "") if pattern and not re.search(pattern, text) else None


def _list_fault(schema: Mapping[str, Any], text: str) -> tuple[str, str] | None:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > schema.get("maxItems", len(parts)):
        return f"must have at most {schema['maxItems']} items", ""
    return next((fault for part in parts if (fault := _fault(schema["items"], part))), None)


def _number_fault(schema: Mapping[str, Any], text: str, kind: str) -> tuple[str, str] | None:
    try:
        number = int(text) if kind == "integer" else float(text)
    except ValueError:
        return f"must be {'an integer' if kind == 'integer' else 'a number'}, not {text!r}", ""
    if not math.isfinite(number):
        return f"must be finite, not {text!r}", ""
    for key, (words, holds) in _BOUNDS.items():
        if key in schema and not holds(number, schema[key]):
            return f"must be {words} {schema[key]:g}", ""
    return None


def parse(data: Mapping[str, Mapping[str, Any]]) -> Catalog:
    """Build the catalog from its JSON form: kind → name → JSON schema of the parameters as one object."""
    return Catalog({kind: {name: _entry(name, row) for name, row in rows.items()} for kind, rows in data.items()})


def _entry(name: str, schema: Mapping[str, Any]) -> Entry:
    definitions = schema.get("$defs", {})
    return Entry(
        name=name,
        help=schema.get("description", ""),
        parameters={key: _resolved(value, definitions) for key, value in schema.get("properties", {}).items()},
        required=tuple(schema.get("required", ())),
        needs_folder=schema.get(NEEDS_FOLDER, False),
    )


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in schema:
        return {**definitions[schema["$ref"].rsplit("/", 1)[-1]], **schema}
    choices = [part for part in schema.get("anyOf", ()) if part.get("type") != "null"]
    return {**_resolved(choices[0], definitions), **schema} if len(choices) == 1 else schema


@cache
def built_in() -> Catalog:
    """Return the catalog that was generated with this release."""
    text = resources.files("fljob_api").joinpath("catalog.json").read_text(encoding="utf-8")
    return parse(json.loads(text))
