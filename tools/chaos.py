"""Jobs of real processes under random kills and pauses, held against the undisturbed job. `make chaos`.

    python tools/chaos.py [--runs 20] [--mode Sync] [--seed 1] [--deadline 120] [--keep DIR]

Run i has seed SEED + i: it chooses the variant of the job and the schedule, so `--runs 1 --seed N` repeats run N.
SIGKILL, SIGSEGV and SIGSTOP/SIGCONT strike the coordinator, any shard and any trainer. Each run must end in time;
where the mode is exact, every metric in full precision and the model's bytes must be those of the undisturbed run,
elsewhere the last AUC must lie within a band. Prints a table and, as its last line, one JSON object; exits with 1
after a failure, whose run folder is kept. Must not know how a job comes through: that is the runtime's matter.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from fljob_api.fljob import FLJob
from fljob_api.progress import Finish, Outcome, Progress, RoundState
from fljob_runtime.backends.fleet import Exit, Fleet
from fljob_runtime.backends.folder import RunFolder, prepare
from fljob_runtime.backends.supervisor import Supervisor

UID = "00000000-0000-4000-8000-00000000c405"
SITES, ROUNDS = 2, 3
_FAR_S = 3600  # deadlines inside the job that a run may not come near
_LAST_RESORT_S = 5.0
_PAUSES_S = (0.05, 2.0)
_AT_START = 0.25  # part of the strikes that fall into the start of the job


@dataclass(frozen=True)
class Mode:
    """How jobs of one mode are set up, and what a disturbed one may differ by. `band`: of the last AUC, else exact."""

    strategy: Mapping[str, Any]
    band: float | None = None


_SGD = {"name": "SGD", "learningRate": "0.02"}
MODES: dict[str, Mode] = {
    "Sync": Mode({}),
    "StepSync": Mode({"serverOptimizer": _SGD}, band=0.1),
    "Async": Mode({"serverOptimizer": _SGD}, band=0.1),
    "Geo": Mode({"geoStep": 4}, band=0.1),
    "Buffered": Mode({}, band=0.1),
}
VARIANTS: dict[str, Mapping[str, Any]] = {
    "two shards": {"server": {"replicas": 2}},
    "private rows": {"server": {"replicas": 2}, "parameterScopes": [{"name": "user_embedding", "scope": "Private"}]},
    "rare checkpoints": {"checkpoint": {"volumeClaimTemplate": {"storage": "1Gi"}, "everyRounds": 2}},
}


@dataclass(frozen=True)
class Strike:
    """One blow: `part` of the undisturbed span after the job's start, or after its first training, `pause_s` if any."""

    process: str
    number: signal.Signals
    training: bool
    part: float
    pause_s: float = 0.0

    def __str__(self) -> str:
        where = f"{self.part:.3f} of {'the training' if self.training else 'the start'}"
        return f"{self.number.name} {self.process} at {where}" + (f" for {self.pause_s:.2f}s" if self.pause_s else "")


def schedule(seed: int, processes: list[str]) -> list[Strike]:
    """Return the strikes of one run: a function of the seed and the processes alone.

    A process is killed by SIGKILL once at most, then by SIGSEGV: a second 137 means out of memory and ends a job.
    """
    dice = random.Random(seed)
    strikes: list[Strike] = []
    killed: set[str] = set()
    for _ in range(dice.randint(1, 4)):
        training, part = dice.random() >= _AT_START, dice.random()
        together = dice.randint(2, len(processes)) if dice.random() < 0.15 else 1
        for process in dice.sample(processes, together):
            pause_s = dice.uniform(*_PAUSES_S) if dice.random() < 0.35 else 0.0
            number = signal.SIGSTOP if pause_s else signal.SIGSEGV if process in killed else signal.SIGKILL
            killed |= set() if pause_s else {process}
            strikes.append(Strike(process, number, training, part, pause_s))
    return strikes


@dataclass(frozen=True)
class Spans:
    """Seconds that an undisturbed job takes to its first training, and from there to its end."""

    start_s: float
    training_s: float


@dataclass
class Blows:
    """The strikes of one run, which of them fell, and the pauses that are to be ended."""

    strikes: list[Strike]
    spans: Spans
    began: float
    training_at: float | None = None
    fell: list[Strike] = field(default_factory=list)
    resume: list[tuple[float, str]] = field(default_factory=list)

    def due(self, strike: Strike, now: float) -> bool:
        """Return whether its time has come."""
        if not strike.training:
            return now >= self.began + strike.part * self.spans.start_s
        return self.training_at is not None and now >= self.training_at + strike.part * self.spans.training_s

    def deal(self, fleet: Fleet, now: float) -> None:
        """Send what is due; a strike at a process that is not there waits for it."""
        for strike in [s for s in self.strikes if self.due(s, now) and fleet.pid(s.process) is not None]:
            self.strikes.remove(strike)
            self.fell.append(strike)
            fleet.kill(strike.process, strike.number)
            if strike.pause_s:
                self.resume.append((now + strike.pause_s, strike.process))
        for at, process in [r for r in self.resume if r[0] <= now]:
            self.resume.remove((at, process))
            fleet.kill(process, signal.SIGCONT)


