"""One explicit table per kind of thing that a manifest can name: name to class, filled by a decorator.

Models, datasets, optimizers, selectors and strategies register here; `spec.imports` adds a user's own. The
schema of each entry's parameters is plain data (`catalog`): a manifest can be checked without torch.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

T = TypeVar("T", bound=type)
P = TypeVar("P", bound="ParametersModel")

BUILT_IN_MODULES = (
    "fljob_runtime.models.classifiers",
    "fljob_runtime.models.dlrm",
    "fljob_runtime.models.fm",
    "fljob_runtime.models.gru4rec",
    "fljob_runtime.models.mf",
    "fljob_runtime.models.mlp",
    "fljob_runtime.models.ncf",
    "fljob_runtime.models.youtube_dnn",
    "fljob_runtime.data.files",
    "fljob_runtime.data.movielens",
    "fljob_runtime.data.pictures",
    "fljob_runtime.data.sessions",
    "fljob_runtime.data.synthetic",
    "fljob_runtime.data.synthetic_pictures",
    "fljob_runtime.data.synthetic_sessions",
    "fljob_runtime.data.tabular",
    "fljob_runtime.training.optimizers",
    "fljob_runtime.selection",
    "fljob_runtime.algorithms.server_optimizers",
    "fljob_runtime.algorithms.modes",
    "fljob_runtime.compression",
)


class RegistryKind(StrEnum):
    """Kinds of registered things; the values are the keys of the catalog."""

    MODEL = "models"
    DATASET = "datasets"
    OPTIMIZER = "optimizers"
    SELECTOR = "selectors"
    SERVER_OPTIMIZER = "serverOptimizers"
    STRATEGY = "strategies"
    COMPRESSOR = "compressors"


class RegistryError(ValueError):
    """An unknown or duplicate name, or parameters that do not fit; the message lists what exists."""


class ParametersModel(BaseModel):
    """Base of the parameters of a registered thing: camelCase outside, no unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, protected_namespaces=()
    )


class NoParameters(ParametersModel):
    """The parameters of what takes none."""


class UnknownNameError(RegistryError):
    """A name that nothing registered (exit code UNKNOWN_NAME)."""


_TABLES: dict[RegistryKind, dict[str, tuple[type, type[ParametersModel]]]] = {kind: {} for kind in RegistryKind}


def register(kind: RegistryKind, name: str, parameters: type[ParametersModel]) -> Callable[[T], T]:
    """Enter a class under a name, with the type of its parameters; a name that is taken is an error."""

    def enter(cls: T) -> T:
        table = _TABLES[kind]
        taken = table.get(name)
        if taken is not None and _origin(taken[0]) != _origin(cls):
            raise RegistryError(f"{kind.value}: the name {name!r} is taken by {_origin(taken[0])}")
        table[name] = (cls, parameters)
        return cls

    return enter


def _origin(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def find(kind: RegistryKind, name: str) -> tuple[type, type[ParametersModel]]:
    """Return class and parameter type; an unknown name is an error with a suggestion."""
    table = _TABLES[kind]
    if name not in table:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UnknownNameError(f"{kind.value}: no {name!r}{hint} (there are: {', '.join(sorted(table))})")
    return table[name]


def parse_parameters(where: str, parameters: type[P], values: Mapping[str, Any]) -> P:
    """Check a manifest's parameters; errors name the path `where.key` and suggest the nearest key."""
    try:
        return parameters.model_validate(dict(values))
    except ValidationError as error:
        keys = [field.alias or name for name, field in parameters.model_fields.items()]
        lines = []
        for fault in error.errors():
            path = ".".join([where, *(str(part) for part in fault["loc"])])
            near = difflib.get_close_matches(str(fault["loc"][0]), keys, n=1) if fault["loc"] else []
            hint = f"; did you mean {near[0]!r}?" if fault["type"] == "extra_forbidden" and near else ""
            message = "unknown parameter" if fault["type"] == "extra_forbidden" else fault["msg"]
            lines.append(f"{path}: {message}{hint}")
        raise RegistryError("; ".join(lines)) from error


def load(modules: Iterable[str] = ()) -> None:
    """Import the built-in modules and the user's, so that they register themselves."""
    for module in (*BUILT_IN_MODULES, *modules):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise UnknownNameError(f"imports: module {module!r} cannot be imported: {error}") from error
        except RegistryError:
            raise
        except Exception as error:  # whatever a user's module raises
            raise RegistryError(f"imports: module {module!r} fails: {type(error).__name__}: {error}") from error


def load_selectors(name: str, modules: Iterable[str]) -> None:
    """Register selectors alone, for the coordinator: the user's modules only where the name is not built in.

    Models and data, and torch with them, stay out of the process. Raises UnknownNameError.
    """
    importlib.import_module("fljob_runtime.selection")
    if name not in _TABLES[RegistryKind.SELECTOR]:
        load(modules)


def catalog() -> dict[str, dict[str, Any]]:
    """Return {kind: {name: JSON schema of the parameters}} of everything registered."""
    return {
        kind.value: {
            name: parameters.model_json_schema(by_alias=True) for name, (_, parameters) in sorted(table.items())
        }
        for kind, table in _TABLES.items()
    }
