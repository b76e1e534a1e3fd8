"""A hundred trainers that only pull and push, against a real coordinator and two real shards. `make bench-load`.

    python bench/load.py [--trainers 100] [--seconds 600] [--shards 2] [--malformed 10]

Coordinator and shards are the programs that pods run, with mutual TLS; the trainers are threads of a few processes
(load_trainers), without torch. Prints rounds, latencies of pull and push, bytes, and of each server process the CPU
and the resident memory in the quarters of the time: flat memory is what is looked for. With --malformed so many
malformed pushes a second are sent in every other five seconds, and latencies are told of both kinds of time. The last
line is JSON. Linux.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import processes
from malformed import Malformed

from fljob_api import names
from fljob_api.fljob import FLJob
from fljob_runtime.backends.fleet import Fleet
from fljob_runtime.backends.folder import RunFolder, prepare
from fljob_runtime.backends.supervisor import programs
from fljob_runtime.transport.credentials import Credentials
from fljob_runtime.transport.identity import Identity

HERE = Path(__file__).parent
HOSTS = 4
_ROUND = re.compile(r" round=(\d+) .*seconds=(\S+) bytes=(\d+)")
_SAMPLE_S = 1.0
_GRACE_S = 60.0
_SPAN_S = 5.0


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


@dataclass
class Measured:
    """The memory of each server process over time, what the hosts saw, CPU seconds, and answers to malformed pushes.

    since: when these began, by the monotonic clock.
    """

    memory: dict[str, list[float]]
    hosts: list[dict[str, list]] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    since: float = math.inf

    def disturbed(self, at: float) -> bool:
        """Return whether malformed pushes are sent at a time: not in the first span, in the second, and so on."""
        return at >= self.since and int((at - self.since) // _SPAN_S) % 2 == 1


def run(folder: RunFolder, options: argparse.Namespace) -> Measured:
    """Run servers and hosts."""
    config = prepare(make_job(options.trainers, options.shards), folder)
    identity = Identity(config.uid, names.ROLE_TRAINER, config.spec.trainers[0].name)
    rubbish = Malformed(
        Credentials.load(folder.tls(f"trainer-{identity.name}"), identity), config.servers, options.malformed or 1.0
    )
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
    seen = Measured({program.process: [] for program in starts})
    end = time.monotonic() + options.seconds
    try:
        while time.monotonic() < end and all(host.poll() is None for host in hosts):
            time.sleep(_SAMPLE_S)
            for ended in fleet.poll():
                raise RuntimeError(f"{ended.process} ended with {ended.code}; see {folder.log(ended.process)}")
            for name, sizes in seen.memory.items():
                sizes.append(processes.resident_mb(fleet.pid(name) or 0))
            if options.malformed:
                over = _ROUND.findall(folder.log("coordinator").read_text())
                _disturb(rubbish, seen, int(over[-1][0]) if over else 0)
        seen.cpu = {name: processes.cpu_seconds(fleet.pid(name) or 0) for name in seen.memory}
        if rubbish.is_alive():
            rubbish.stop()
        seen.hosts = [json.loads(host.communicate(timeout=_GRACE_S)[0]) for host in hosts]
    finally:
        for host in hosts:
            host.kill()
        fleet.stop(ask_s=0.0, wait_s=5.0)
    seen.refused = rubbish.answers
    return seen


def _disturb(rubbish: Malformed, seen: Measured, committed: int) -> None:
    """Let malformed pushes begin after the first round, go and rest, for the round after the newest one."""
    now = time.monotonic()
    rubbish.round = committed + 1
    if committed and not rubbish.is_alive():
        seen.since = now
        rubbish.start()
    (rubbish.on.set if seen.disturbed(now) else rubbish.on.clear)()


def quarters(sizes: list[float]) -> list[float]:
    """Return the mean of each quarter of the time."""
    step = max(1, len(sizes) // 4)
    return [round(statistics.fmean(sizes[at : at + step] or sizes[-1:]), 1) for at in range(0, 4 * step, step)]


def latencies(calls: list[tuple[float, float]]) -> dict[str, float]:
    """Return count and percentiles of (start, seconds)."""
    every = sorted(seconds for _, seconds in calls)
    p50, p99 = every[len(every) // 2], every[int(0.99 * len(every))]
    return {"count": len(every), "p50_ms": round(1000 * p50, 1), "p99_ms": round(1000 * p99, 1)}


def report(folder: RunFolder, options: argparse.Namespace, seen: Measured) -> int:
    """Print the table and the JSON line; returns 1 if a trainer had a fault."""
    rounds = _ROUND.findall(folder.log("coordinator").read_text())
    faults = [fault for host in seen.hosts for fault in host["faults"]]
    took = [float(seconds) for _, seconds, _ in rounds[1:]]
    moved = sum(int(num_bytes) for _, _, num_bytes in rounds[1:])
    print(f"{options.trainers} trainers, {options.shards} shards, {options.seconds} s, load {os.getloadavg()[0]:.1f}")
    print(f"rounds {len(took)}, median {statistics.median(took):.2f} s; pushed {moved / sum(took) / 1e6:.0f} MB/s")
    line: dict[str, object] = {"bench": "load", "trainers": options.trainers, "rounds": len(took), "faults": faults}
    for call in ("pulls", "pushes"):
        every = [tuple(one) for host in seen.hosts for one in host[call]]
        since = seen.since if options.malformed else 0.0
        kinds = {call: [one for one in every if one[0] >= since and not seen.disturbed(one[0])]}
        kinds[f"{call} beside malformed ones"] = [one for one in every if seen.disturbed(one[0])]
        for name, calls in kinds.items():
            if calls:
                line[name] = told = latencies(calls)
                print(f"{name:29} {told['count']:7} calls, p50 {told['p50_ms']:.0f} ms, p99 {told['p99_ms']:.0f} ms")
    for name, sizes in seen.memory.items():
        parts, cores = quarters(sizes), seen.cpu[name] / options.seconds
        print(f"{name:12} {cores:.2f} cores; resident MB by quarter {parts}")
        line[name] = {"cores": round(cores, 3), "resident_mb": parts}
    if options.malformed:
        line["malformed"] = dict(seen.refused)
        print(f"malformed pushes: {dict(seen.refused)}")
    for fault in faults:
        print(f"fault: {fault}")
    print(json.dumps(line))
    return 1 if faults or "OK" in seen.refused else 0


def main() -> int:
    """Run and print."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    flags.add_argument("--trainers", type=int, default=100)
    flags.add_argument("--shards", type=int, default=2)
    flags.add_argument("--seconds", type=int, default=600)
    flags.add_argument("--malformed", type=float, default=0.0, metavar="RATE", help="malformed pushes a second")
    options = flags.parse_args()
    with tempfile.TemporaryDirectory(prefix="fljob-load-") as root:
        folder = RunFolder(Path(root) / "run")
        return report(folder, options, run(folder, options))


if __name__ == "__main__":
    sys.exit(main())
