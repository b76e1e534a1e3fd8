"""`--set path=value`: change any field of a manifest from the command line, checked against the API's types.

Called by `run`, `validate`, `render` and `submit` before validation. Knows no field by name: paths are walked
through the pydantic classes, so an unknown key is refused with a suggestion and a value becomes what its
field holds.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from fljob_api.fljob import FLJob
from fljob_api.manifest import Loader
from fljob_api.problems import Problem
from fljob_cli.errors import InputError

_STEP = re.compile(r"(?P<key>[^.\[\]=]+)|\[(?P<item>[^\]]+)\]|(?P<dot>\.)")
_SETTABLE_METADATA = ("name", "namespace", "labels", "annotations")
_INTEGER = re.compile(r"[-+]?[0-9]+")


@dataclass(frozen=True)
class Step:
    """One step of a path: a key, or an item in brackets (index, name or key)."""

    text: str
    bracket: bool

    def __str__(self) -> str:
        return f"[{self.text}]" if self.bracket else self.text


class _RefusedError(Exception):
    """One override that cannot be applied."""

    def __init__(self, path: str, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(path, message, suggestion)


def apply_overrides(manifest: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return a copy of the manifest with each `path=value` applied in order; later ones win.

    Raises InputError with every refused setting, its path and a suggestion.
    """
    result: dict[str, Any] = _copy(manifest)
    problems: list[Problem] = []
    for setting in settings:
        try:
            _apply(result, setting)
        except _RefusedError as refused:
            problems.append(refused.problem)
    if problems:
        raise InputError("--set", problems)
    return result


def parse_path(path: str) -> list[Step]:
    """Cut `a.b[c].d` into steps; a key with dots of its own goes in brackets."""
    steps: list[Step] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            raise _RefusedError(path, f"cannot read the path at `{path[at:]}`; write keys as a.b[c].d")
        if match["dot"] is None:
            steps.append(Step(match["key"] or match["item"], match["key"] is None))
        at = match.end()
    return steps


def _apply(manifest: dict[str, Any], setting: str) -> None:
    path, equals, text = _split(setting)
    if not equals:
        raise _RefusedError(setting, "a setting is written path=value, such as spec.rounds=3")
    steps = parse_path(path)
    if not steps:
        raise _RefusedError(setting, "the path before `=` is empty")
    heres = [_join(steps[: end + 1]) for end in range(len(steps))]
    kinds: list[Any] = [FLJob]
    for step, here in zip(steps, heres, strict=True):
        kinds.append(_child_type(kinds[-1], step, here))
    holder: Any = manifest
    for step, kind, here in zip(steps[:-1], kinds[1:-1], heres[:-1], strict=True):
        holder = _descend(holder, step, kind, here)
    _put(holder, steps[-1], _value(kinds[-1], text, heres[-1]), heres[-1])


def _split(setting: str) -> tuple[str, str, str]:
    """Split at the first `=` outside brackets."""
    depth = 0
    for index, char in enumerate(setting):
        depth += (char == "[") - (char == "]")
        if char == "=" and depth == 0:
            return setting[:index].strip(), "=", setting[index + 1 :]
    return setting, "", ""


def _join(steps: Iterable[Step]) -> str:
    text = ""
    for step in steps:
        text += str(step) if step.bracket or not text else f".{step}"
    return text


def _members(annotation: Any) -> tuple[Any, ...]:  # noqa: ANN401 - a type hint
    """Return the alternatives of a type hint, without None and without Annotated."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(m for part in get_args(annotation) if part is not type(None) for m in _members(part))
    return (annotation,)


def _child_type(annotation: Any, step: Step, here: str) -> Any:  # noqa: ANN401 - type hints
    (kind, *_) = _members(annotation)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _field_type(kind, step.text, here)
    origin = get_origin(kind)
    if origin is list:
        if not step.bracket:
            raise _RefusedError(here, "this is a list: name the item in brackets, by name or position")
        return get_args(kind)[0]
    if origin is dict:
        return get_args(kind)[1]
    raise _RefusedError(here, "the field before this key holds a plain value, it has no keys")


def _field_type(model: type[BaseModel], key: str, here: str) -> Any:  # noqa: ANN401 - a type hint
    fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    if model.__name__ == "ObjectMeta":
        fields = {name: fields[name] for name in _SETTABLE_METADATA}
    if model is FLJob:
        fields.pop("status")
    if key in fields:
        return fields[key]
    close = difflib.get_close_matches(key.lower(), [name.lower() for name in fields], n=1, cutoff=0.6)
    meant = next((name for name in fields if close and name.lower() == close[0]), "")
    known = "" if meant else f"; known here: {', '.join(sorted(fields))}"
    raise _RefusedError(here, f"unknown key `{key}`{known}.", meant)


def _descend(holder: Any, step: Step, annotation: Any, here: str) -> Any:  # noqa: ANN401 - raw YAML
    if isinstance(holder, list):
        return holder[_index(holder, step, here)]
    child = holder.get(step.text)
    if child is None:
        is_list = get_origin(_members(annotation)[0]) is list
        child = holder[step.text] = [] if is_list else {}
    if not isinstance(child, dict | list):
        raise _RefusedError(here, f"the manifest has a plain value here ({child!r}), not keys")
    return child


def _index(items: list[Any], step: Step, here: str) -> int:
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    if step.text in names:
        return names.index(step.text)
    if _INTEGER.fullmatch(step.text):
        index = int(step.text)
        if -len(items) <= index < len(items):
            return index
        raise _RefusedError(here, f"there is no item {index}: the list has {len(items)} (0 to {len(items) - 1})")
    known = [str(name) for name in names if name]
    close = difflib.get_close_matches(step.text, known, n=1)
    raise _RefusedError(here, f"there is no item named `{step.text}`.", close[0] if close else "")


def _put(holder: Any, step: Step, value: Any, here: str) -> None:  # noqa: ANN401 - raw YAML
    if isinstance(holder, list):
        holder[_index(holder, step, here)] = value
    else:
        holder[step.text] = value


def _value(annotation: Any, text: str, here: str) -> Any:  # noqa: ANN401 - raw YAML
    """Turn the text into what the field holds; a field of text keeps it as written (`0.01` stays text)."""
    members = _members(annotation)
    origins = {get_origin(m) or m for m in members}
    plain = {m for m in origins if isinstance(m, type)}
    structured = any(m in (list, dict) or issubclass(m, BaseModel) for m in plain)
    if not structured and not plain & {int, bool, float}:
        return text
    try:
        if str in plain and int in plain:
            return int(text) if _INTEGER.fullmatch(text) else text
        return yaml.load(text, Loader)  # noqa: S506 - it is a safe one
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a whole number of more digits than Python reads
        raise _RefusedError(here, f"cannot read `{text}` as YAML: {error}") from error


def _copy(value: Any) -> Any:  # noqa: ANN401 - raw YAML
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value
