"""Everything that can be said against a manifest without a cluster: schema, rules between fields, catalog.

The command line calls `validate` before it runs or submits, the operator before it makes anything (condition
Accepted). The schema and the rules are also in the CRD, so the API server refuses the same; names and
parameters of models are known here only. Transitions (what may change) are the API server's alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from fljob_api import API_VERSION, KIND
from fljob_api.base import ApiModel
from fljob_api.catalog import Catalog, built_in
from fljob_api.fljob import FLJob
from fljob_api.problems import Problem, child, nearest
from fljob_api.rules import Rule, list_map_key
from fljob_api.spec import FLJobSpec


def validate(
    manifest: Mapping[str, Any], catalog: Catalog | None = None, *, in_cluster: bool = False
) -> tuple[Problem, ...]:
    """Return every fault of an FLJob manifest (plain data); empty when it is valid.

    `status` is not looked at. `catalog`: the built-in names, by default those of this release. `in_cluster`: also
    refuse what only a local run can have: a trainer without data whose dataset needs some (it may come by `--data`),
    checkpoints in a folder of the machine, kept models without a claim.
    """
    problems = _identity(manifest)
    if problems:
        return problems
    try:
        job = FLJob.from_dict({key: value for key, value in manifest.items() if key != "status"})
    except ValidationError as error:
        return tuple(_problem(detail) for detail in error.errors(include_url=False))
    known = catalog or built_in()
    broken = [*_broken_rules(job.spec, "spec"), *_duplicates(job.spec, "spec")]
    homeless = (*_without_data(job.spec, known), *_in_a_pod(job.spec), *_without_claim(job.spec)) if in_cluster else ()
    return (*broken, *_unknown_names(job.spec, known), *homeless)


def _identity(manifest: Mapping[str, Any]) -> tuple[Problem, ...]:
    wanted = {"apiVersion": API_VERSION, "kind": KIND}
    return tuple(
        Problem(key, f"must be {value}, not {manifest.get(key)!r}", value)
        for key, value in wanted.items()
        if manifest.get(key) != value
    )


def _problem(detail: ErrorDetails) -> Problem:
    path = ""
    for key in detail["loc"]:
        path = child(path, key) if key != "[key]" else path
    last = str(detail["loc"][-1]) if detail["loc"] else ""
    given = detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            known = _known_fields(detail["loc"][:-1])
            return Problem(path, "unknown field", nearest(last, known))
        case "missing":
            return Problem(path, "is required")
        case "enum":
            words = re.findall(r"'([^']+)'", detail["ctx"]["expected"])
            return Problem(path, f"must be one of {', '.join(words)}", nearest(str(given), words))
        case "string_type" if isinstance(given, (int, float)):
            return Problem(path, "must be a string: quote it", f'"{str(given).lower()}"')
        case "int_type" if isinstance(given, str) and given.isdigit():
            return Problem(path, "must be an integer: leave the quotes out", given)
    return Problem(path, _plain(detail["msg"]))


def _plain(message: str) -> str:
    for long, short in (("Value error, ", ""), ("Input should ", "must "), ("should ", "must ")):
        message = message.replace(long, short)
    return message


def _known_fields(loc: tuple[str | int, ...]) -> list[str]:
    model: type[BaseModel] = FLJob
    for key in loc:
        fields = {info.alias: info for info in model.model_fields.values()}
        if key in fields:
            model = _model_in(fields[str(key)].annotation) or model
    return [info.alias or "" for info in model.model_fields.values()]


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _parts(value: ApiModel) -> Iterator[tuple[str, FieldInfo, Any]]:
    for name, info in type(value).model_fields.items():
        yield info.alias or name, info, getattr(value, name)


def _nested(value: ApiModel, path: str) -> Iterator[tuple[str, ApiModel]]:
    for name, _, part in _parts(value):
        if isinstance(part, ApiModel):
            yield child(path, name), part
        elif isinstance(part, list):
            for index, item in enumerate(part):
                if isinstance(item, ApiModel):
                    yield child(child(path, name), index), item


def _broken_rules(value: ApiModel, path: str) -> Iterator[Problem]:
    rules: tuple[Rule, ...] = getattr(type(value), "RULES", ())
    for rule in rules:
        if not rule.holds(value):
            yield Problem(f"{path}.{rule.field}" if rule.field else path, rule.message)
    for at, part in _nested(value, path):
        yield from _broken_rules(part, at)


def _duplicates(value: ApiModel, path: str) -> Iterator[Problem]:
    for name, info, items in _parts(value):
        key = list_map_key(info.json_schema_extra)
        seen: set[str] = set()
        for index, item in enumerate(items or () if key else ()):
            text = str(getattr(item, key))
            if text in seen:
                yield Problem(child(child(path, name), index), f"duplicate {key} {text!r}")
            seen.add(text)
    for at, part in _nested(value, path):
        yield from _duplicates(part, at)


def _in_a_pod(spec: FLJobSpec) -> tuple[Problem, ...]:
    uri = spec.checkpoint.uri if spec.checkpoint else None
    if uri is None or not uri.startswith(("file://", "local://")):
        return ()
    words = "is a folder of one pod and ends with it; name a store that all pods reach, or a claim"
    return (Problem("spec.checkpoint.uri", words),)


def _without_data(spec: FLJobSpec, catalog: Catalog) -> Iterator[Problem]:
    entry = catalog.kinds["datasets"].get(spec.dataset.name)
    if entry is not None and entry.needs_folder:
        for index, trainer in enumerate(spec.trainers):
            if trainer.data is None:
                yield Problem(f"spec.trainers[{index}].data", f"is required for the dataset {entry.name}")


def _without_claim(spec: FLJobSpec) -> Iterator[Problem]:
    for index, given in enumerate(spec.initial_values):
        if given.persistent_volume_claim is None:
            path = f"spec.initialValues[{index}].persistentVolumeClaim"
            yield Problem(path, "is required in a cluster, where path is one within it")


def _unknown_names(spec: FLJobSpec, catalog: Catalog) -> Iterator[Problem]:
    uses = (
        ("models", spec.model, "spec.model"),
        ("optimizers", spec.optimizer, "spec.optimizer"),
        ("datasets", spec.dataset, "spec.dataset"),
        ("selectors", spec.participation.selector, "spec.participation.selector"),
    )
    for kind, use, path in uses:
        yield from catalog.check(kind, use.name, use.parameters, path=path, others=bool(spec.imports))
    strategy = spec.strategy
    yield from catalog.check("strategies", strategy.name, strategy.parameters, path="spec.strategy", others=None)
    server = strategy.server_optimizer
    if server is not None:  # servers load no module of the user's
        where = "spec.strategy.serverOptimizer"
        yield from catalog.check("serverOptimizers", server.name, server.parameters, path=where, others=None)
    for index, codec in enumerate(spec.strategy.compression or ()):
        where = f"spec.strategy.compression[{index}]"
        yield from catalog.check("compressors", codec.name, codec.parameters, path=where, others=None)
