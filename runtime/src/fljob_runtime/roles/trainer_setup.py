"""Makes a trainer's LocalTrainer from the job's file: data, model, layout, plan.

Called by programs.trainer, and for the same model on pooled data by the command line.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fljob_api import names
from fljob_api.compute import Precision
from fljob_api.job_config import JobConfig
from fljob_api.spec import FLJobSpec
from fljob_api.strategy import StrategyName, StrategySpec
from fljob_api.tables import Keys, TableSpec
from fljob_runtime import registry
from fljob_runtime.data.datasets import OpenRequest, open_dataset
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.examples import SiteData
from fljob_runtime.errors import CheckpointError
from fljob_runtime.models.base import RecommenderModel, make_model
from fljob_runtime.models.tasks import NextItem
from fljob_runtime.parameters import Kind, LayoutError, ModelLayout, ParamSpec, Scope, TableRules, matches
from fljob_runtime.schema import Schema
from fljob_runtime.training import dumps
from fljob_runtime.training.beginning import initial_values
from fljob_runtime.training.compute import CPU
from fljob_runtime.training.local import LocalTrainer, TrainPlan

_log = logging.getLogger(__name__)


class UnknownTrainerError(ValueError):
    """The job has no trainer of this name."""


def open_data(config: JobConfig, trainer: str, folder: Path | None) -> SiteData:
    """Open the trainer's data; raises UnknownTrainerError, RegistryError or DataError."""
    spec = config.spec
    index = next((i for i, site in enumerate(spec.trainers) if site.name == trainer), None)
    if index is None:
        raise UnknownTrainerError(f"--trainer {trainer}: not in spec.trainers of {config.name}")
    registry.load(spec.imports)
    if folder is None and spec.trainers[index].data is not None:
        folder = Path(names.DATA_DIR)
    request = OpenRequest(trainer, index, len(spec.trainers), spec.data_seed, folder)
    return open_dataset(spec.dataset.name, spec.dataset.parameters, request)


def make_local(config: JobConfig, trainer: str, data: SiteData) -> LocalTrainer:
    """Make the model at its initial values; raises as `local_trainer` and `_begun` do."""
    made = local_trainer(config.spec, federated_plan(config.spec, trainer), data)
    return _begun(made, config.spec, in_cluster=config.kubernetes is not None)


def federated_plan(spec: FLJobSpec, trainer: str) -> TrainPlan:
    """Return a site's plan, on the CPU where the strategy needs that; raises RegistryError or ComputeError."""
    plan = TrainPlan.of(spec, trainer)
    why = _on_cpu_only(spec.strategy)
    if plan.compute.device != CPU and why:
        _log.warning("event=device trainer=%s used=cpu message=%s: training is on the CPU", trainer, why)
        plan = replace(plan, compute=replace(plan.compute, device=CPU))
    return plan


def _on_cpu_only(strategy: StrategySpec) -> str:
    """Return why a strategy's trainers need the model's values on the CPU all the time, "" if they do not."""
    if strategy.exchanges:
        return f"mode {strategy.mode} exchanges values within a round"
    corrects = strategy.name in {StrategyName.FED_PROX, StrategyName.SCAFFOLD}
    return f"{strategy.name} corrects each step by the values" if corrects else ""


def single_trainer(spec: FLJobSpec, client: str, data: SiteData) -> LocalTrainer:
    """Make a client that trains in one place, at its initial values; raises as `local_trainer` and `_begun` do."""
    return _begun(local_trainer(spec, TrainPlan.of(spec, client), data), spec)


def _begun(local: LocalTrainer, spec: FLJobSpec, *, in_cluster: bool = False) -> LocalTrainer:
    """Give a new client the values that spec.initialValues names; raises LayoutError or DataError."""
    given = spec.initial_values
    root = Path(names.INITIAL_DIR) if in_cluster else Path()
    paths = [root / str(index) / one.path if in_cluster else root / one.path for index, one in enumerate(given)]
    try:
        local.load(initial_values(given, paths, local.layout.model))
    except CheckpointError as error:
        raise DataError("spec.initialValues", str(error)) from error
    return local


