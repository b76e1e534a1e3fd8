"""The process behind `--compare-pooled`: trains on all sites' data together, a line of JSON per pass on stdout.

Started by `fljob_cli.pooled` as `python -m fljob_cli.pooled_worker CONFIG`. It ends early when nobody reads.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fljob_api.fljob import FLJob
from fljob_runtime import registry
from fljob_runtime.data.datasets import OpenRequest, open_dataset
from fljob_runtime.data.examples import SiteData
from fljob_runtime.roles.progress_view import named
from fljob_runtime.roles.trainer_setup import single_trainer
from fljob_runtime.rounds.history import headline
from fljob_runtime.training.pooled import PooledData, train_pooled

_NICE = 10


def open_pooled(job: FLJob, folders: Mapping[str, Path], *, allow_pipe: bool = False) -> PooledData:
    """Open every trainer's data as one client's; raises DataError or RegistryError."""
    return PooledData([open_site(job, site.name, folders, allow_pipe=allow_pipe) for site in job.spec.trainers])


def open_site(job: FLJob, site: str, folders: Mapping[str, Path], *, allow_pipe: bool = False) -> SiteData:
    """Open one trainer's data; raises DataError or RegistryError. allow_pipe: to run the manifest's command."""
    spec = job.spec
    index = [trainer.name for trainer in spec.trainers].index(site)
    request = OpenRequest(site, index, len(spec.trainers), spec.data_seed, folders.get(site), allow_pipe)
    return open_dataset(spec.dataset.name, spec.dataset.parameters, request)


def read_config(config: Path) -> tuple[dict[str, Any], FLJob, PooledData]:
    """Read what a process is told to train: all of it, its job, and every trainer's data."""
    value = json.loads(config.read_text(encoding="utf-8"))
    job = FLJob.from_dict(value["job"])
    registry.load(job.spec.imports)
    return value, job, open_pooled(job, {name: Path(folder) for name, folder in value["data"].items()})


def main(config: Path) -> None:
    """Train as many passes as the configuration asks for."""
    os.nice(_NICE)
    torch.set_num_threads(1)
    value, job, data = read_config(config)
    trainer = single_trainer(job.spec, "pooled", data)
    for number, metrics in enumerate(
        train_pooled(trainer, value["passes"], job.spec.strategy.local_epochs or 1), start=1
    ):
        told = named(metrics)
        line = {"pass": number, "loss": metrics.loss, "score": told.get(headline(told))}
        try:
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            sys.stderr.close()
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