class StruckFleet(Fleet):
    """A fleet that is struck whenever it is polled; its nursery, with torch imported, serves run after run."""

    def __init__(self, nursery_log: Path) -> None:
        super().__init__(nursery_log)
        self.blows: Blows | None = None

    def poll(self) -> list[Exit]:
        """Strike, then see who ended."""
        if self.blows is not None:
            self.blows.deal(self, time.monotonic())
        return super().poll()

    def stop(self, *, ask_s: float, wait_s: float) -> None:
        """End all but the nursery, which the next run uses; paused processes go on first."""
        self.blows = None
        self._signal_all(signal.SIGCONT)
        self._wait(ask_s)
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._signal_all(number)
            self._wait(wait_s)

    def end(self) -> None:
        """End the nursery too."""
        super().stop(ask_s=0.0, wait_s=_LAST_RESORT_S)

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self.running:
            self.kill(process, number)


@dataclass(frozen=True)
class Outcomes:
    """What a run leaves: how it ended, {(loss, AUC)} of each round (more than one where repeats differ), the model."""

    finish: Finish
    metrics: Mapping[int, frozenset[tuple[float, float]]]
    model: bytes
    spans: Spans
    fell: tuple[Strike, ...] = ()

    @property
    def auc(self) -> float:
        """Return the AUC of the last round; NaN where there is none."""
        return next(iter(self.metrics[max(self.metrics)]))[1] if self.metrics else float("nan")


def make_job(mode: Mode, name: str, variant: Mapping[str, Any], deadline_s: float) -> FLJob:
    """Return the job of a mode and variant: quorum all, no deadline within reach but that of the run."""
    data = {"usersPerSite": 20, "items": 60, "samplesPerUser": 40}
    spec = {
        "model": {"name": "ncf", "parameters": {"mode": "MLP", "layers": "16,8"}},
        "dataset": {"name": "synthetic", "parameters": data},
        "optimizer": {"learningRate": "0.0005"},
        "strategy": {"mode": name, "localEpochs": 4, "batchSize": 20, **mode.strategy},
        "trainers": [{"name": f"site-{i}"} for i in range(SITES)],
        "rounds": ROUNDS,
        "backoffLimit": 50,
        "roundTimeoutSeconds": _FAR_S,
        "startupDeadlineSeconds": _FAR_S,
        "activeDeadlineSeconds": int(deadline_s),
        **variant,
    }
    head = {"apiVersion": "fljob.dev/v1alpha1", "kind": "FLJob", "metadata": {"name": "chaos", "uid": UID}}
    return FLJob.from_dict({**head, "spec": spec})


class Bed:
    """Runs jobs in folders below `root`, one after the other, and remembers the undisturbed ones."""

    def __init__(self, root: Path, mode: str, deadline_s: float) -> None:
        self._root = root
        self._mode = mode
        self._deadline_s = deadline_s
        self._fleet = StruckFleet(root / "nursery.log")
        self._undisturbed: dict[str, Outcomes] = {}

    def close(self) -> None:
        """End what still runs."""
        self._fleet.end()

    def undisturbed(self, variant: str) -> Outcomes:
        """Return the outcomes of the variant without strikes; raises RuntimeError when even that fails."""
        if variant not in self._undisturbed:
            folder = self._root / f"undisturbed-{variant.replace(' ', '-')}"
            if not self._undisturbed:  # the first run of all waits for the nursery's imports: not to be timed
                self.run(variant, [], self._root / "warm-up", Spans(0.0, 0.0))
            found = self.run(variant, [], folder, Spans(0.0, 0.0))
            if found.finish.outcome is not Outcome.SUCCEEDED:
                raise RuntimeError(f"{folder}: the undisturbed job ended with {found.finish}")
            self._undisturbed[variant] = found
        return self._undisturbed[variant]

    def run(self, variant: str, strikes: list[Strike], root: Path, spans: Spans) -> Outcomes:
        """Run a job to its end under these strikes."""
        folder = RunFolder(root)
        config = prepare(make_job(MODES[self._mode], self._mode, VARIANTS[variant], self._deadline_s), folder)
        began = time.monotonic()
        blows = Blows(list(strikes), spans, began)

        def notice(progress: Progress) -> None:
            if blows.training_at is None and progress.training.state is RoundState.TRAINING:
                blows.training_at = time.monotonic()

        supervisor = Supervisor(config, folder, {}, notice)
        supervisor.fleet = self._fleet
        self._fleet.blows = blows
        finish = supervisor.run()
        ended = time.monotonic()
        took = Spans((blows.training_at or ended) - began, ended - (blows.training_at or ended))
        home = folder.checkpoint / config.uid
        return Outcomes(finish, _metrics(home / "journal.jsonl"), _bytes(home), took, tuple(blows.fell))

    def trial(self, seed: int) -> Trial:
        """Run the schedule of one seed and judge it; the folder is kept after a failure only."""
        variant = list(VARIANTS)[seed % len(VARIANTS)]
        quiet = self.undisturbed(variant)
        shards = VARIANTS[variant].get("server", {}).get("replicas", 1)
        processes = [
            "coordinator",
            *(f"server-{i}" for i in range(shards)),
            *(f"trainer-site-{i}" for i in range(SITES)),
        ]
        strikes = schedule(seed, processes)
        folder = self._root / f"seed-{seed}"
        began = time.monotonic()
        found = self.run(variant, strikes, folder, quiet.spans)
        fault = judge(found, quiet, MODES[self._mode].band)
        if not fault:
            shutil.rmtree(folder)
        return Trial(seed, variant, tuple(strikes), found.fell, time.monotonic() - began, fault, folder)


