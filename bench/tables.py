"""The server's tables beside torch's primitives, in one process and then over gRPC. `make bench-tables`.

    python bench/tables.py [--rows 1000000 10000000] [--batches 1000 4096 10000 100000] [--shards 1 2] [--repeats 7]

Tables are float32 [rows, 32]; batches hold Zipf ids, sorted and unique, other ones each time. In process every figure
stands beside torch's index_select and index_add_ on a table of its own, one thread, in turn: which of the
two goes first changes with each repeat. Over gRPC (real shards, a process each, mutual TLS) p50 and p99 of calls made
one after the other. Prints tables and, as its last line, one JSON object. Asserts nothing; ten million rows take 6 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import table_wire
import torch
from table_calls import DIM, Batch, Shards, Zipf
from torch import Tensor, index_select

from fljob_runtime.parameters import Float32Array
from fljob_runtime.server.fold import fold_rows
from fljob_runtime.server.staging import StagedRows
from fljob_runtime.transport.heap import keep_freed_pieces

FOLDED = 4  # clients whose rows are folded into one version
_T = TypeVar("_T")
_Times = tuple[float, float]  # wall, CPU


@dataclass
class Pair:
    """Seconds of our call and of torch's, wall and CPU, of each repeat."""

    primitive: str
    ours: list[_Times] = field(default_factory=list)
    theirs: list[_Times] = field(default_factory=list)

    def ratios(self, clock: int = 0) -> list[float]:
        """Return our speed as a part of torch's. clock: 0 wall, 1 CPU."""
        return [t[clock] / o[clock] for o, t in zip(self.ours, self.theirs, strict=True)]

    def figures(self) -> dict[str, Any]:
        """Return what is printed of it."""
        wall, cpu = self.ratios(), self.ratios(1)
        return {
            "primitive": self.primitive,
            "ours_s": statistics.median(s for s, _ in self.ours),
            "theirs_s": statistics.median(s for s, _ in self.theirs),
            "ratio": {"median": statistics.median(wall), "min": min(wall), "max": max(wall)},
            "cpu_ratio": statistics.median(cpu),
        }


def _timed(call: Callable[[], _T]) -> tuple[_T, _Times]:
    cpu, start = time.process_time(), time.perf_counter()
    result = call()
    return result, (time.perf_counter() - start, time.process_time() - cpu)


