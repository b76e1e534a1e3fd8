"""Training of every built-in model: a plain PyTorch loop beside our trainer, in turn, on the same batches, one thread.

    python bench/models.py [--only NAME ...] [--scale 1.0] [--repeats 7]

Generated data of the shapes that the models were published with: MovieLens-1M's pairs, Criteo's 26 columns of ids and
13 of numbers, RSC15's sessions, FEMNIST's pictures. Both begin with the same values and have the same optimizer, fresh
each round; `difference` says how far their values are from each other after the first one. The plain loop is given its
batches; ours draws them, and all else that a round does is in its time, too. Ratios are of CPU seconds, which a busy
machine changes little, and of wall time. Asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import plain_models as plain
import torch
from torch import Tensor, nn

from fljob_runtime import registry
from fljob_runtime.data.examples import Examples, HeldOut, LabelledRows, epoch_rng
from fljob_runtime.models.base import make_model
from fljob_runtime.models.dlrm import Dlrm
from fljob_runtime.models.tables import Projected
from fljob_runtime.schema import PADDING, IdSequence, Schema
from fljob_runtime.training.local import LocalTrainer, TrainPlan
from fljob_runtime.training.optimizers import make_optimizer

USERS, ITEMS, SESSION_ITEMS, LONGEST, SIDE, CLASSES = 604, 3706, 2000, 20, 28, 62
FIELDS = {f"c{n}": size for n, size in enumerate([3, 10, 24, 100, 300, 1000, 2000, 4000] * 3 + [600, 12_000])}
NUMBERS = 13
MIXED = {"embeddings": "MixedDimension"}
Make = Callable[[nn.Module], plain.Peer]  # of our model, for shapes that it works out


@dataclass(frozen=True)
class Case:
    """One model. peer: the same in plain PyTorch."""

    model: str
    parameters: Mapping[str, Any]
    data: str
    batch: int
    optimizer: str
    rate: float
    peer: Make


def _criteo(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - parameters of a manifest
    return {"model": "dlrm", "parameters": changes, "data": "criteo", "batch": 128, "optimizer": "SGD", "rate": 0.1}


def _dlrm(*, dot: bool = True, compressed: Callable[[int], nn.Module] | None = None) -> Make:
    def made(_: nn.Module) -> plain.Peer:
        table = compressed or (lambda rows: nn.Embedding(rows, 16))
        columns = {
            name: (table if rows > 200 else lambda n: nn.Embedding(n, 16))(rows) for name, rows in FIELDS.items()
        }
        return plain.Dlrm(columns, NUMBERS, 16, dot=dot)

    return made


def _mixed(ours: nn.Module) -> plain.Peer:
    assert isinstance(ours, Dlrm)
    columns: dict[str, nn.Module] = {}
    for name, rows in FIELDS.items():
        table, projected = nn.Embedding(rows, 16), ours.embeddings[name]
        if isinstance(projected, Projected):
            width = projected.table.embedding_dim
            columns[name] = nn.Sequential(nn.Embedding(rows, width), nn.Linear(width, 16, bias=False))
        else:
            columns[name] = table
    return plain.Dlrm(columns, NUMBERS, 16, dot=True)


_LAYERS = (64, 32, 16, 8)
_PAIRS = {"data": "pairs", "batch": 512, "optimizer": "Adam", "rate": 1e-3}
_CLICKS = {"data": "criteo", "batch": 256, "optimizer": "Adam", "rate": 1e-3}
_NEXT = {"parameters": {}, "data": "sessions", "batch": 50, "optimizer": "Adagrad", "rate": 0.05}
_PICTURES = {"data": "pictures", "batch": 20, "optimizer": "SGD", "rate": 0.01}
CASES = {
    "ncf GMF": Case("ncf", {"mode": "GMF"}, **_PAIRS, peer=lambda _: plain.Ncf(USERS, ITEMS, 8)),
    "ncf MLP": Case("ncf", {"mode": "MLP"}, **_PAIRS, peer=lambda _: plain.Ncf(USERS, ITEMS, 0, _LAYERS)),
    "ncf NeuMF": Case("ncf", {}, **_PAIRS, peer=lambda _: plain.Ncf(USERS, ITEMS, 8, _LAYERS)),
    "mf": Case("mf", {}, **_PAIRS, peer=lambda _: plain.Mf(USERS, ITEMS, 16)),
    "fm": Case("fm", {}, **_CLICKS, peer=lambda _: plain.Fm(FIELDS, NUMBERS, 16)),
    "deepfm": Case("deepfm", {}, **_CLICKS, peer=lambda _: plain.Fm(FIELDS, NUMBERS, 16, (64, 32))),
    "dlrm Dot": Case(**_criteo(), peer=_dlrm()),
    "dlrm Cat": Case(**_criteo(interaction="Cat"), peer=_dlrm(dot=False)),
    "dlrm QuotientRemainder": Case(
        **_criteo(embeddings="QuotientRemainder"),
        peer=_dlrm(compressed=lambda rows: plain.QuotientRemainder(rows, 16, 4)),
    ),
    "dlrm MixedDimension": Case(**_criteo(**MIXED), peer=_mixed),
    "mlp": Case("mlp", {}, **_CLICKS, peer=lambda _: plain.Mlp(FIELDS, NUMBERS, 16, (256, 128))),
    "gru4rec": Case("gru4rec", **_NEXT, peer=lambda _: plain.Gru4Rec(SESSION_ITEMS, 100)),
    "youtube-dnn": Case("youtube-dnn", **_NEXT, peer=lambda _: plain.YoutubeDnn(SESSION_ITEMS, 64, (128, 64))),
    "softmax": Case("softmax", {}, **_PICTURES, peer=lambda _: plain.Softmax(SIDE * SIDE, CLASSES)),
    "cnn": Case("cnn", {"dense": 256}, **_PICTURES, peer=lambda _: plain.Cnn(SIDE, (32, 64), 256, CLASSES)),
}
ROWS = {"pairs": 250_000, "criteo": 20_000, "sessions": 1000, "pictures": 4000}
_SLOW = {"cnn": 0.1}  # part of the rows: a row is dear


class Generated(LabelledRows):
    """Rows of no meaning."""

    def __init__(self, kind: str, count: int) -> None:
        rng = np.random.default_rng(0)
        self.schema, columns, classes = _made(kind, count, rng)
        rows = Examples(columns, rng.integers(0, classes, count).astype(np.float32))
        self._train, self._held_out = rows, HeldOut(rows.take(slice(1)))


def _made(kind: str, count: int, rng: np.random.Generator) -> tuple[Schema, dict[str, np.ndarray], int]:
    """Return the schema, columns [N, ...] and how many labels there are."""
    if kind == "sessions":
        rows = rng.integers(0, SESSION_ITEMS, (count, LONGEST))
        lengths = np.minimum(2 + rng.geometric(1 / 3.2, count) - 1, LONGEST)
        rows[np.arange(LONGEST) >= lengths[:, None]] = PADDING
        return Schema({}, sequences={"items": IdSequence(SESSION_ITEMS, LONGEST)}, num_classes=0), {"items": rows}, 1
    if kind == "pictures":
        pixels = rng.random((count, SIDE, SIDE), np.float32)
        return Schema({}, {"pixels": (SIDE, SIDE)}, num_classes=CLASSES), {"pixels": pixels}, CLASSES
    sizes = {"user": USERS, "item": ITEMS} if kind == "pairs" else FIELDS
    columns: dict[str, np.ndarray] = {name: rng.integers(0, size, count) for name, size in sizes.items()}
    numbers = [] if kind == "pairs" else [f"n{i}" for i in range(NUMBERS)]
    columns |= {name: rng.random(count, np.float32) for name in numbers}
    return Schema(sizes, dict.fromkeys(numbers, ())), columns, 2


class Pair:
    """Our trainer and the plain loop, which begin with the same values."""

    def __init__(self, case: Case, count: int) -> None:
        self.case, self.data = case, Generated(case.data, count)
        model = make_model(case.model, case.parameters, self.data.schema, 0)
        self.plan = TrainPlan("site-0", 0, make_optimizer(case.optimizer, {}), case.rate, case.batch)
        self.trainer, self.peer = LocalTrainer(model, model.layout(), self.data, self.plan), case.peer(model)
        with torch.no_grad():
            for ours, theirs in zip(model.parameters(), self.peer.parameters(), strict=True):
                theirs.copy_(ours.reshape(theirs.shape))

    def batches(self, number: int) -> tuple[dict[str, Tensor], Tensor]:
        """Return a round's columns and labels as the plain loop has them."""
        examples = self.data.epoch(epoch_rng(0, "site-0", number - 1))
        columns = {name: torch.from_numpy(values) for name, values in examples.columns.items()}
        if numbers := [columns.pop(name) for name in self.data.schema.numbers]:
            columns["numbers"] = torch.stack(numbers, 1)
        return columns, torch.from_numpy(examples.labels)

    def plain_round(self, columns: dict[str, Tensor], labels: Tensor) -> None:
        """Train one pass with a fresh optimizer."""
        size, optimizer = self.case.batch, self.plan.optimizer.make(self.peer.parameters(), self.case.rate)
        for at in range(0, len(labels), size):
            optimizer.zero_grad(set_to_none=True)
            batch = {name: values[at : at + size] for name, values in columns.items()}
            self.peer.loss(batch, labels[at : at + size]).backward()
            optimizer.step()

    def difference(self) -> float:
        """Return the largest difference of any value."""
        both = zip(self.trainer.model.parameters(), self.peer.parameters(), strict=True)
        with torch.no_grad():
            return max(float((ours.reshape(theirs.shape) - theirs).abs().max()) for ours, theirs in both)


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Return CPU seconds of this thread and wall seconds."""
    cpu, wall = time.thread_time(), time.perf_counter()
    run()
    return time.thread_time() - cpu, time.perf_counter() - wall


def measure(case: Case, count: int, repeats: int) -> dict[str, Any]:
    """Train both in turn, each first in every other repeat; the first repeat is not counted."""
    pair = Pair(case, count)
    found: dict[str, Any] = {"ours_cpu_s": [], "plain_cpu_s": [], "ours_wall_s": [], "plain_wall_s": []}
    for number in range(1, repeats + 2):
        runs = {"ours": partial(pair.trainer.train, number), "plain": partial(pair.plain_round, *pair.batches(number))}
        for name in runs if number % 2 else reversed(runs):
            cpu, wall = timed(runs[name])
            if number > 1:
                found[f"{name}_cpu_s"].append(cpu)
                found[f"{name}_wall_s"].append(wall)
        if number == 1:
            found["difference"] = pair.difference()
    for clock in ("cpu", "wall"):
        found[f"{clock}_ratio"] = [
            p / o for p, o in zip(found[f"plain_{clock}_s"], found[f"ours_{clock}_s"], strict=True)
        ]
    return {"rows": count, "batch": case.batch, **found}


def main() -> None:
    """Print a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of rows")
    parser.add_argument("--repeats", type=int, default=7)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    registry.load()
    print(
        f"{'ours / plain, speed':<24}{'rows/CPU s':>11}{'by CPU':>8}{'least':>7}{'most':>7}{'by wall':>9}  difference"
    )
    models, load = {}, os.getloadavg()[0]
    for name in chosen.only:
        case = CASES[name]
        count = max(case.batch, int(ROWS[case.data] * _SLOW.get(case.model, 1.0) * chosen.scale))
        found = models[name] = measure(case, count, chosen.repeats)
        ratios, rate = found["cpu_ratio"], count / statistics.median(found["ours_cpu_s"])
        print(
            f"{name:<24}{rate:>11,.0f}{statistics.median(ratios):>8.2f}{min(ratios):>7.2f}{max(ratios):>7.2f}"
            f"{statistics.median(found['wall_ratio']):>9.2f}  {found['difference']:.0e}",
            flush=True,
        )
    print(f"load average {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores")
    sys.stdout.write(json.dumps({"models": models, "load": [load, os.getloadavg()[0]]}) + "\n")


if __name__ == "__main__":
    main()
