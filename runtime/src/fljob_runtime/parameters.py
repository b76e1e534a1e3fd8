"""Parameters as values: what a model is made of, and the numbers of one version of it. numpy only.

Shared by models (which make layouts and states), transport (which encodes what is shared), server (which
checks and folds) and algorithms. No torch here: coordinator and server must start without it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
BESIDE = "@"  # in the name of what an algorithm keeps beside a parameter: `weight@c`; no model's own has it
MAX_ELEMENTS = 1 << 40  # of one parameter: four tebibytes, far from where sums of sizes leave 64 bits
MAX_INITIAL = 1e6  # of the scale of initial values, so that all are finite in float32


class Kind(StrEnum):
    """How a parameter is addressed: as a whole, or by rows of which only touched ones travel.

    The rows of ROWS have ids from 0 to num_rows - 1 and all exist from the start. Those of KEYED have any int64 as id,
    in the order of signed numbers, and come into being when an update first touches them.
    """

    DENSE = "dense"
    ROWS = "rows"
    KEYED = "keyed"


class Scope(StrEnum):
    """Whether a parameter is trained together or stays with its trainer."""

    SHARED = "shared"
    PRIVATE = "private"


class LayoutError(ValueError):
    """Values do not fit the layout; the message names the parameter, what was expected and what came."""


class ModelError(Exception):
    """A model whose code fails, or that cannot be trained as it is (exit code BAD_CONFIG)."""


@dataclass(frozen=True)
class TableRules:
    """What a keyed table holds, and what a row is before it is held; see `initial_values.initial_rows`.

    initial_std: of normal initial values; initial_bound: of uniform ones in (-bound, bound). At most one is above 0.
    admit_after: updates of trainers that must have touched an id before it gets a row; theirs before that are left
    out. expire_after_rounds: a row that no update touched in so many versions goes; 0: never. max_rows: at one shard,
    of rows and of ids that wait for admission each; 0: as many as come.
    """

    initial_std: float = 0.01
    initial_bound: float = 0.0
    admit_after: int = 1
    expire_after_rounds: int = 0
    max_rows: int = 0

    def __post_init__(self) -> None:
        scales = (self.initial_std, self.initial_bound)
        if not all(0.0 <= scale <= MAX_INITIAL for scale in scales) or all(scales):
            raise LayoutError(f"table rules: initial_std, initial_bound are {scales}: one of them may be above 0")
        limits = (("admit_after", 1), ("expire_after_rounds", 0), ("max_rows", 0))
        for name, least in limits:
            if not least <= getattr(self, name) < 1 << 31:
                raise LayoutError(f"table rules: {name} is {getattr(self, name)}; {least} is the least")


@dataclass(frozen=True)
class ParamSpec:
    """One float32 parameter.

    `rows` parameters have shape (num_rows, D) and are addressed by row id. `keyed` ones have shape (D,), and rules.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind = Kind.DENSE
    scope: Scope = Scope.SHARED
    rules: TableRules | None = None

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > 253:
            raise LayoutError(f"parameter name {self.name!r}: must have 1 to 253 characters")
        if any(size < 1 for size in self.shape):
            raise LayoutError(f"parameter {self.name}: shape {self.shape} has an empty dimension")
        if self.size > MAX_ELEMENTS:
            raise LayoutError(f"parameter {self.name}: {self.size} elements, at most {MAX_ELEMENTS} are possible")
        if self.kind is Kind.ROWS and len(self.shape) != 2:
            raise LayoutError(f"parameter {self.name}: a table needs shape (rows, D), not {self.shape}")
        if self.kind is Kind.KEYED and len(self.shape) != 1:
            raise LayoutError(f"parameter {self.name}: a keyed table needs shape (D,), not {self.shape}")
        if (self.kind is Kind.KEYED) is not (self.rules is not None):
            raise LayoutError(f"parameter {self.name}: keyed tables have rules, and nothing else has")

    @property
    def size(self) -> int:
        """Return the number of elements; of a keyed table those of one row."""
        return math.prod(self.shape)

    @property
    def dim(self) -> int:
        """Return the length of a row of a table."""
        return self.shape[-1]