@dataclass(frozen=True)
class Trial:
    """One run and what was wrong with it ("" for nothing)."""

    seed: int
    variant: str
    strikes: tuple[Strike, ...]
    fell: tuple[Strike, ...]
    seconds: float
    fault: str
    folder: Path


def judge(found: Outcomes, quiet: Outcomes, band: float | None) -> str:
    """Return what is wrong with a disturbed run, "" for nothing."""
    if found.finish.outcome is not Outcome.SUCCEEDED:
        return f"ended with {found.finish.reason}: {found.finish.message}"
    if band is not None:
        return "" if abs(found.auc - quiet.auc) <= band else f"AUC {found.auc}, undisturbed {quiet.auc}"
    if found.metrics != quiet.metrics:
        return f"metrics {_plain(found.metrics)}, undisturbed {_plain(quiet.metrics)}"
    return "" if found.model == quiet.model else "the model's bytes differ, its metrics do not"


def _plain(metrics: Mapping[int, frozenset[tuple[float, float]]]) -> dict[int, list[tuple[float, float]]]:
    return {round_: sorted(values) for round_, values in metrics.items()}


def _metrics(journal: Path) -> dict[int, frozenset[tuple[float, float]]]:
    found: dict[int, frozenset[tuple[float, float]]] = {}
    for line in journal.read_text().splitlines() if journal.exists() else []:
        record = json.loads(line)
        if record["kind"] == "RoundEvaluated":
            pair = (record["metrics"]["Loss"], record["metrics"]["AUC"])
            found[record["round"]] = found.get(record["round"], frozenset()) | {pair}
    return found


def _bytes(home: Path) -> bytes:
    model = home / "model" / "model.safetensors"
    return model.read_bytes() if model.exists() else b""


def summary(trials: list[Trial]) -> Table:
    """Return how many strikes of each kind fell, on whom, and in how many failed runs."""
    table = Table("role", "signal", "strikes", "in failed runs")
    fell = Counter((s.process.partition("-")[0], s.number.name) for t in trials for s in t.fell)
    failed = Counter((s.process.partition("-")[0], s.number.name) for t in trials if t.fault for s in t.fell)
    for (role, number), count in sorted(fell.items()):
        table.add_row(role, number, str(count), str(failed[role, number]))
    return table


def as_json(trials: list[Trial], options: argparse.Namespace) -> str:
    """Return the last line: what was run and what came of it."""
    seconds = sorted(t.seconds for t in trials)
    return json.dumps(
        {
            "mode": options.mode,
            "seed": options.seed,
            "runs": len(trials),
            "failures": [t.seed for t in trials if t.fault],
            "strikes_planned": sum(len(t.strikes) for t in trials),
            "strikes_fell": sum(len(t.fell) for t in trials),
            "seconds": round(sum(seconds), 1),
            "seconds_longest": round(seconds[-1], 1) if seconds else 0.0,
        }
    )


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Random kills and pauses of a local job's processes.")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--mode", choices=MODES, default="Sync")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deadline", type=float, default=120.0, help="seconds a run may take")
    parser.add_argument("--keep", type=Path, help="folder for what failed runs leave; a new temporary one by default")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run the schedules; return the exit code."""
    options = _parse(arguments)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    console = Console(stderr=True)
    root = options.keep or Path(tempfile.mkdtemp(prefix="fljob-chaos-"))
    root.mkdir(parents=True, exist_ok=True)
    bed, trials = Bed(root.resolve(), options.mode, options.deadline), list[Trial]()
    try:
        for seed in track(range(options.seed, options.seed + options.runs), options.mode, console=console):
            trials.append(bed.trial(seed))
            _say(console, trials[-1])
    except KeyboardInterrupt:
        console.print("interrupted")
    finally:
        bed.close()
    Console().print(summary(trials))
    failed = [t for t in trials if t.fault]
    if not failed and options.keep is None:
        shutil.rmtree(root)
    sys.stdout.write(as_json(trials, options) + "\n")
    return 1 if failed or len(trials) < options.runs else 0


def _say(console: Console, trial: Trial) -> None:
    facts = dataclasses.asdict(trial)
    console.print("seed={seed} variant={variant!r} seconds={seconds:.1f}".format(**facts), highlight=False)
    if trial.fault:
        console.print(f"  FAILED: {trial.fault}\n  folder: {trial.folder}", markup=False)
        for strike in trial.strikes:
            console.print(f"  {'fell' if strike in trial.fell else 'missed'}: {strike}", markup=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
