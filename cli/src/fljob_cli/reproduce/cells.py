"""Runs one cell of a table: a row with one seed. What is done is kept, so a comparison that was stopped goes on.

Called by `command`. Each cell is a process of its own (`fljob run`, or `worker`), so its seconds and its memory are
its own. A cell's folder is named after all that its numbers follow from, so cells of other settings, data or versions
lie beside it and are never taken for it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import resource
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from fljob_api.fljob import FLJob
from fljob_api.validation import validate
from fljob_cli import __version__
from fljob_cli.errors import InputError
from fljob_cli.overrides import apply_overrides
from fljob_cli.reproduce.data import Data
from fljob_cli.reproduce.process import finished
from fljob_cli.reproduce.tables import How, Row, Setup, Table

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
    """Where a table is worked out, on which data; what is done already lies there."""

    table: Table
    setup: Setup
    folder: Path
    data: Data

    def check(self, seeds: Sequence[int]) -> None:
        """Raise CliError for a row that these data cannot run, before others have taken their hours."""
        for row in self.table.rows:
            if row.how is not How.POPULATION and (problems := validate(self.manifest(row, seeds[0]))):
                raise InputError(f"{self.table.name}, row {row.name}", problems)

    def cells(self, seeds: Sequence[int]) -> list[tuple[Row, int, str]]:
        """Return what is to run: row, seed and, of rows that train alone, the site."""
        return [
            (row, seed, site)
            for row in self.table.rows
            for seed in seeds
            for site in (self.data.sites if row.how is How.ALONE else ("",))
        ]

    def run(self, row: Row, seed: int, site: str = "") -> Cell:
        """Return a cell, from its file if it was run before. Raises CliError."""
        key = self._key(row, seed, site)
        place = self._place(row, seed, key)
        done = place / "cell.json"
        if done.exists() and (not self.setup.paired or (place / _SCORES).exists()):
            return Cell(**json.loads(done.read_text(encoding="utf-8"))["cell"])
        shutil.rmtree(place, ignore_errors=True)  # of a run that was stopped
        place.mkdir(parents=True)
        manifest = key["manifest"]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        if row.how is How.FEDERATED:
            passes, num_bytes = self._federated(place, row, manifest)
        elif row.how is How.POPULATION:
            passes, num_bytes = self._population(place, manifest), 0
        else:
            for index, one in enumerate(row.before):
                first = self.manifest(replace(row, settings=one.settings, before=()), seed)
                self._in_one_place(place, first, row, site, keep=_before(index))
            passes, num_bytes = self._in_one_place(place, _located(manifest, place), row, site), 0
        seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        cell = Cell(row.name, seed, site, passes, round(seconds, 2), round(cpu_s, 2), num_bytes)
        fresh = done.with_suffix(".tmp")
        fresh.write_text(json.dumps({"key": key, "cell": asdict(cell)}), encoding="utf-8")
        fresh.replace(done)
        shutil.rmtree(place / "run", ignore_errors=True)
        return cell

    def scores(self, row: Row, seed: int) -> NDArray[np.float32] | None:
        """Return score and label of each held-out example at the end of a run, [E, 2]; None where they are not kept."""
        file = self._place(row, seed, self._key(row, seed, "")) / _SCORES
        return np.load(file, allow_pickle=False) if file.exists() else None

    def _place(self, row: Row, seed: int, key: Mapping[str, Any]) -> Path:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
        return self.folder / "cells" / "-".join(filter(None, (row.name, key["site"], str(seed), digest)))

    def _key(self, row: Row, seed: int, site: str) -> dict[str, Any]:
        """Return all that a cell's numbers follow from. No path is in it: the folder may be moved."""
        before = [dict(one.settings) for one in row.before]
        told = {"manifest": self.manifest(row, seed), "before": before, "data": self.data.digest}
        return {**told, "how": row.how, "site": site, "passes": self.setup.passes, "version": __version__}

    def manifest(self, row: Row, seed: int) -> dict[str, Any]:
        """Return the FLJob of a row with its settings in place, or what a population is told."""
        rounds = self.setup.passes * row.rounds_per_pass
        if row.how is How.POPULATION:
            return {"rule": dict(row.rule), "rounds": rounds, "seed": seed}
        volumes = {"data": {"persistentVolumeClaim": {"claimName": "data"}}} if self.data.folder else {}
        spec = {
            "optimizer": {"name": "Adam", "learningRate": "0.005"},
            **self.setup.spec,
            "rounds": rounds,
            "seed": seed,
            "checkpoint": {"volumeClaimTemplate": {"storage": "1Gi"}, "everyRounds": rounds},
            "trainers": [{"name": name, **volumes} for name in self.data.sites],
        }
        if row.before:
            spec["initialValues"] = [
                {"path": _before(index), "parameters": [dict(taken) for taken in one.parameters]}
                for index, one in enumerate(row.before)
            ]
        whole = {"apiVersion": _API, "kind": "FLJob", "metadata": {"name": self.table.name}, "spec": spec}
        made = apply_overrides(whole, [f"spec.{path}={value}" for path, value in row.settings.items()])
        if row.cut:
            made["spec"]["strategy"]["innerSteps"] = self._steps(FLJob.from_dict(made), row.rounds_per_pass)
        return made

    def _folders(self) -> dict[str, Path]:
        return {name: self.data.folder / name for name in self.data.sites} if self.data.folder else {}

    def _steps(self, job: FLJob, rounds_per_pass: int) -> int:
        """Return how many mini-batches a round is, of which there are so many in a pass over an average site's data."""
        return max(1, round(self._samples / job.spec.strategy.batch_size / rounds_per_pass))

    @functools.cached_property
    def _samples(self) -> float:
        """Return how many samples a site has in the mean."""
        from fljob_cli.pooled_worker import open_site  # noqa: PLC0415 - heavy
        from fljob_runtime import registry  # noqa: PLC0415 - heavy

        job = FLJob.from_dict(self.manifest(Row("any"), self.setup.seeds[0]))
        registry.load(job.spec.imports)
        return statistics.fmean(open_site(job, name, self._folders()).num_samples for name in self.data.sites)

    def _federated(self, place: Path, row: Row, manifest: Mapping[str, Any]) -> tuple[list[dict[str, float]], int]:
        (place / "fljob.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
        root = ["--data-root", str(self.data.folder)] if self.data.folder else []
        run = ["run", str(place / "fljob.yaml"), "--output", "json", "--run-dir", str(place / "run"), *root]
        said = json.loads(finished("fljob_cli", *run).splitlines()[-1])
        if self.setup.paired:
            finished("fljob_cli.reproduce.scores", str(place / "run"), str(place / _SCORES))
        every = _evaluations(place / "run")
        passes = [every[number] for number in range(row.rounds_per_pass, max(every) + 1, row.rounds_per_pass)]
        return passes, sum(entry["bytes"] for entry in said["rounds"])

    def _population(self, place: Path, told: Mapping[str, Any]) -> list[dict[str, float]]:
        ratings = str(self.data.ratings) if self.data.ratings else ""
        (place / "config.json").write_text(json.dumps({**told, "ratings": ratings}), encoding="utf-8")
        return [json.loads(finished("fljob_cli.reproduce.population", str(place / "config.json")))]

    def _in_one_place(
        self, place: Path, manifest: Mapping[str, Any], row: Row, site: str, *, keep: str = ""
    ) -> list[dict[str, float]]:
        folders = {name: str(folder) for name, folder in self._folders().items()}
        passes = self.setup.passes * row.rounds_per_pass
        kept = str(place / keep) if keep else ""
        config = {"job": manifest, "data": folders, "passes": passes, "site": site, "keep": kept}
        config["scores"] = str(place / _SCORES) if self.setup.paired else ""
        (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
        lines = finished("fljob_cli.reproduce.worker", str(place / "config.json"))
        return [json.loads(line) for line in lines.splitlines()]


def _before(index: int) -> str:
    """Return the folder of a model that is trained first, in that of its cell."""
    return f"before-{index}"


def _located(manifest: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """Return a manifest whose initial values are looked for in a cell's folder."""
    spec = manifest["spec"]
    values = [{**one, "path": str(place / one["path"])} for one in spec.get("initialValues", ())]
    return {**manifest, "spec": {**spec, "initialValues": values}} if values else dict(manifest)


def _evaluations(run: Path) -> dict[int, dict[str, float]]:
    """Return the metrics of each evaluated round of a run, from its journal; a repeated round counts as repeated."""
    found: dict[int, dict[str, float]] = {}
    for journal in sorted(run.glob("checkpoint/*/journal.jsonl")):
        for line in journal.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["kind"] == "RoundEvaluated":
                found[record["round"]] = record["metrics"]
    return found
