"""GRU4Rec's training: a plain PyTorch loop, our trainer, and the authors' way of batches, a step after every event.

    python bench/sessions.py [--items 17376] [--sessions 2000] [--batch 50] [--width 100] [--repeats 5]

Sessions are as long as RSC15's (2 to 20 items, 4.2 on average), items by Zipf. All three train the same sessions on one
thread, in turn; the first two the same batches. CPU seconds, so that a busy machine changes little. Asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from fljob_runtime import registry
from fljob_runtime.data.examples import Examples, HeldOut, LabelledRows
from fljob_runtime.data.sessions import unlabelled
from fljob_runtime.models.base import make_model
from fljob_runtime.schema import PADDING, IdSequence, Schema
from fljob_runtime.training.local import LocalTrainer, TrainPlan
from fljob_runtime.training.optimizers import make_optimizer

LONGEST, RATE = 20, 0.05


@dataclass(frozen=True)
class Size:
    """What is trained."""

    items: int
    sessions: int
    batch: int
    width: int


class Generated(LabelledRows):
    """Sessions of no meaning."""

    def __init__(self, size: Size) -> None:
        rng = np.random.default_rng(0)
        weights = 1.0 / np.arange(1, size.items + 1)
        rows = rng.choice(size.items, (size.sessions, LONGEST), p=weights / weights.sum())
        lengths = np.minimum(2 + rng.geometric(1 / 3.2, size.sessions) - 1, LONGEST)
        rows[np.arange(LONGEST) >= lengths[:, None]] = PADDING
        self.schema = Schema({}, sequences={"items": IdSequence(size.items, LONGEST)}, num_classes=0)
        self._train, self._held_out = unlabelled(rows), HeldOut(unlabelled(rows[:1]))


class Plain(nn.Module):
    """The peer: GRU4Rec as one would write it down, with nothing of ours."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size.items, size.width)
        self.gru = nn.GRU(size.width, size.width, batch_first=True)
        self.output = nn.Linear(size.width, size.items)

    def forward(self, items: Tensor) -> tuple[Tensor, Tensor]:
        lengths = (items != PADDING).sum(1) - 1
        before, after = (
            pack_padded_sequence(part, lengths, batch_first=True, enforce_sorted=False)
            for part in (items[:, :-1], items[:, 1:])
        )
        inputs = PackedSequence(self.embedding(before.data), before.batch_sizes)
        return self.output(self.gru(inputs)[0].data), after.data


def plain_epoch(model: Plain, examples: Examples, batch: int) -> None:
    """Train one pass with a fresh Adagrad."""
    optimizer = torch.optim.Adagrad(model.parameters(), lr=RATE, fused=True)
    for items in torch.from_numpy(examples.columns["items"]).split(batch):
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(*model(items)).backward()
        optimizer.step()


def lanes(examples: Examples, batch: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Put the sessions' events into lanes: input, next item and 0 where a session begins, [steps, batch] each."""
    rows = examples.columns["items"]
    there = rows[:, 1:] != PADDING
    before, after = rows[:, :-1][there], rows[:, 1:][there]
    goes_on = (np.nonzero(there)[1] > 0).astype(np.float32)
    steps = len(before) // batch
    before, after, goes_on = (part[: steps * batch].reshape(batch, steps).T for part in (before, after, goes_on))
    return before, after, goes_on


def event_epoch(model: Plain, cell: nn.GRUCell, examples: Examples, batch: int) -> None:
    """Train one pass in the authors' way: a step after each event, nothing goes back through time."""
    parameters = [*model.embedding.parameters(), *cell.parameters(), *model.output.parameters()]
    optimizer = torch.optim.Adagrad(parameters, lr=RATE, fused=True)
    before, after, goes_on = (torch.from_numpy(np.ascontiguousarray(part)) for part in lanes(examples, batch))
    hidden = torch.zeros(batch, cell.hidden_size)
    for items, targets, kept in zip(before, after, goes_on, strict=True):
        hidden = cell(model.embedding(items), hidden.detach() * kept[:, None])
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(model.output(hidden), targets).backward()
        optimizer.step()


def passes(size: Size) -> Iterator[tuple[str, Callable[[int], object]]]:
    """Yield what is timed, by name; each takes the number of a round."""
    data = Generated(size)
    registry.load()
    parameters = {"embeddingDim": size.width, "hidden": size.width}
    model = make_model("gru4rec", parameters, data.schema, 0)
    plan = TrainPlan("site-0", 0, make_optimizer("Adagrad", {}), RATE, size.batch)
    trainer, plain, cell = LocalTrainer(model, model.layout(), data, plan), Plain(size), nn.GRUCell(*[size.width] * 2)
    yield "plain loop", lambda number: plain_epoch(plain, trainer.round_examples(number), size.batch)
    yield "our trainer", trainer.train
    yield "a step each event", lambda number: event_epoch(plain, cell, trainer.round_examples(number), size.batch)


def measure(size: Size, repeats: int) -> dict[str, list[float]]:
    """Return predictions a CPU second of each repeat, in turn; the first one of each is not counted."""
    timed = list(passes(size))
    targets = int((Generated(size).epoch(np.random.default_rng(0)).columns["items"][:, 1:] != PADDING).sum())
    found: dict[str, list[float]] = {name: [] for name, _ in timed}
    for number in range(1, repeats + 2):
        for name, run in timed:
            began = time.process_time()
            run(number)
            if number > 1:
                found[name].append(targets / (time.process_time() - began))
    return found


def main() -> None:
    """Print a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("items", 17_376), ("sessions", 2000), ("batch", 50), ("width", 100), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen = vars(parser.parse_args())
    torch.set_num_threads(1)
    repeats = chosen.pop("repeats")
    found = measure(Size(**chosen), repeats)
    print(f"{'':<18} predictions/CPU s   of the plain loop")
    for name, rates in found.items():
        ratios = [rate / plain for rate, plain in zip(rates, found["plain loop"], strict=True)]
        print(
            f"{name:<18} {statistics.median(rates):>9,.0f}            {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )
    sys.stdout.write(json.dumps({**chosen, "rates": found}) + "\n")


if __name__ == "__main__":
    main()
