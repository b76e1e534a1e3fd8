"""A warm round beside Flower's simulation: same data, model, batch and machine, in turn. `make bench-flower`.

    python bench/flower.py --flower-venv DIR [--install] [--repeats 3] [--rounds 8]

Ours is `fljob run` of local.yaml: a process per client, gRPC with mutual TLS. Theirs is run_simulation: Ray's workers,
one a core. DIR is a virtual environment that has `flwr[simulation]` and torch 2.13.0; with --install it is made, or
filled. Flower is no dependency of this repository. The first round is left out of both. Wall is from the order to train
to the aggregate; CPU is of all processes, ours with each round's evaluation, theirs with none.
Prints a table and, as its last line, one JSON object. Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass, field
from pathlib import Path

import local
import numpy as np
import processes

from fljob_api.fljob import FLJob
from fljob_cli import manifests
from fljob_runtime import registry
from fljob_runtime.data.datasets import OpenRequest, open_dataset
from fljob_runtime.data.examples import Examples, SiteData

HERE = Path(__file__).parent
NEEDED = ("flwr[simulation]", "torch==2.13.0")
_IDS = ("user", "item")
_LIMIT_S = 300.0
_POLL_S = 0.005
_GRACE_S = 20.0


@dataclass
class Peer:
    """One simulation: seconds of each round, CPU between the first round's end and the last's, final AUC."""

    seconds: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    auc: float = float("nan")


def python_of(folder: Path, *, install: bool) -> Path:
    """Return the interpreter that has Flower; installs it if asked to, else says how."""
    python = folder / "bin/python"
    if install:
        if not python.exists():
            venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *NEEDED], check=True)
    found = python.exists() and subprocess.run([python, "-c", "import flwr.simulation, ray, torch"], check=False)
    if not found or found.returncode:
        raise SystemExit(f"{folder} has no Flower: give --install, or pip install {' '.join(NEEDED)} there")
    return python


def write_data(job: FLJob, folder: Path) -> None:
    """Write each client's training pairs, all held-out pairs and the tables' sizes, for Flower's side to read."""
    registry.load()
    spec, tests = job.spec, []
    for index, trainer in enumerate(spec.trainers):
        request = OpenRequest(trainer.name, index, len(spec.trainers), spec.seed, None)
        data: SiteData = open_dataset(spec.dataset.name, spec.dataset.parameters, request)
        made = data.epoch(np.random.default_rng(index))
        np.savez(folder / f"{index}.npz", **made.columns, label=made.labels)
        tests.append(data.held_out().examples)
        (folder / "shape.json").write_text(json.dumps({f"{name}s": data.schema.num_ids(name) for name in _IDS}))
    test = Examples.joined(tests)
    np.savez(folder / "test.npz", **test.columns, label=test.labels)


def simulate(python: Path, data: Path, rounds: int) -> Peer:
    """Run Flower's side once; it is ended when it has said its AUC, since Ray may take its time to stop."""
    peer, marks, said, log = Peer(), {}, "", data / "flower.log"
    with log.open("w") as out:
        command = [str(python), str(HERE / "flower_app.py"), str(data), str(rounds)]
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": ""})
        deadline = time.monotonic() + _LIMIT_S
        try:
            while process.poll() is None and "AUC " not in said:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"Flower's simulation took longer than {_LIMIT_S:.0f} s; see {log}")
                said = log.read_text(errors="replace")
                done = said.count("ROUND {")
                if done in {1, rounds} and done not in marks:
                    marks[done] = processes.snapshot(process.pid, process.pid).cpu_s
                time.sleep(_POLL_S)
        finally:
            _end(process)
    if "AUC " not in said or set(marks) != {1, rounds}:
        raise RuntimeError(f"Flower's simulation ended with {process.returncode}:\n{said[-2000:]}")
    peer.seconds = [json.loads(line)["seconds"] for line in re.findall(r"ROUND (\{.*\})", said)]
    peer.auc = float(re.findall(r"AUC (\S+)", said)[-1])
    peer.cpu_s = sum(s - marks[1].get(pid, 0.0) for pid, s in marks[rounds].items()) / (rounds - 1)
    return peer


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and, where they outlive it, those that it started."""
    started = processes.descendants(process.pid)[1:] if process.poll() is None else []
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_GRACE_S)
    for pid in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def main() -> None:
    """Measure, print."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    flags.add_argument("--flower-venv", type=Path, required=True, help="a virtual environment with flwr[simulation]")
    flags.add_argument("--install", action="store_true", help="make it, or fill it")
    flags.add_argument("--repeats", type=int, default=3)
    flags.add_argument("--rounds", type=int, default=8)
    options = flags.parse_args()
    python = python_of(options.flower_venv.absolute(), install=options.install)
    manifest = HERE / "local.yaml"
    job = manifests.load(manifest)
    load = os.getloadavg()[0]
    ours, theirs = [], []
    with tempfile.TemporaryDirectory(prefix="fljob-bench-") as folder:
        write_data(job, Path(folder))
        for _ in range(options.repeats):
            theirs.append(simulate(python, Path(folder), options.rounds))
            ours.append(local.run_once(manifest, options.rounds))
    report(ours, theirs, options.rounds, load)


def report(ours: list[local.Run], theirs: list[Peer], rounds: int, load: float) -> None:
    """Print the table and the JSON line."""
    wall = [statistics.median(run.seconds[2:]) for run in ours]
    cpu = [_cpu_s(run, rounds) for run in ours]
    peer_wall = [statistics.median(peer.seconds[1:]) for peer in theirs]
    rows = [
        ("warm round, ours, s", wall),
        ("warm round, Flower's simulation, s", peer_wall),
        ("Flower's / ours", [p / o for o, p in zip(wall, peer_wall, strict=True)]),
        ("CPU a round, ours, s", cpu),
        ("CPU a round, Flower's simulation, s", [peer.cpu_s for peer in theirs]),
        (f"AUC after {rounds} rounds, ours", [run.auc for run in ours]),
        (f"AUC after {rounds} rounds, Flower's simulation", [peer.auc for peer in theirs]),
    ]
    print(f"{'':44}{'median':>10}{'least':>10}{'most':>10}")
    for name, values in rows:
        print(f"{name:<44}{statistics.median(values):>10.3f}{min(values):>10.3f}{max(values):>10.3f}")
    after = os.getloadavg()[0]
    print(f"load average {load:.1f} before, {after:.1f} after, {os.cpu_count()} cores, {len(ours)} repeats, in turn")
    figures = {name: {"median": statistics.median(v), "min": min(v), "max": max(v)} for name, v in rows}
    json.dump({"bench": "flower", "figures": figures, "load": [load, after]}, sys.stdout)
    print()


def _cpu_s(run: local.Run, rounds: int) -> float:
    """Return the CPU of all processes of a warm round."""
    first, last = run.marks[1], run.marks[rounds - 1]
    return sum(s - first.cpu_s.get(pid, 0.0) for pid, s in last.cpu_s.items()) / (rounds - 2)


if __name__ == "__main__":
    main()
