"""Every mode on the same data beside pooled training: AUC per pass, wall and CPU seconds, bytes. `make bench-modes`.

    python bench/modes.py [--data-root DIR] [--manifest FILE] [--passes 3] [--seeds 0 1 2] [--only Geo Async]

DIR holds a folder per site, as `fljob data import movielens` writes them. Each run is one `fljob run` of its own; the
AUC is that on the sites' held-out pairs, the mean over the seeds. Pooled training is that of the first seed. Prints a
table and, as its last line, one JSON object. Asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from fljob_cli.reproduce.tables import MODES as ROWS

MANIFEST = Path(__file__).parents[1] / "examples/movielens-ten-sites/fljob.yaml"
LIMIT_S = 3600.0
ROUNDS_PER_PASS = {row.name: row.rounds_per_pass for row in ROWS}
MODES = {row.name: dict(row.settings) for row in ROWS}


@dataclass(frozen=True)
class Result:
    """One run: AUC after each pass, seconds, and payload bytes; pooled: AUC per pass, if it was asked for."""

    auc: list[float]
    wall_s: float
    cpu_s: float
    num_bytes: int
    pooled: list[float]


def run(manifest: Path, data_root: Path | None, settings: dict[str, str], *, pooled: bool) -> Result:
    """Run one job; raises RuntimeError with the end of its words when it fails."""
    command = [sys.executable, "-m", "fljob_cli", "run", str(manifest)]
    command += ["--data-root", str(data_root)] if data_root else []
    command += [part for path, value in settings.items() for part in ("--set", f"spec.{path}={value}")]
    command += ["--output", "json", *(["--compare-pooled"] if pooled else [])]
    with tempfile.TemporaryDirectory(prefix="fljob-modes-") as folder:
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(
            [*command, "--run-dir", f"{folder}/run"], capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - start
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    said = json.loads(done.stdout.splitlines()[-1])
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    rounds = said["rounds"]
    return Result(
        auc=[r["auc"] for r in rounds if r.get("auc") is not None],
        wall_s=seconds,
        cpu_s=cpu_s,
        num_bytes=sum(r["bytes"] for r in rounds),
        pooled=said.get("pooled", {}).get("auc", []),
    )


def main() -> None:
    """Run every mode with every seed, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data-root", type=Path, help="left out for a dataset that generates itself")
    options.add_argument("--manifest", type=Path, default=MANIFEST)
    options.add_argument("--passes", type=int, default=3)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--only", nargs="+", choices=MODES, default=list(MODES))
    chosen = options.parse_args()
    pooled: list[float] = []
    rows = []
    print(
        f"{'mode':<10}{'AUC per pass, mean of ' + str(len(chosen.seeds)):<34}{'wall s':>8}{'CPU s':>8}{'MB':>9}",
        flush=True,
    )
    for mode in chosen.only:
        results = []
        for seed in chosen.seeds:
            rounds = chosen.passes * ROUNDS_PER_PASS[mode]
            settings = {"rounds": str(rounds), "seed": str(seed), **MODES[mode]}
            results.append(run(chosen.manifest, chosen.data_root, settings, pooled=not pooled))
            pooled = pooled or results[-1].pooled
        auc = [statistics.fmean(column) for column in zip(*(r.auc for r in results), strict=True)]
        # The first run of all trained the pooled reference too: its seconds count only if there is no other run.
        timed = results[1:] if mode == chosen.only[0] and len(results) > 1 else results
        row = {
            "mode": mode,
            "auc": auc,
            "auc_by_seed": [r.auc for r in results],
            "wall_s": statistics.fmean(r.wall_s for r in timed),
            "cpu_s": statistics.fmean(r.cpu_s for r in timed),
            "bytes": round(statistics.fmean(r.num_bytes for r in results)),
        }
        rows.append(row)
        print(
            f"{mode:<10}{_numbers(auc):<34}{row['wall_s']:>8.0f}{row['cpu_s']:>8.0f}{row['bytes'] / 1e6:>9.0f}",
            flush=True,
        )
    print(f"{'pooled':<10}{_numbers(pooled):<34}")
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print(json.dumps({"modes": rows, "pooled": {"auc": pooled}, "load": os.getloadavg()[0]}))


def _numbers(values: list[float]) -> str:
    return "  ".join(f"{value:.4f}" for value in values)


if __name__ == "__main__":
    main()
