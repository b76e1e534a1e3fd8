"""Every codec on the same data beside none: bytes per round, and what it costs in AUC. `make bench-compression`.

    python bench/compression.py [--data DIR] [--manifest FILE] [--mode Geo] [--passes 4] [--seeds 0 1]
        [--only int8 topK]

Synthetic sites, and with --data MovieLens too; or one manifest of choice. The mode is the manifest's unless given; then
it is run with bench/modes.py's settings. DIR holds a folder per site, as `fljob data import movielens` writes them.
Each run is one `fljob run` of its own. Bytes are a round's, sent both ways, and those that trainers sent alone: what
they read is not compressed. AUC is that on held-out pairs, mean over the seeds; its cost is what `none` has more after
the last pass. Prints a table and, as its last line, one JSON object. Asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from modes import MANIFEST as MOVIELENS
from modes import MODES, ROUNDS_PER_PASS

SYNTHETIC = Path(__file__).with_suffix(".yaml")
LIMIT_S = 3600.0
SPARSE = {"name": "topK", "parameters": {"fraction": "0.1"}}
SKETCH = {"name": "sketch", "parameters": {"fraction": "0.1"}}
CODECS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "fp16": [{"name": "fp16"}],
    "bf16": [{"name": "bf16"}],
    "int8": [{"name": "int8"}],
    "int4": [{"name": "int4"}],
    "topK": [SPARSE],
    "topK+int8": [SPARSE, {"name": "int8"}],
    "sketch": [SKETCH],
    "sketch+int8": [SKETCH, {"name": "int8"}],
}


@dataclass(frozen=True)
class Result:
    """One run: AUC after each pass, payload bytes per round, those pushed to the servers, and seconds."""

    auc: list[float]
    round_bytes: float
    pushed_bytes: float
    wall_s: float


def run(manifest: dict[str, Any], data_root: Path | None, settings: dict[str, str]) -> Result:
    """Run one job, its spec changed by `settings`; raises RuntimeError with the end of its words when it fails."""
    with tempfile.TemporaryDirectory(prefix="fljob-compression-") as name:
        folder = Path(name)
        file = folder / "fljob.yaml"
        file.write_text(yaml.safe_dump(manifest), encoding="utf-8")
        command = [sys.executable, "-m", "fljob_cli", "run", str(file), "--output", "json"]
        command += ["--run-dir", str(folder / "run"), *(["--data-root", str(data_root)] if data_root else [])]
        command += [part for path, value in settings.items() for part in ("--set", f"spec.{path}={value}")]
        start = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        seconds = time.monotonic() - start
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        pushed = _pushed(folder / "run", manifest["spec"]["rounds"])
    rounds = json.loads(done.stdout.splitlines()[-1])["rounds"]
    auc = [r["auc"] for r in rounds if r.get("auc") is not None]
    return Result(auc, statistics.fmean(r["bytes"] for r in rounds), pushed, seconds)


def _pushed(folder: Path, rounds: int) -> float:
    """Return the bytes that the servers were sent per round: what they say when they end, less the initial model."""
    logs = [path.read_text(encoding="utf-8") for path in (folder / "logs").glob("server-*.log")]
    received = sum(int(number) for log in logs for number in re.findall(r"event=stopping .* received_bytes=(\d+)", log))
    (journal,) = folder.rglob("journal.jsonl")
    records = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    (first,) = (record for record in records if record["kind"] == "ListAccepted" and record["round"] == 0)
    initial = sum(receipt["num_bytes"] for update in first["accepted"] for receipt in update["receipts"])
    return (received - initial) / rounds


def main() -> None:
    """Run every codec with every seed on every data set, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, help="a folder per site of MovieLens, or of the manifest's data set")
    options.add_argument("--manifest", type=Path, help="measure this job alone")
    options.add_argument("--mode", choices=MODES)
    options.add_argument("--passes", type=int, default=4)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options.add_argument("--only", nargs="+", choices=CODECS, default=list(CODECS), help="`none` is always run")
    chosen = options.parse_args()
    jobs: dict[str, tuple[Path, Path | None]] = {"synthetic": (SYNTHETIC, None)}
    if chosen.manifest:
        jobs = {chosen.manifest.parent.name: (chosen.manifest, chosen.data)}
    elif chosen.data:
        jobs["movielens"] = (MOVIELENS, chosen.data)
    print(
        f"{'data':<11}{'codec':<13}{'pushed kB':>10}{'ratio':>7}{'round kB':>10}{'ratio':>7}{'saved':>7}"
        f"{'AUC cost':>10}{'wall s':>8}  AUC"
    )
    rows = [
        row
        for name, (manifest, data) in jobs.items()
        for row in _codecs(name, yaml.safe_load(manifest.read_text(encoding="utf-8")), data, chosen)
    ]
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print(json.dumps({"mode": chosen.mode, "codecs": rows, "seeds": chosen.seeds, "load": os.getloadavg()[0]}))


def _codecs(name: str, base: dict[str, Any], data: Path | None, chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every codec on one data set."""
    settings = dict(MODES[chosen.mode]) if chosen.mode else {}
    settings.pop("strategy.bufferSize", None)  # unset it is half of the trainers, however many
    mode = chosen.mode or base["spec"]["strategy"]["mode"]
    rounds = chosen.passes * ROUNDS_PER_PASS.get(mode, 1)
    rows: list[dict[str, Any]] = []
    for codec in dict.fromkeys(["none", *chosen.only]):
        results = []
        for seed in chosen.seeds:
            spec = {**base["spec"], "rounds": rounds, "seed": seed}
            spec["strategy"] = {**spec["strategy"], **({"compression": CODECS[codec]} if CODECS[codec] else {})}
            results.append(run({**base, "spec": spec}, data, settings))
        rows.append(_row(name, codec, results, rows))
    return rows


def _row(name: str, codec: str, results: list[Result], before: list[dict[str, Any]]) -> dict[str, Any]:
    """Print one line and return its numbers; the first row is what the others are compared with."""
    auc = [statistics.fmean(column) for column in zip(*(r.auc for r in results), strict=True)]
    row: dict[str, Any] = {
        "data": name,
        "codec": codec,
        "auc": auc,
        "bytes": statistics.fmean(r.round_bytes for r in results),
        "pushed": statistics.fmean(r.pushed_bytes for r in results),
        "wall_s": statistics.fmean(r.wall_s for r in results),
    }
    plain = before[0] if before else row
    row["pushed_ratio"], row["ratio"] = plain["pushed"] / row["pushed"], plain["bytes"] / row["bytes"]
    row["saved"] = 1 - row["bytes"] / plain["bytes"]
    row["auc_cost"] = plain["auc"][-1] - auc[-1]
    print(
        f"{name:<11}{codec:<13}{row['pushed'] / 1e3:>10.1f}{row['pushed_ratio']:>7.2f}{row['bytes'] / 1e3:>10.1f}"
        f"{row['ratio']:>7.2f}{row['saved']:>7.0%}{row['auc_cost']:>10.4f}{row['wall_s']:>8.1f}"
        f"  {'  '.join(f'{a:.4f}' for a in auc)}",
        flush=True,
    )
    return row


if __name__ == "__main__":
    main()
