"""The local benchmark: plain PyTorch and a whole local run, side by side in one run. `make bench`.

Prints a table and, as its last line, one JSON object. Nothing here is a test: figures of a busy machine are figures of
a busy machine, so the load average is printed with them. Linux, one machine; as root each run gets a network of its
own, so that the loopback's byte counter counts this run alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import compute
import processes

from fljob_cli import manifests

HERE = Path(__file__).parent
_ROUND = re.compile(
    r"^(\S+) INFO role=coordinator round=(\d+) loss=\S+ auc=(\S+) .*seconds=(\S+) bytes=(\d+)", re.MULTILINE
)
_LIMIT_S = 300.0
_POLL_S = 0.005


@dataclass
class Run:
    """One `fljob run`: what its coordinator logged, and what /proc said at two rounds' ends."""

    start: float
    at: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    payload: list[int] = field(default_factory=list)
    marks: dict[int, processes.Snapshot] = field(default_factory=dict)
    memory: dict[str, processes.Memory] = field(default_factory=dict)
    auc: float = float("nan")

    def read(self, log: Path) -> int:
        """Take in the log's committed rounds; returns the last one's number, -1 before round 0."""
        found = _ROUND.findall(log.read_text(encoding="utf-8")) if log.exists() else []
        for stamp, _, auc, seconds, moved in found[len(self.at) :]:
            self.at.append(datetime.fromisoformat(stamp).timestamp())
            self.seconds.append(float(seconds))
            self.payload.append(int(moved))
            self.auc = float("nan") if auc == "-" else float(auc)
        return len(self.at) - 1


def run_once(manifest: Path, rounds: int) -> Run:
    """Run the job once; marks are taken when rounds 1 and `rounds` - 1 are committed."""
    folder = Path(tempfile.mkdtemp(prefix="fljob-bench-"))
    command = [sys.executable, "-m", "fljob_cli", "run", str(manifest), "--run-dir", str(folder / "run")]
    command += ["--set", f"spec.rounds={rounds}"]
    if os.geteuid() == 0 and shutil.which("unshare") and shutil.which("ip"):
        command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
    run = Run(time.time())
    with (folder / "out").open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            _follow(run, process, folder / "run/logs/coordinator.log", rounds)
        finally:
            process.terminate()
            process.wait(20)
    words = (folder / "out").read_text()
    if process.returncode != 0:
        raise RuntimeError(f"fljob run ended with {process.returncode}: {words}")
    run.read(folder / "run/logs/coordinator.log")
    shutil.rmtree(folder)
    return run


def _follow(run: Run, process: subprocess.Popen[bytes], log: Path, rounds: int) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while process.poll() is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the run took longer than {_LIMIT_S:.0f} s")
        done = run.read(log)
        for mark in (1, rounds - 1):
            if done >= mark and mark not in run.marks:
                run.marks[mark] = processes.snapshot(process.pid, process.pid)
        if done >= rounds - 1 and not run.memory:
            run.memory = processes.memory_by_role(process.pid)
        time.sleep(_POLL_S)


@dataclass(frozen=True)
class Figures:
    """One number per repeat."""

    plain: list[float]
    trainer_ratio: list[float]
    round_s: list[float]
    cycle_s: list[float]
    first_step_s: list[float]
    beyond_ms: list[float]
    wire_ratio: list[float]
    payload_mb: list[float]
    compute_s: list[float]


