"""Where the time goes: the functions that cost most CPU of their own, path by path. `make profile`.

    python bench/hot_paths.py [--paths round beside intake commit pull geo report] [--top 8] [--scale 1.0]

cProfile with the process's CPU clock, so that a busy machine changes little. Each path is the real code, called in this
process without gRPC: a trainer's round on the local benchmark's data, and the same without the training itself; a shard
that takes in, commits, adds (Geo) and gathers 20,000 rows of a table of a million; a coordinator that takes in the
reports of ten trainers. Asserts nothing.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from table_calls import Shards, Zipf

from fljob_cli import manifests
from fljob_cli.pooled_worker import open_site
from fljob_runtime import registry
from fljob_runtime.messages import TrainReport
from fljob_runtime.metrics.sums import MetricSums
from fljob_runtime.roles.progress_view import check_metrics, summarise
from fljob_runtime.roles.trainer_setup import local_trainer
from fljob_runtime.training.local import LocalTrainer, LocalUpdate, TrainPlan
from fljob_runtime.transport.conversion import report_from_proto, report_to_proto
from fljob_runtime.transport.encode import encode_update
from fljob_runtime.transport.framing import data_chunks
from fljob_runtime.transport.heap import keep_freed_pieces

ROWS, TOUCHED, REPEATS = 1_000_000, 20_000, 20
Step = Callable[[], object]


def _local_trainer() -> LocalTrainer:
    job = manifests.load(Path(__file__).parent / "local.yaml")
    registry.load()
    spec = job.spec
    return local_trainer(spec, TrainPlan.of(spec, "site-0"), open_site(job, spec.trainers[0].name, {}))


def trainer_round(_: Path, __: int) -> Iterator[Step]:
    """A trainer's round without the network: which rows, load, train, encode, evaluate."""
    trainer = _local_trainer()

    def once(number: int) -> None:
        _prepare(trainer, number)
        _tell(trainer, trainer.train(number))

    for number in range(1, 6):
        yield lambda number=number: once(number)


def beside_training(_: Path, __: int) -> Iterator[Step]:
    """The same round without the training: which rows, load, encode, evaluate, sums as bytes."""
    trainer = _local_trainer()
    update = trainer.train(1)

    def once(number: int) -> None:
        _prepare(trainer, number)
        _tell(trainer, update)

    for number in range(2, 2 + REPEATS):
        yield lambda number=number: once(number)


def _prepare(trainer: LocalTrainer, number: int) -> None:
    wanted = trainer.needed_rows(number, evaluation=True)
    trainer.load(trainer.values(wanted))


def _tell(trainer: LocalTrainer, update: LocalUpdate) -> None:
    for payload in encode_update(trainer.layout, update.state, 2):
        list(data_chunks(payload.arrays))
    update.metrics.to_bytes()
    trainer.evaluate().sums.to_bytes()


def intake(scratch: Path, rows: int) -> Iterator[Step]:
    """A push of rows, received, checked and staged."""
    zipf, shards = Zipf(rows), Shards(rows, 2, scratch)
    for _ in range(REPEATS):
        sent, staged = shards.sent(zipf.batch(TOUCHED * rows // ROWS)), []
        yield lambda sent=sent, staged=staged: staged.extend(shards.stage(sent))
        shards.commit(staged)


def commit(scratch: Path, rows: int) -> Iterator[Step]:
    """A push of rows made the next version."""
    zipf, shards = Zipf(rows), Shards(rows, 2, scratch)
    for _ in range(REPEATS):
        staged = shards.stage(shards.sent(zipf.batch(TOUCHED * rows // ROWS)))
        yield lambda staged=staged: shards.commit(staged)


def pull(scratch: Path, rows: int) -> Iterator[Step]:
    """Rows gathered for a pull."""
    zipf, shards = Zipf(rows), Shards(rows, 2, scratch)
    for _ in range(REPEATS):
        asked = shards.asked(zipf.batch(TOUCHED * rows // ROWS).ids)
        yield lambda asked=asked: shards.pull(asked)


def geo(scratch: Path, rows: int) -> Iterator[Step]:
    """A contribution received and added at once."""
    zipf, shards = Zipf(rows), Shards(rows, 2, scratch, geo=True)
    for _ in range(REPEATS):
        sent = shards.sent(zipf.batch(TOUCHED * rows // ROWS))
        yield lambda sent=sent: shards.add(shards.take(sent))


def report(_: Path, __: int) -> Iterator[Step]:
    """Reports of ten trainers decoded, checked, and their sums put together."""
    random = np.random.default_rng(0)
    kind = type(report_to_proto(TrainReport(1, 1, (), 50_000)))

    def sent() -> bytes:
        scores, labels = random.normal(size=65_536).astype(np.float32), random.integers(0, 2, 65_536).astype(np.float32)
        sums = MetricSums.of(scores, labels).to_bytes()
        return report_to_proto(TrainReport(1, 1, (), 50_000, metrics=sums)).SerializeToString()

    def once(protos: list[bytes]) -> None:
        received = [report_from_proto(kind.FromString(proto)) for proto in protos]
        sums = [one.metrics for one in received if isinstance(one, TrainReport) and not check_metrics(one.metrics)]
        summarise(sums)

    for _ in range(REPEATS):
        protos = [sent() for _ in range(10)]
        yield lambda protos=protos: once(protos)


PATHS = {
    "round": trainer_round,
    "beside": beside_training,
    "intake": intake,
    "commit": commit,
    "pull": pull,
    "geo": geo,
    "report": report,
}


def profiled(steps: Iterator[Step]) -> tuple[float, list[tuple[float, str]]]:
    """Return the CPU seconds of a step, and of each function in it its own, most first. The first step is left out."""
    profile, count = cProfile.Profile(time.process_time), 0
    next(steps)()
    for step in steps:
        profile.enable()
        step()
        profile.disable()
        count += 1
    found = pstats.Stats(profile)
    own = [
        (values[2] / count, f"{Path(place[0]).name}:{place[1]} {place[2]}" if place[1] else place[2])
        for place, values in found.stats.items()  # type: ignore[attr-defined]
    ]
    return found.total_tt / count, sorted(own, reverse=True)  # type: ignore[attr-defined]


def main() -> None:
    """Profile, print."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    flags.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS))
    flags.add_argument("--top", type=int, default=8)
    flags.add_argument("--scale", type=float, default=1.0, help="of the tables and of what is touched")
    options = flags.parse_args()
    torch.set_num_threads(1)
    keep_freed_pieces()
    total: dict[str, object] = {"bench": "hot_paths"}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.paths:
            seconds, own = profiled(PATHS[name](Path(folder), int(ROWS * options.scale)))
            print(f"\n{name}: {1000 * seconds:.2f} ms CPU. {PATHS[name].__doc__}")
            for cost, function in own[: options.top]:
                print(f"{100 * cost / seconds:6.1f} % {1000 * cost:9.3f} ms  {function}")
            total[name] = {"ms": 1000 * seconds, "top": [[f, 1000 * s] for s, f in own[: options.top]]}
    json.dump(total, sys.stdout)
    print()


if __name__ == "__main__":
    main()