@dataclass(frozen=True)
class ModelLayout:
    """All parameters of a model, in the order in which dense ones are concatenated."""

    specs: tuple[ParamSpec, ...]

    def __post_init__(self) -> None:
        names = [spec.name for spec in self.specs]
        if len(set(names)) != len(names):
            raise LayoutError(f"parameter names are not unique: {sorted(names)}")

    def __getitem__(self, name: str) -> ParamSpec:
        for spec in self.specs:
            if spec.name == name:
                return spec
        raise LayoutError(f"no parameter {name!r}; the model has {[s.name for s in self.specs]}")

    def select(self, kind: Kind, scope: Scope) -> tuple[ParamSpec, ...]:
        """Return the specs of one kind and scope, in layout order."""
        return tuple(s for s in self.specs if s.kind is kind and s.scope is scope)

    @cached_property
    def shared_dense(self) -> tuple[ParamSpec, ...]:
        """Return the shared dense parameters, in layout order."""
        return self.select(Kind.DENSE, Scope.SHARED)

    @cached_property
    def shared_tables(self) -> tuple[ParamSpec, ...]:
        """Return the shared tables, plain and keyed, in layout order."""
        return tuple(s for s in self.specs if s.kind is not Kind.DENSE and s.scope is Scope.SHARED)

    @property
    def model(self) -> ModelLayout:
        """Return the layout of the model's own parameters, without what an algorithm keeps beside them."""
        return ModelLayout(tuple(spec for spec in self.specs if BESIDE not in spec.name))

    @cached_property
    def dense_size(self) -> int:
        """Return the number of elements of the shared dense vector."""
        return sum(spec.size for spec in self.shared_dense)

    def with_scopes(self, scopes: Mapping[str, Scope]) -> ModelLayout:
        """Return the layout with scopes set by name, or by prefix `name.`; an unknown name is an error."""
        for name in scopes:
            if not any(matches(spec.name, name) for spec in self.specs):
                raise LayoutError(
                    f"parameterScopes: no parameter {name!r}; the model has {[s.name for s in self.specs]}"
                )
        return ModelLayout(
            tuple(
                replace(spec, scope=next((s for n, s in scopes.items() if matches(spec.name, n)), spec.scope))
                for spec in self.specs
            )
        )

    def to_json(self) -> bytes:
        """Return the canonical form, equal for equal layouts."""
        rows = [
            {"kind": s.kind.value, "name": s.name, "scope": s.scope.value, "shape": list(s.shape)}
            | ({"rules": asdict(s.rules)} if s.rules else {})  # so that layouts without keyed tables keep their digest
            for s in self.specs
        ]
        return json.dumps(rows, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, text: bytes) -> ModelLayout:
        """Parse the canonical form; raises LayoutError on anything else."""
        try:
            rows: list[dict[str, Any]] = json.loads(text)
            specs = tuple(
                ParamSpec(
                    str(r["name"]),
                    tuple(int(n) for n in r["shape"]),
                    Kind(r["kind"]),
                    Scope(r["scope"]),
                    _rules(r["rules"]) if "rules" in r else None,
                )
                for r in rows
            )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise LayoutError(f"not a model layout: {error}") from error
        return cls(specs)

    @cached_property
    def digest(self) -> str:
        """Return the sha256 of the canonical form."""
        return hashlib.sha256(self.to_json()).hexdigest()


def _rules(given: Mapping[str, Any]) -> TableRules:
    """Return table rules with every field as what it should be."""
    scales = {name: float(given[name]) for name in ("initial_std", "initial_bound")}
    limits = {name: int(n) for name, n in given.items() if name not in scales}
    return TableRules(scales["initial_std"], scales["initial_bound"], **limits)


def matches(parameter: str, name: str) -> bool:
    """Return whether a name in a spec means this parameter: its own, or its beginning up to a dot."""
    return parameter == name or parameter.startswith(f"{name}.")


@dataclass(frozen=True)
class RowSet:
    """Some rows of one table.

    ids: int64 [n], sorted, unique; values: float32 [n, D]; weights: float64 [n], how many local samples
    trained the row (1 for initial values, empty array when values are only read).
    """

    ids: Int64Array
    values: Float32Array
    weights: Float64Array = field(default_factory=lambda: np.empty(0, np.float64))

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class ModelState:
    """Values of (part of) a model: dense arrays by name, and rows of tables by name."""

    dense: Mapping[str, Float32Array]
    rows: Mapping[str, RowSet]

    def shared(self, layout: ModelLayout) -> ModelState:
        """Return what may leave the trainer: private parameters are not in it."""
        return self._scoped(layout, Scope.SHARED)

    def private(self, layout: ModelLayout) -> ModelState:
        """Return what must stay with the trainer."""
        return self._scoped(layout, Scope.PRIVATE)

    def _scoped(self, layout: ModelLayout, scope: Scope) -> ModelState:
        return ModelState(
            {n: v for n, v in self.dense.items() if layout[n].scope is scope},
            {n: v for n, v in self.rows.items() if layout[n].scope is scope},
        )

    def merged(self, other: ModelState) -> ModelState:
        """Return both parts together; a name in both is an error."""
        twice = (self.dense.keys() & other.dense.keys()) | (self.rows.keys() & other.rows.keys())
        if twice:
            raise LayoutError(f"parameters given twice: {sorted(twice)}")
        return ModelState({**self.dense, **other.dense}, {**self.rows, **other.rows})


def whole_rows(table: Float32Array | Float64Array) -> NDArray[np.void]:
    """Return a view of a contiguous table [N, D] of which each row is one element: rows are written twice as fast."""
    rows: NDArray[np.void] = table.view(f"V{table.itemsize * table.shape[1]}")[:, 0]
    return rows


def flat_dense(specs: Iterable[ParamSpec], dense: Mapping[str, Float32Array]) -> list[Float32Array]:
    """Return the named arrays as float32 vectors in the order of the specs, as views where they are contiguous."""
    flat = []
    for spec in specs:
        value = dense.get(spec.name)
        if value is None or tuple(value.shape) != spec.shape:
            found = "nothing" if value is None else f"shape {tuple(value.shape)}"
            raise LayoutError(f"parameter {spec.name}: expected shape {spec.shape}, found {found}")
        flat.append(np.ascontiguousarray(value, np.float32).reshape(-1))
    return flat


def pack_dense(specs: Iterable[ParamSpec], dense: Mapping[str, Float32Array]) -> Float32Array:
    """Concatenate the named arrays in the order of the specs. Returns float32 [sum of sizes]."""
    return np.concatenate([np.empty(0, np.float32), *flat_dense(specs, dense)])


def unpack_dense(specs: Iterable[ParamSpec], vector: Float32Array) -> dict[str, Float32Array]:
    """Cut a dense vector into named arrays (views of it); raises LayoutError when the length is another."""
    specs = tuple(specs)
    wanted = sum(spec.size for spec in specs)
    if vector.shape != (wanted,):
        raise LayoutError(f"dense vector: expected {wanted} elements, found shape {vector.shape}")
    parts: dict[str, Float32Array] = {}
    offset = 0
    for spec in specs:
        parts[spec.name] = vector[offset : offset + spec.size].reshape(spec.shape)
        offset += spec.size
    return parts
