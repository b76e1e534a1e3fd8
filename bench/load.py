"""A hundred trainers that only pull and push, against a real coordinator and two real shards. `make bench-load`.

    python bench/load.py [--trainers 100] [--seconds 600] [--shards 2]

Coordinator and shards are the programs that pods run, with mutual TLS; the trainers are threads of a few processes
(load_trainers), without torch. Prints rounds, latencies of pull and push, bytes, and of each server process the CPU
and the resident memory in the quarters of the time: flat memory is what is looked for. The last line is JSON. Linux.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import processes

from fljob_api.fljob import FLJob
from fljob_runtime.backends.fleet import Fleet
from fljob_runtime.backends.folder import RunFolder, prepare
from fljob_runtime.backends.supervisor import programs

HERE = Path(__file__).parent
HOSTS = 4
_ROUND = re.compile(r" round=(\d+) .*seconds=(\S+) bytes=(\d+)")
_SAMPLE_S = 2.0
_GRACE_S = 60.0


def make_job(trainers: int, shards: int) -> FLJob:
    """Return a job whose rounds do not end by themselves; model and data are never made."""
    spec = {
        "model": {"name": "ncf"},
        "dataset": {"name": "synthetic"},
        "server": {"replicas": shards},
        "trainers": [{"name": f"t{number:03}"} for number in range(trainers)],
        "rounds": 100_000,
    }
    head = {"apiVersion": "fljob.dev/v1alpha1", "kind": "FLJob", "metadata": {"name": "load"}}
    return FLJob.from_dict({**head, "spec": spec})


def run(folder: RunFolder, options: argparse.Namespace) -> tuple[dict[str, list[float]], list[dict[str, list[float]]]]:
    """Run servers and hosts; returns the memory of each server process over time, and what the hosts saw."""
    config = prepare(make_job(options.trainers, options.shards), folder)
    fleet = Fleet(folder.log("nursery"))
    starts = [program for program in programs(config, folder, {}) if program.module]
    for program in starts:
        fleet.start(program)
    cuts = [options.trainers * number // HOSTS for number in range(HOSTS + 1)]
    hosts = [
        subprocess.Popen(
            [sys.executable, str(HERE / "load_trainers.py"), str(folder.root), str(a), str(b), str(options.seconds)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for a, b in itertools.pairwise(cuts)
    ]
    memory: dict[str, list[float]] = {program.process: [] for program in starts}
    end = time.monotonic() + options.seconds
    try:
        while time.monotonic() < end and all(host.poll() is None for host in hosts):
            time.sleep(_SAMPLE_S)
            for ended in fleet.poll():
                raise RuntimeError(f"{ended.process} ended with {ended.code}; see {folder.log(ended.process)}")
            for name, sizes in memory.items():
                sizes.append(processes.resident_mb(fleet.pid(name) or 0))
        cpu = {name: processes.cpu_seconds(fleet.pid(name) or 0) for name in memory}
        seen = [json.loads(host.communicate(timeout=_GRACE_S)[0]) for host in hosts]
    finally:
        for host in hosts:
            host.kill()
        fleet.stop(ask_s=0.0, wait_s=5.0)
    seen.append({f"cpu {name}": [seconds] for name, seconds in cpu.items()})
    return memory, seen


def quarters(sizes: list[float]) -> list[float]:
    """Return the mean of each quarter of the time."""
    step = max(1, len(sizes) // 4)
    return [round(statistics.fmean(sizes[at : at + step] or sizes[-1:]), 1) for at in range(0, 4 * step, step)]


def report(folder: RunFolder, options: argparse.Namespace, memory: dict[str, list[float]], seen: list[dict]) -> int:
    """Print the table and the JSON line; returns 1 if a trainer had a fault."""
    rounds = _ROUND.findall(folder.log("coordinator").read_text())
    *hosts, cpu = seen
    faults = [fault for host in hosts for fault in host["faults"]]
    took = [float(seconds) for _, seconds, _ in rounds[1:]]
    moved = sum(int(num_bytes) for _, _, num_bytes in rounds[1:])
    print(f"{options.trainers} trainers, {options.shards} shards, {options.seconds} s, load {os.getloadavg()[0]:.1f}")
    print(f"rounds {len(took)}, median {statistics.median(took):.2f} s; pushed {moved / sum(took) / 1e6:.0f} MB/s")
    line: dict[str, object] = {"bench": "load", "trainers": options.trainers, "rounds": len(took), "faults": faults}
    for call in ("pulls", "pushes"):
        every = sorted(s for host in hosts for s in host[call])
        p50, p99 = every[len(every) // 2], every[int(0.99 * len(every))]
        print(f"{call:8} {len(every):7} calls, p50 {1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms")
        line[call] = {"count": len(every), "p50_ms": round(1000 * p50, 1), "p99_ms": round(1000 * p99, 1)}
    for name, sizes in memory.items():
        parts, cores = quarters(sizes), cpu[f"cpu {name}"][0] / options.seconds
        print(f"{name:12} {cores:.2f} cores; resident MB by quarter {parts}")
        line[name] = {"cores": round(cores, 3), "resident_mb": parts}
    for fault in faults:
        print(f"fault: {fault}")
    print(json.dumps(line))
    return 1 if faults else 0


def main() -> int:
    """Run and print."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    flags.add_argument("--trainers", type=int, default=100)
    flags.add_argument("--shards", type=int, default=2)
    flags.add_argument("--seconds", type=int, default=600)
    options = flags.parse_args()
    with tempfile.TemporaryDirectory(prefix="fljob-load-") as root:
        folder = RunFolder(Path(root) / "run")
        memory, seen = run(folder, options)
        return report(folder, options, memory, seen)


if __name__ == "__main__":
    sys.exit(main())
