"""Local training alone, one thread a process: a plain PyTorch loop beside our LocalTrainer."""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier

import numpy as np
import torch
from torch import Tensor, nn

from fljob_api.fljob import FLJob
from fljob_cli.pooled_worker import open_site
from fljob_runtime import registry
from fljob_runtime.data.examples import Examples, SiteData
from fljob_runtime.roles.trainer_setup import local_trainer
from fljob_runtime.training.local import TrainPlan

_START_S = 60.0


@dataclass(frozen=True)
class Compute:
    """Samples a second of each repeat, and CPU seconds of our training and evaluation of one site."""

    plain: list[float]
    ours: list[float]
    train_cpu_s: list[float]
    evaluate_cpu_s: list[float]
    train_wall_s: list[float]


class PlainNcf(nn.Module):
    """The peer: NCF-MLP 64-32-16-8 as one would write it down, with nothing of ours."""

    def __init__(self, users: int, items: int) -> None:
        super().__init__()
        self.user = nn.Embedding(users, 32)
        self.item = nn.Embedding(items, 32)
        layers = [part for a, b in ((64, 32), (32, 16), (16, 8)) for part in (nn.Linear(a, b), nn.ReLU())]
        self.tower = nn.Sequential(*layers, nn.Linear(8, 1))

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        return self.tower(torch.cat([self.user(users), self.item(items)], 1)).squeeze(1)


def on_all_cores(job: FLJob, repeats: int) -> list[Compute]:
    """Train with nothing else of ours around, in one process per core at once: they share caches and memory."""
    cores = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, context, initializer=_wait_for_all, initargs=(context.Barrier(cores),)) as pool:
        return [started.result() for started in [pool.submit(measure, job, repeats) for _ in range(cores)]]


def _wait_for_all(barrier: Barrier) -> None:
    barrier.wait(_START_S)


def measure(job: FLJob, repeats: int) -> Compute:
    """Train one site's data with both, in turn."""
    torch.set_num_threads(1)
    registry.load()
    spec = job.spec
    data = open_site(job, spec.trainers[0].name, {})
    trainer = local_trainer(spec, TrainPlan.of(spec, "site-0"), data)
    plain = PlainNcf(data.schema.num_ids("user"), data.schema.num_ids("item"))
    result = Compute([], [], [], [], [])
    for number in range(repeats + 1):
        examples = data.epoch(np.random.default_rng(number))
        plain_s = _plain_epoch(plain, examples, spec.strategy.batch_size)
        began, cpu = time.perf_counter(), time.process_time()
        trainer.train(number + 1)
        ours_s, train_cpu = time.perf_counter() - began, time.process_time() - cpu
        cpu = time.process_time()
        trainer.evaluate()
        if number > 0:
            _note(result, data, plain_s, ours_s)
            result.train_cpu_s.append(train_cpu)
            result.train_wall_s.append(ours_s)
            result.evaluate_cpu_s.append(time.process_time() - cpu)
    return result


def _note(result: Compute, data: SiteData, plain_s: float, ours_s: float) -> None:
    result.plain.append(data.num_samples / plain_s)
    result.ours.append(data.num_samples / ours_s)


def _plain_epoch(model: PlainNcf, examples: Examples, batch: int) -> float:
    """Return the seconds of one pass with a fresh fused Adam; the data lie in memory, shuffled beforehand."""
    users, items = (torch.from_numpy(examples.columns[name]) for name in ("user", "item"))
    labels = torch.from_numpy(examples.labels)
    began = time.perf_counter()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    loss_of = nn.BCEWithLogitsLoss()
    for start in range(0, len(labels), batch):
        stop = start + batch
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(model(users[start:stop], items[start:stop]), labels[start:stop])
        loss.backward()
        optimizer.step()
    return time.perf_counter() - began