def figures(
    runs: list[Run], alone: compute.Compute, around: list[list[compute.Compute]], clients: int, rounds: int
) -> Figures:
    """Work the figures out: warm rounds are the second and later ones.

    around: what training took on all cores at once just before and after each run. On one core alone, caches and memory
    are its own; and a virtual machine's CPU seconds are worth more in one minute than in the next.
    """
    made = Figures(
        alone.plain, [o / p for o, p in zip(alone.ours, alone.plain, strict=True)], [], [], [], [], [], [], []
    )
    for run, near in zip(runs, around, strict=True):
        own_cpu = statistics.median(s for c in near for s in c.train_cpu_s)
        own_cpu += statistics.median(s for c in near for s in c.evaluate_cpu_s)
        made.compute_s.append(clients / os.cpu_count() * statistics.median(s for c in near for s in c.train_wall_s))
        first, last = run.marks[1], run.marks[rounds - 1]
        cpu = sum(s - first.cpu_s.get(pid, 0.0) for pid, s in last.cpu_s.items())
        counted = rounds - 2
        made.beyond_ms.append(1000 * (cpu / (counted * clients) - own_cpu))
        moved = sum(run.payload[2:rounds])
        made.wire_ratio.append((last.loopback_bytes - first.loopback_bytes) / moved)
        made.payload_mb.append(moved / counted / 1e6)
        made.round_s.append(statistics.median(run.seconds[2:]))
        made.cycle_s.append(statistics.median(b - a for a, b in zip(run.at[1:-1], run.at[2:], strict=True)))
        made.first_step_s.append(run.at[0] - run.start)
    return made


def main() -> None:
    """Measure, print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--rounds", type=int, default=12)
    chosen = options.parse_args()
    manifest = HERE / "local.yaml"
    job = manifests.load(manifest)
    clients = len(job.spec.trainers)
    load = os.getloadavg()[0]
    alone = compute.measure(job, chosen.repeats)
    together, runs = [compute.on_all_cores(job, 2)], []
    for _ in range(chosen.repeats):
        runs.append(run_once(manifest, chosen.rounds))
        together.append(compute.on_all_cores(job, 2))
    around = [before + after for before, after in itertools.pairwise(together)]
    made = figures(runs, alone, around, clients, chosen.rounds)
    samples = statistics.median(alone.plain)
    rows = [
        ("plain PyTorch, one thread, samples/s", made.plain, "{:,.0f}", "440,000 on an idle core"),
        ("our trainer / plain PyTorch", made.trainer_ratio, "{:.3f}", "at least 0.95"),
        ("warm round: training to commit, s", made.round_s, "{:.2f}", "at most 0.80 on 2 idle cores"),
        ("the round's training alone, on all cores, s", made.compute_s, "{:.2f}", "0.57 on 2 idle cores"),
        (
            "warm round / its training alone",
            [r / c for r, c in zip(made.round_s, made.compute_s, strict=True)],
            "{:.2f}",
            "at most 1.40",
        ),
        ("warm round with evaluation, s", made.cycle_s, "{:.2f}", ""),
        ("from command to first training step, s", made.first_step_s, "{:.1f}", "at most 6"),
        ("CPU per client-round beyond training, ms", made.beyond_ms, "{:.0f}", "at most 20"),
        ("bytes on the wire / payload", made.wire_ratio, "{:.3f}", "at most 1.02"),
        ("payload per round, MB", made.payload_mb, "{:.2f}", ""),
    ]
    _print_table(rows, runs[-1].memory)
    print(f"load average {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores")
    values = {name: {"median": statistics.median(v), "min": min(v), "max": max(v)} for name, v, *_ in rows}
    memory = {role: vars(size) for role, size in runs[-1].memory.items()}
    total = {"samples_per_s": samples, "figures": values, "memory": memory, "load": [load, os.getloadavg()[0]]}
    print(json.dumps(total))


def _print_table(rows: list[tuple[str, list[float], str, str]], memory: dict[str, processes.Memory]) -> None:
    print(f"{'':44}{'median':>10}{'least':>10}{'most':>10}   wanted")
    for name, values, shape, wanted in rows:
        cells = (shape.format(v) for v in (statistics.median(values), min(values), max(values)))
        print(f"{name:<44}" + "".join(f"{cell:>10}" for cell in cells) + f"   {wanted}")
    print(f"\n{'memory':<14}{'processes':>10}{'peak MB':>10}{'proportional MB':>17}")
    for role, size in sorted(memory.items()):
        print(f"{role:<14}{size.processes:>10}{size.peak_mb:>10.0f}{size.proportional_mb:>17.0f}")


if __name__ == "__main__":
    main()
