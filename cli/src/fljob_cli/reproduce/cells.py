"""Runs one cell of a table: a row with one seed. What is done is kept, so a comparison that was stopped goes on.

Called by `command`. Each cell is a process of its own (`fljob run`, or `worker`), so its seconds and its memory are
its own.
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from fljob_api.exit_codes import ExitCode
from fljob_api.fljob import FLJob
from fljob_cli.errors import CliError
from fljob_cli.overrides import apply_overrides
from fljob_cli.reproduce.tables import How, Row, Setup, Table

LIMIT_S = 6 * 3600.0
_API = "fljob.dev/v1alpha1"
_SCORES = "scores.npy"


@dataclass(frozen=True)
class Cell:
    """What one run gave. passes: all metrics after each pass; site: of a row that trains alone, else ""."""

    row: str
    seed: int
    site: str
    passes: Sequence[Mapping[str, float]]
    wall_s: float
    cpu_s: float
    num_bytes: int


@dataclass(frozen=True)
class Bench:
    """Where a table is worked out: its sites' folders and what is done already."""

    table: Table
    setup: Setup
    folder: Path

    @property
    def data(self) -> Path | None:
        """Return the folder of the sites' folders; None where data generate themselves."""
        return self.folder / "data" if self.setup.importing else None

    def prepare(self, source: Path | None) -> tuple[str, ...]:
        """Import the data unless that is done; return the names of the sites. Raises CliError."""
        if self.setup.file:
            self._copy(source)
        if self.data is None:
            return tuple(f"site-{index}" for index in range(self.setup.sites))
        if source is None and not self.data.is_dir():
            raise CliError(
                f"{self.table.name} needs the published data: --source DIR",
                hint="`fljob data import --help` says where they come from; --quick needs none",
            )
        if source is not None:
            arguments = ["data", "import", *self.setup.importing, "--source", str(source), "--out", str(self.data)]
            _finished([sys.executable, "-m", "fljob_cli", *arguments])
        return tuple(sorted(path.name for path in self.data.iterdir() if path.is_dir()))

    @property
    def ratings(self) -> Path | None:
        """Return the file that a population is read from; None where it is generated."""
        return self.folder / self.setup.file if self.setup.file else None

    def _copy(self, source: Path | None) -> None:
        """Keep the file of a population beside its cells, so that the comparison can go on without its source."""
        kept = self.folder / self.setup.file
        if source is None and not kept.exists():
            raise CliError(f"{self.table.name} needs {self.setup.file}: --source DIR", hint="--quick needs none")
        if source is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(source / self.setup.file, kept)
            except OSError as error:
                raise CliError(f"{source / self.setup.file}: {error.strerror}", code=ExitCode.BAD_DATA) from error

    def cells(self, sites: Sequence[str], seeds: Sequence[int]) -> list[tuple[Row, int, str]]:
        """Return what is to run: row, seed and, of rows that train alone, the site."""
        return [
            (row, seed, site)
            for row in self.table.rows
            for seed in seeds
            for site in (sites if row.how is How.ALONE else ("",))
        ]

    def run(self, row: Row, seed: int, site: str, sites: Sequence[str]) -> Cell:
        """Return a cell, from its file if it was run before with the same manifest. Raises CliError."""
        manifest = self.manifest(row, seed, sites)
        place = self._place(row, seed, site)
        done = place / "cell.json"
        if done.exists():
            kept = json.loads(done.read_text(encoding="utf-8"))
            if kept["manifest"] == manifest and (not self.setup.paired or (place / _SCORES).exists()):
                return Cell(**kept["cell"])
            shutil.rmtree(place)
        place.mkdir(parents=True, exist_ok=True)
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        if row.how is How.FEDERATED:
            passes, num_bytes = self._federated(place, row, manifest)
        elif row.how is How.POPULATION:
            passes, num_bytes = self._population(place, manifest), 0
        else:
            for index, one in enumerate(row.before):
                first = self.manifest(replace(row, settings=one.settings, before=()), seed, sites)
                self._in_one_place(place, first, row, site, sites, keep=f"before-{index}")
            passes, num_bytes = self._in_one_place(place, manifest, row, site, sites), 0
        seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        cell = Cell(row.name, seed, site, passes, round(seconds, 2), round(cpu_s, 2), num_bytes)
        fresh = done.with_suffix(".tmp")
        fresh.write_text(json.dumps({"manifest": manifest, "cell": asdict(cell)}), encoding="utf-8")
        fresh.replace(done)
        shutil.rmtree(place / "run", ignore_errors=True)
        return cell

    def scores(self, row: Row, seed: int) -> NDArray[np.float32] | None:
        """Return score and label of each held-out example at the end of a run, [E, 2]; None where they are not kept."""
        file = self._place(row, seed) / _SCORES
        return np.load(file, allow_pickle=False) if file.exists() else None

    def _place(self, row: Row, seed: int, site: str = "") -> Path:
        return self.folder / "cells" / "-".join(filter(None, (row.name, site, str(seed))))

    def manifest(self, row: Row, seed: int, sites: Sequence[str]) -> dict[str, Any]:
        """Return the FLJob of a row with its settings in place, or what a population is told."""
        rounds = self.setup.passes * row.rounds_per_pass
        if row.how is How.POPULATION:
            ratings = str(self.ratings) if self.ratings else ""
            return {"rule": dict(row.rule), "rounds": rounds, "seed": seed, "ratings": ratings}
        volumes = {"data": {"persistentVolumeClaim": {"claimName": "data"}}} if self.data else {}
        spec = {
            "optimizer": {"name": "Adam", "learningRate": "0.005"},
            **self.setup.spec,
            "rounds": rounds,
            "seed": seed,
            "checkpoint": {"volumeClaimTemplate": {"storage": "1Gi"}, "everyRounds": rounds},
            "trainers": [{"name": name, **volumes} for name in sites],
        }
        if row.before:
            places = [str(self._place(row, seed) / f"before-{index}") for index in range(len(row.before))]
            taken = [[dict(one) for one in before.parameters] for before in row.before]
            spec["initialValues"] = [
                {"path": path, "parameters": parameters} for path, parameters in zip(places, taken, strict=True)
            ]
        whole = {"apiVersion": _API, "kind": "FLJob", "metadata": {"name": self.table.name}, "spec": spec}
        made = apply_overrides(whole, [f"spec.{path}={value}" for path, value in row.settings.items()])
        if row.cut:
            made["spec"]["strategy"]["innerSteps"] = self._steps(FLJob.from_dict(made), row.rounds_per_pass)
        return made

    def _steps(self, job: FLJob, rounds_per_pass: int) -> int:
        """Return how many mini-batches a round is, of which there are so many in a pass over an average site's data."""
        from fljob_cli.pooled_worker import open_site  # noqa: PLC0415 - heavy
        from fljob_runtime import registry  # noqa: PLC0415 - heavy

        registry.load(job.spec.imports)
        names = [trainer.name for trainer in job.spec.trainers]
        folders = {name: self.data / name for name in names} if self.data else {}
        samples = statistics.fmean(open_site(job, name, folders).num_samples for name in names)
        return max(1, round(samples / job.spec.strategy.batch_size / rounds_per_pass))

    def _federated(self, place: Path, row: Row, manifest: Mapping[str, Any]) -> tuple[list[dict[str, float]], int]:
        shutil.rmtree(place / "run", ignore_errors=True)
        (place / "fljob.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
        command = [sys.executable, "-m", "fljob_cli", "run", str(place / "fljob.yaml"), "--output", "json"]
        command += ["--run-dir", str(place / "run"), *(["--data-root", str(self.data)] if self.data else [])]
        said = json.loads(_finished(command).splitlines()[-1])
        if self.setup.paired:
            _finished([sys.executable, "-m", "fljob_cli.reproduce.scores", str(place / "run"), str(place / _SCORES)])
        every = _evaluations(place / "run")
        passes = [every[number] for number in range(row.rounds_per_pass, max(every) + 1, row.rounds_per_pass)]
        return passes, sum(entry["bytes"] for entry in said["rounds"])

    def _population(self, place: Path, told: Mapping[str, Any]) -> list[dict[str, float]]:
        (place / "config.json").write_text(json.dumps(told), encoding="utf-8")
        command = [sys.executable, "-m", "fljob_cli.reproduce.population", str(place / "config.json")]
        return [json.loads(_finished(command))]

    def _in_one_place(
        self, place: Path, manifest: Mapping[str, Any], row: Row, site: str, sites: Sequence[str], *, keep: str = ""
    ) -> list[dict[str, float]]:
        folders = {name: str(self.data / name) for name in sites} if self.data else {}
        passes = self.setup.passes * row.rounds_per_pass
        kept = str(place / keep) if keep else ""
        config = {"job": manifest, "data": folders, "passes": passes, "site": site, "keep": kept}
        config["scores"] = str(place / _SCORES) if self.setup.paired else ""
        (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
        lines = _finished([sys.executable, "-m", "fljob_cli.reproduce.worker", str(place / "config.json")])
        return [json.loads(line) for line in lines.splitlines()]


def _evaluations(run: Path) -> dict[int, dict[str, float]]:
    """Return the metrics of each evaluated round of a run, from its journal; a repeated round counts as repeated."""
    found: dict[int, dict[str, float]] = {}
    for journal in sorted(run.glob("checkpoint/*/journal.jsonl")):
        for line in journal.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["kind"] == "RoundEvaluated":
                found[record["round"]] = record["metrics"]
    return found


def _finished(command: list[str]) -> str:
    """Run a program to its end and return its output; raises CliError with its last words when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise CliError(
            f"{' '.join(command[2:5])} took more than {LIMIT_S:.0f} s", code=ExitCode.STARTUP_TIMEOUT
        ) from error
    if done.returncode != 0:
        raise CliError(f"{' '.join(command[2:])} ended with {done.returncode}:\n{done.stderr[-2000:].strip()}")
    return done.stdout
