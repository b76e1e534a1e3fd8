"""Makes a trainer's LocalTrainer from the job's file: data, model, layout, plan. Called by programs.trainer."""

from __future__ import annotations

from pathlib import Path

from fljob_api import names
from fljob_api.job_config import JobConfig
from fljob_runtime import registry
from fljob_runtime.data.datasets import OpenRequest, open_dataset
from fljob_runtime.data.examples import SiteData
from fljob_runtime.models.base import make_model
from fljob_runtime.parameters import Scope
from fljob_runtime.training.local import LocalTrainer, TrainPlan


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
    request = OpenRequest(trainer, index, len(spec.trainers), spec.seed, folder)
    return open_dataset(spec.dataset.name, spec.dataset.parameters, request)


def make_local(config: JobConfig, trainer: str, data: SiteData) -> LocalTrainer:
    """Make the model at its initial values, by the seed; raises RegistryError, SchemaError or LayoutError."""
    spec = config.spec
    model = make_model(spec.model.name, spec.model.parameters, data.schema, spec.seed)
    scopes = {scope.name: Scope(scope.scope.value.lower()) for scope in spec.parameter_scopes}
    plan = TrainPlan.of(spec, trainer)
    return LocalTrainer(model, plan.algorithm.layout(model.layout().with_scopes(scopes)), data, plan)
