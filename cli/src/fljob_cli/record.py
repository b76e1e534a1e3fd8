"""What is kept of a local run: one JSON file in the run folder, written anew after every round.

`run` writes it, `report` and `model get` read it. It is enough to draw the report after a kill, and a resumed
run goes on with the rounds that are in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from fljob_api.exit_codes import ExitCode
from fljob_api.fljob import FLJob
from fljob_api.progress import Progress, RoundSummary
from fljob_cli.errors import CliError

FILE_NAME = "run.json"
INTERRUPTED = "Interrupted"
_DETAIL = re.compile(r"\s*\(.*|:.*")
_NUMBERED = re.compile(r"\bround \d+")


@dataclass(frozen=True)
class Round:
    """One committed round as shown to people and scripts; a number that was not measured is None."""

    round: int
    loss: float | None
    auc: float | None
    participants: int
    dropped: int
    seconds: float | None
    bytes: int
    score: float | None = None  # the headline metric
    metrics: dict[str, float] = field(default_factory=dict)  # all of them, where one process alone has them

    @property
    def shown(self) -> float | None:
        """Return the headline metric; AUC where nobody told a score."""
        return self.auc if self.score is None else self.score

    @classmethod
    def of(cls, summary: RoundSummary) -> Self:
        """Read the coordinator's decimal texts."""
        return cls(
            round=summary.round,
            loss=number(summary.loss),
            auc=number(summary.auc),
            participants=summary.participants,
            dropped=summary.dropped,
            seconds=number(summary.seconds),
            bytes=summary.bytes,
            score=number(summary.score),
        )


@dataclass(frozen=True)
class SiteRound:
    """One trainer's part of one round."""

    round: int
    loss: float | None
    auc: float | None
    seconds: float | None
    samples: int


@dataclass(frozen=True)
class Record:
    """A local run so far."""

    job: str
    manifest: dict[str, Any]
    state: str = "Running"
    message: str = ""
    exit_code: int = 0
    started: str = ""
    wall_s: float = 0.0
    rounds: tuple[Round, ...] = ()
    sites: dict[str, tuple[SiteRound, ...]] = field(default_factory=dict)
    waits: dict[str, float] = field(default_factory=dict)
    pooled: tuple[float, ...] | None = None
    model: str = ""
    model_digest: str = ""
    headline: str = "AUC"  # name of the rounds' score
    site: str = ""  # of a training in one process: "" when the data of all was pooled
    data: dict[str, str] = field(default_factory=dict)  # the folders it read

    def with_progress(self, progress: Progress) -> Record:
        """Return the record with the rounds and the sites' numbers that the progress brings."""
        rounds = {r.round: r for r in self.rounds}
        for summary in progress.training.recent_rounds:
            rounds[summary.round] = Round.of(summary)
        sites = dict(self.sites)
        for trainer in progress.trainers:
            part = SiteRound(
                trainer.round,
                number(trainer.loss),
                number(trainer.auc),
                number(trainer.seconds),
                trainer.samples,
            )
            known = {p.round: p for p in sites.get(trainer.name, ())}
            sites[trainer.name] = tuple((known | {part.round: part})[r] for r in sorted({*known, part.round}))
        headline = progress.training.headline or self.headline
        return replace(self, rounds=tuple(rounds[r] for r in sorted(rounds)), sites=sites, headline=headline)

    def with_wait(self, name: str, seconds: float) -> Record:
        """Return the record with more time spent on a named wait; waits of all rounds count as one.

        `updates of round 3: site-0, site-1` is kept as `updates of a round`: who was slow is in `sites`.
        """
        kind = _NUMBERED.sub("a round", _DETAIL.sub("", name)).strip()
        return replace(self, waits=self.waits | {kind: self.waits.get(kind, 0.0) + seconds})

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--output json` prints, less the report's path."""
        result: dict[str, Any] = {
            "job": self.job,
            "state": self.state,
            "headline": self.headline,
            "rounds": [_shown(r) for r in self.rounds if r.round > 0],
        }
        if self.pooled is not None:
            result["pooled"] = {"auc" if self.headline == "AUC" else "score": list(self.pooled)}
        if self.message:
            result["message"] = self.message
        return result | {"model": self.model or None}


def _shown(entry: Round) -> dict[str, Any]:
    value = asdict(entry)
    if not entry.metrics:
        del value["metrics"]
    return value


def number(text: str) -> float | None:
    """Read a decimal text of the progress object; empty means undefined."""
    return float(text) if text else None


def write(record: Record, run_dir: Path) -> None:
    """Replace the file whole: a reader never sees half of it."""
    path = run_dir / FILE_NAME
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
    fresh.replace(path)


def read(run_dir: Path) -> Record:
    """Read the record of a run folder; raises CliError when there is none or it is broken."""
    path = run_dir / FILE_NAME
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        value["rounds"] = tuple(Round(**r) for r in value["rounds"])
        value["sites"] = {k: tuple(SiteRound(**p) for p in parts) for k, parts in value["sites"].items()}
        value["pooled"] = None if value["pooled"] is None else tuple(value["pooled"])
        return Record(**value)
    except FileNotFoundError as error:
        raise CliError(
            f"{run_dir}: no {FILE_NAME}, so this is not the folder of a run",
            code=ExitCode.BAD_DATA,
            hint="give the folder that `fljob run` printed, or its --run-dir",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CliError(f"{path}: cannot be read: {error}", code=ExitCode.BAD_DATA) from error


def choose_run_dir(run_dir: Path | None, job: FLJob, *, resume: bool) -> Path:
    """Return the folder of a run, made if absent; raises CliError where it does not fit `--resume`."""
    if run_dir is None:
        if resume:
            raise CliError("--resume needs --run-dir: the folder of the run to go on with")
        run_dir = Path("runs") / f"{job.metadata.name}-{datetime.now():%Y%m%d-%H%M%S}"
    there = (run_dir / FILE_NAME).is_file()
    if there and not resume:
        raise CliError(
            f"--run-dir {run_dir}: there is a run already",
            hint="add --resume to go on with it, or choose another folder",
        )
    if resume and not there:
        raise CliError(f"--run-dir {run_dir}: no run to go on with", hint="leave --resume away to begin one")
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CliError(f"--run-dir {run_dir}: {error.strerror}", hint="choose another folder") from error
    return run_dir


def first_record(manifest: dict[str, Any], data: Mapping[str, Path], former: Record | None) -> Record:
    """Return the record of a run that begins, or goes on from a former one."""
    folders = {name: str(path) for name, path in data.items()}
    if former is not None:
        return replace(former, manifest=manifest, state="Running", message="", exit_code=0, data=folders)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return Record(job=manifest["metadata"]["name"], manifest=manifest, started=started, data=folders)