def local_trainer(spec: FLJobSpec, plan: TrainPlan, data: SiteData) -> LocalTrainer:
    """Make one client of a job, or of its data pooled.

    Raises RegistryError, SchemaError, LayoutError or ComputeError.
    """
    model = _model(spec, data.schema)
    scopes = {scope.name: Scope(scope.scope.value.lower()) for scope in spec.parameter_scopes}
    layout = with_tables(model.layout().with_scopes(scopes), spec.tables, model)
    columns = model.tables()
    ranges = [s.name for s in layout.specs if s.kind is Kind.ROWS and columns[s.name] in data.schema.any_ids]
    if ranges:
        raise LayoutError(f"spec.tables: the ids of the data are any numbers; give {', '.join(ranges)} keys: Any")
    made = LocalTrainer(model, plan.algorithm.layout(layout), data, plan)
    if spec.precision is not Precision.FLOAT32:
        made.check_precision()
    if spec.dump is not None:
        dumps.check(spec.dump, made)
    return made


def _model(spec: FLJobSpec, schema: Schema) -> RecommenderModel:
    """Make the model for one id of each keyed column, so that its dense values are the same at every site."""

    def made(ids: Mapping[str, int]) -> RecommenderModel:
        return make_model(spec.model.name, spec.model.parameters, replace(schema, ids=ids), spec.initial_seed)

    any_keys = [table.name for table in spec.tables if table.keys is Keys.ANY]
    if not any_keys:
        return made(schema.ids)
    smallest = made(dict.fromkeys(schema.ids, 1))  # a model tells its tables when it is made
    keyed = {column for table, column in smallest.tables().items() if any(matches(table, name) for name in any_keys)}
    return made({column: 1 if column in keyed else n for column, n in schema.ids.items()})


def with_tables(layout: ModelLayout, tables: Sequence[TableSpec], model: RecommenderModel) -> ModelLayout:
    """Return the layout of a model with those of its tables keyed that have keys Any.

    Raises LayoutError for a name that is no table, for tables of one column of which only some are keyed, for rules of
    tables that no server holds, and for the items of a model that tells which one comes next.
    """
    columns = model.tables()
    for table in tables:
        if not any(matches(name, table.name) for name in columns):
            raise LayoutError(f"spec.tables: no table {table.name!r}; the model has {sorted(columns)}")
    specs = tuple(_with_keys(spec, tables, model) if spec.name in columns else spec for spec in layout.specs)
    for column in sorted(set(columns.values())):
        kinds = {spec.name: spec.kind for spec in specs if columns.get(spec.name) == column}
        if len(set(kinds.values())) > 1:
            ranges = ", ".join(sorted(name for name, kind in kinds.items() if kind is Kind.ROWS))
            raise LayoutError(f"spec.tables: all tables of a column have the same keys; {ranges} ({column}) has Range")
    keyed = [spec.name for spec in specs if spec.kind is Kind.KEYED]
    if keyed and isinstance(model.task, NextItem):  # its outputs are items by number, which each site would give anew
        raise LayoutError(f"spec.tables: {keyed[0]} cannot have keys: Any: the model's outputs are items 0 to n - 1")
    return ModelLayout(specs)


def _with_keys(spec: ParamSpec, tables: Sequence[TableSpec], model: RecommenderModel) -> ParamSpec:
    """Return the spec of a table as the first entry that names it says."""
    table = next((t for t in tables if matches(spec.name, t.name)), None)
    if table is None or table.keys is Keys.RANGE:
        return spec
    limits = (table.admit_after, table.expire_after_rounds, table.max_rows)
    if spec.scope is Scope.PRIVATE and limits != (None, None, None):
        raise LayoutError(
            f"spec.tables: {spec.name} is Private, so no server admits its rows or drops them; remove admitAfter, "
            "expireAfterRounds and maxRows"
        )
    rules = TableRules(
        initial_std=model.initial_std(spec.name),
        admit_after=table.admitted_after,
        expire_after_rounds=table.expire_after_rounds or 0,
        max_rows=table.most_rows,
    )
    return replace(spec, kind=Kind.KEYED, shape=spec.shape[1:], rules=rules)