class InProcess:
    """The comparisons of one table, one number of shards and one size of batch."""

    def __init__(self, zipf: Zipf, table: Tensor, size: int, repeats: int) -> None:
        self._zipf, self._table, self._size, self._repeats = zipf, table, size, repeats
        self.pairs = {
            "pull": Pair("index_select"),
            "commit": Pair("index_add_"),
            "receive + commit": Pair("index_add_"),
            "Geo's add": Pair("index_add_"),
            "receive + Geo's add": Pair("index_add_"),
            f"fold of {FOLDED}": Pair("unique, index_add_ in float64, mean"),
            f"fold of {FOLDED}, places told": Pair("index_add_ in float64, mean"),
        }

    def sync(self, shards: Shards) -> None:
        """Compare pulls, and pushes that make versions."""
        for number in range(self._repeats + 1):
            batch, table = self._zipf.batch(self._size), self._table
            sent, asked = shards.sent(batch), shards.asked(batch.ids)
            ids, values = torch.from_numpy(batch.ids), torch.from_numpy(batch.values)
            other = self._zipf.batch(self._size)
            new = torch.from_numpy(other.ids)
            pulled, selected = self._both(number, partial(shards.pull, asked), partial(index_select, table, 0, ids))
            add = partial(table.index_add_, 0, new, values)
            theirs = [] if number % 2 else [_timed(add)[1]]
            staged, received = _timed(partial(shards.stage, sent))
            committed = _timed(partial(shards.commit, staged))[1]
            theirs = theirs or [_timed(add)[1]]
            if number:
                self._note("pull", pulled, selected)
                self._note("commit", committed, theirs[0])
                self._note("receive + commit", _sum(received, committed), theirs[0])

    def geo(self, shards: Shards) -> None:
        """Compare pushes that are added at once."""
        for number in range(self._repeats + 1):
            batch, table = self._zipf.batch(self._size), self._table
            sent = shards.sent(batch)
            ids, values = torch.from_numpy(batch.ids), torch.from_numpy(batch.values)
            staged, received = _timed(partial(shards.take, sent))
            add = partial(table.index_add_, 0, ids, values)
            added, theirs = self._both(number, partial(shards.add, staged), add)
            if number:
                self._note("Geo's add", added, theirs)
                self._note("receive + Geo's add", _sum(received, added), theirs)

    def fold(self) -> None:
        """Compare the exact mean of some clients' rows with torch's, also with one that is told each row's place."""
        name, current = f"fold of {FOLDED}", self._table.numpy()
        for number in range(self._repeats + 1):
            batches = [self._zipf.batch(self._size) for _ in range(FOLDED)]
            fold = partial(fold_rows, [StagedRows(b.ids, b.values, np.ones(self._size)) for b in batches], current)
            whole = self._both(number, fold, partial(torch_fold, batches))
            told = self._both(number, fold, partial(torch_mean, batches, *places(batches)))
            if number:
                self._note(name, *whole)
                self._note(f"{name}, places told", *told)

    def _both(self, number: int, ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[_Times, _Times]:
        """Time both, the one or the other first."""
        if number % 2:
            mine = _timed(ours)[1]
            return mine, _timed(theirs)[1]
        other = _timed(theirs)[1]
        return _timed(ours)[1], other

    def _note(self, name: str, ours: _Times, theirs: _Times) -> None:
        self.pairs[name].ours.append(ours)
        self.pairs[name].theirs.append(theirs)


def torch_fold(batches: list[Batch]) -> Float32Array:
    """Return the mean of rows, as `torch_mean`, which is not told where they are."""
    return torch_mean(batches, *places(batches))


def places(batches: list[Batch]) -> tuple[list[Tensor], int]:
    """Return where each client's rows are among all of them, and how many those are."""
    ids = [torch.from_numpy(batch.ids) for batch in batches]
    union, where = torch.unique(torch.cat(ids), return_inverse=True)
    return list(where.split([len(each) for each in ids])), len(union)


def torch_mean(batches: list[Batch], where: list[Tensor], num_rows: int) -> Float32Array:
    """Return the mean of rows in float64, each over the clients that have it, float32 [num_rows, D]."""
    total = torch.zeros((num_rows, DIM), dtype=torch.float64)
    weight = torch.zeros(num_rows, dtype=torch.float64)
    for batch, index in zip(batches, where, strict=True):
        total.index_add_(0, index, torch.from_numpy(batch.values).double())
        weight.index_add_(0, index, torch.ones(len(index), dtype=torch.float64))
    mean: Float32Array = total.div_(weight[:, None]).float().numpy()
    return mean


def _sum(first: _Times, second: _Times) -> _Times:
    return first[0] + second[0], first[1] + second[1]


def in_process(num_rows: int, options: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    """Measure one table's size with every number of shards and every size of batch; print as it goes."""
    zipf, table = Zipf(num_rows), torch.zeros((num_rows, DIM))
    table.normal_(generator=torch.Generator().manual_seed(2))
    lines: list[dict[str, Any]] = []
    for count in options.shards:
        measured = {size: InProcess(zipf, table, size, options.repeats) for size in options.batches}
        for geo in (False, True):
            shards = Shards(num_rows, count, scratch, geo=geo)
            for one in measured.values():
                one.geo(shards) if geo else one.sync(shards)
            del shards  # a table of ten million rows is 1.3 GB
        for size, one in measured.items():
            if count == options.shards[0]:
                one.fold()
            for name, pair in one.pairs.items():
                if pair.ours:
                    lines.append({"rows": num_rows, "shards": count, "batch": size, "call": name, **pair.figures()})
                    _print_line(lines[-1])
    return lines


def _print_line(line: dict[str, Any]) -> None:
    batch, ours, theirs, ratio = line["batch"], line["ours_s"], line["theirs_s"], line["ratio"]
    print(
        f"{line['rows']:>10}{line['shards']:>7}{batch:>8}  {line['call']:<23}{batch / ours / 1e6:>8.2f}"
        f"{batch / theirs / 1e6:>8.2f}{ratio['median']:>8.2f} {ratio['min']:>5.2f}..{ratio['max']:<5.2f}"
        f"{line['cpu_ratio']:>7.2f}  {line['primitive']}",
        flush=True,
    )


def over_grpc(num_rows: int, options: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    """Measure the calls of one trainer; print as it goes."""
    lines: list[dict[str, Any]] = []
    for count in options.shards:
        with table_wire.wired(num_rows, count, scratch) as wire:
            for size in options.batches:
                seconds, cpu = wire.measure(size, options.calls)
                line: dict[str, Any] = {"rows": num_rows, "shards": count, "batch": size, "cpu_ms": 1000 * cpu}
                for name, values in seconds.items():
                    p50, p99 = (1000 * float(np.percentile(values, q)) for q in (50, 99))
                    line[name] = {"p50_ms": p50, "p99_ms": p99}
                cells = "".join(f"{line[name]['p50_ms']:>9.2f}{line[name]['p99_ms']:>9.2f}" for name in seconds)
                print(f"{num_rows:>10}{count:>7}{size:>8}{cells}{1000 * cpu:>9.2f}", flush=True)
                lines.append(line)
    return lines


def main() -> None:
    """Measure, print."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    flags.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    flags.add_argument("--batches", type=int, nargs="+", default=[1_000, 4_096, 10_000, 100_000])
    flags.add_argument("--shards", type=int, nargs="+", default=[1, 2])
    flags.add_argument("--repeats", type=int, default=7)
    flags.add_argument("--calls", type=int, default=100, help="of each kind over gRPC")
    options = flags.parse_args()
    torch.set_num_threads(1)
    keep_freed_pieces()
    load = os.getloadavg()[0]
    total: dict[str, Any] = {"bench": "tables"}
    with tempfile.TemporaryDirectory() as folder:
        print("In process: million rows a second, our speed as a part of torch's (wall: median, least..most; CPU)")
        heads = f"{'ours':>8}{'torch':>8}{'ratio':>8}{'spread':>13}{'CPU':>7}"
        print(f"{'rows':>10}{'shards':>7}{'batch':>8}  {'call':<23}{heads}")
        total["in_process"] = [line for n in options.rows for line in in_process(n, options, Path(folder))]
        print(f"\nOver gRPC: {options.calls} calls each, ms: p50 and p99; CPU of all processes for one of each")
        heads = "".join(f"{name + f' p{q}':>9}" for name in ("pull", "push", "comm") for q in (50, 99))
        print(f"{'rows':>10}{'shards':>7}{'batch':>8}{heads}{'CPU':>9}")
        total["grpc"] = [line for n in options.rows for line in over_grpc(n, options, Path(folder))]
    total["load"] = [load, os.getloadavg()[0]]
    print(f"load average {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores")
    json.dump(total, sys.stdout)
    print()


if __name__ == "__main__":
    main()
