"""The process that trains rows which are no FLJob: all sites' data in one place, or one site's alone.

Started by `cells` as `python -m fljob_cli.reproduce.worker CONFIG`; a line of JSON with all metrics per pass on stdout.
Either way it is evaluated on all sites' held-out data, as an FLJob is. What it predicts of them at last goes to the
file that the configuration names, the model to its folder `keep`, if there is one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from fljob_api.fljob import FLJob
from fljob_cli.pooled_worker import read_config
from fljob_cli.train import write_epoch
from fljob_runtime.roles.progress_view import named
from fljob_runtime.roles.trainer_setup import single_trainer
from fljob_runtime.training.pooled import PooledData, train_pooled


def main(config: Path) -> None:
    """Train as many passes as the configuration asks for."""
    torch.set_num_threads(1)  # as a federated trainer has: a second one took twice the CPU and no less time
    value, job, every = read_config(config)
    site = value["site"]
    data = PooledData([every.parts[_index(job, site)]], tested=every.parts) if site else every
    trainer = single_trainer(job.spec, site or "pooled", data)
    told: dict[str, float] = {}
    for metrics in train_pooled(trainer, value["passes"]):
        told = named(metrics)
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
    if value["scores"]:
        np.save(value["scores"], trainer.known())
    if value.get("keep"):
        write_epoch(job, trainer, Path(value["keep"]), number=value["passes"], metrics=told)


def _index(job: FLJob, site: str) -> int:
    return [trainer.name for trainer in job.spec.trainers].index(site)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
