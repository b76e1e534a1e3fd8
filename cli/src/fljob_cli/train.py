"""`fljob train`: one model in this process, on all sites' data pooled or on one site's alone; shown and kept.

Called by `commands.local`. The training itself is `fljob_runtime.training.pooled`. A run folder holds `run.json` as
that of `fljob run` (an epoch stands for a round), `state.safetensors` to go on from, and the models kept as
`epochs/<n>/`.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fljob_api.dump import DumpSpec
from fljob_api.exit_codes import ExitCode
from fljob_api.fljob import FLJob
from fljob_api.problems import nearest
from fljob_cli import manifests, record, sites
from fljob_cli.display import decimal, duration, plain_console
from fljob_cli.errors import CliError
from fljob_cli.faults import data_faults
from fljob_cli.record import INTERRUPTED, Record, Round, choose_run_dir, first_record
from fljob_cli.watch import Wanted, Watch

if TYPE_CHECKING:
    from fljob_runtime.data.examples import SiteData
    from fljob_runtime.training.local import LocalTrainer
    from fljob_runtime.training.pooled import PooledTraining

EPOCHS = "epochs"
POOLED = "pooled"
_STATE = "state.safetensors"
_KEEP = 2
_FREE = {"rounds", "stopCriteria", "checkpoint", "dump"}  # what may differ where a training goes on


@dataclass(frozen=True)
class Request:
    """What the command line asked for. keep: epochs kept beside the best; None: as spec.checkpoint says, or 2."""

    manifest: Path
    settings: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    data_root: Path | None = None
    site: str | None = None
    run_dir: Path | None = None
    resume: bool = False
    keep: int | None = None
    threads: int = 1
    watched: Wanted = field(default_factory=Wanted)
    json_output: bool = False
    allow_pipe: bool = False


def train_alone(request: Request) -> int:
    """Train to the end and return the exit code; raises CliError for what is wrong beforehand."""
    request.watched.check()
    value = manifests.load_value(request.manifest, request.settings)
    job = manifests.parse(value)
    if request.site is not None:
        check_site(job, request.site)
    only = None if request.site is None else [request.site]
    data = sites.resolve(job, pairs=request.data, root=request.data_root, only=only)
    training = _open(job, data, request)
    run_dir = choose_run_dir(request.run_dir, job, resume=request.resume)
    former = record.read(run_dir) if request.resume else None
    start = replace(first_record(value, data, former), site=request.site or "")
    if former is not None:
        _check_same(job, former, run_dir)
        _load(training, run_dir / _STATE)
        start = replace(start, rounds=start.rounds[: training.epoch])
    console = plain_console(stderr=request.json_output)
    if job.spec.strategy.inner_steps:
        console.print("spec.strategy.innerSteps is for federated rounds: here a round is a whole epoch", style="yellow")
    watch = Watch(request.watched, training, console)
    with closing(watch):
        run = _Run(job, training, start, run_dir, request, console, watch)
        run.train()
        return run.say_end()


def check_site(job: FLJob, site: str) -> None:
    """Raise CliError unless the job has a trainer of this name."""
    names = [trainer.name for trainer in job.spec.trainers]
    if site not in names:
        meant = nearest(site, names)
        raise CliError(
            f"--site {site}: the job has no such trainer" + (f"; did you mean `{meant}`?" if meant else ""),
            hint=f"there are {', '.join(names)}",
        )


def _open(job: FLJob, data: Mapping[str, Path], request: Request) -> PooledTraining:
    import torch  # noqa: PLC0415 - heavy

    from fljob_cli.pooled_worker import open_pooled, open_site  # noqa: PLC0415 - heavy
    from fljob_runtime import registry  # noqa: PLC0415 - heavy
    from fljob_runtime.roles.trainer_setup import single_trainer  # noqa: PLC0415 - heavy
    from fljob_runtime.training.pooled import PooledTraining  # noqa: PLC0415 - heavy

    torch.set_num_threads(request.threads)
    torch.manual_seed(job.spec.model_seed)
    with data_faults():
        registry.load(job.spec.imports)
        allow = request.allow_pipe
        if request.site is None:
            opened: SiteData = open_pooled(job, data, allow_pipe=allow)
        else:
            opened = open_site(job, request.site, data, allow_pipe=allow)
        trainer = single_trainer(job.spec, request.site or POOLED, opened)
        return PooledTraining(trainer, job.spec.strategy.local_epochs or 1)


def _check_same(job: FLJob, former: Record, run_dir: Path) -> None:
    """Raise CliError unless it is the training that began: half an epoch in batches of 50 is none in those of 500."""
    changed = sorted(job.spec.differing(manifests.parse(former.manifest).spec) - _FREE)
    if changed:
        raise CliError(
            f"{run_dir}: holds a training with another spec.{', spec.'.join(changed)}",
            hint="choose another --run-dir, or leave away what was changed",
        )


def _load(training: PooledTraining, state: Path) -> None:
    from fljob_runtime.training import pooled_state  # noqa: PLC0415 - heavy

    if not state.is_file():
        raise CliError(
            f"{state}: no state to go on from, so this is no folder of `fljob train`",
            code=ExitCode.BAD_DATA,
            hint="a federated run goes on by `fljob run … --resume`",
        )
    with data_faults():
        pooled_state.load(training, state)


@dataclass
class _Run:
    """One training: what is shown and written of each epoch."""

    job: FLJob
    training: PooledTraining
    record: Record
    run_dir: Path
    request: Request
    console: Console
    watch: Watch
    headline: str = ""
    _stop: bool = False
    _told: bool = field(default=False)

    def train(self) -> None:
        """Train until the last epoch, a stop criterion or a signal; the record and the state are on disk after each."""
        from fljob_runtime.training import pooled_state  # noqa: PLC0415 - heavy

        begin = time.monotonic() - self.record.wall_s
        epochs = self.job.spec.rounds * (self.job.spec.strategy.local_epochs or 1)
        state, why = "Succeeded", self._criterion()
        try:
            with data_faults(), self._signals():
                if not (self.training.epoch or self.training.batch):
                    pooled_state.save(self.training, self.run_dir / _STATE)
                self._write(begin)
                while self.training.epoch < epochs and not why:
                    if not self._epoch(epochs):
                        pooled_state.save(self.training, self.run_dir / _STATE)
                        state = INTERRUPTED
                        break
                    why = self._criterion()
        except CliError as error:
            self._write(begin, state="Failed", exit_code=int(error.code), message=str(error))
            raise
        except Exception as error:
            self._write(
                begin, state="Failed", exit_code=int(ExitCode.CRASH), message=f"{type(error).__name__}: {error}"
            )
            raise
        code = ExitCode.STOPPED if state == INTERRUPTED else ExitCode.DONE
        self._write(begin, state=state, exit_code=int(code), message=why)

    def _write(self, begin: float, **changes: object) -> None:
        self.record = replace(self.record, wall_s=round(time.monotonic() - begin, 3), **changes)  # type: ignore[arg-type]
        record.write(self.record, self.run_dir)

    def _epoch(self, epochs: int) -> bool:
        """Train and evaluate an epoch, show and keep it; return whether it was whole."""
        from fljob_runtime.roles.progress_view import named  # noqa: PLC0415 - heavy
        from fljob_runtime.training import pooled_state  # noqa: PLC0415 - heavy

        begin = time.monotonic()
        with self._bar(self.training.trainer) as advance, self.watch.epoch() as on_step:
            if not self.training.run_epoch(
                lambda told: advance(told.samples_done, told.loss), lambda: self._stop, on_step
            ):
                return False
        metrics = named(self.training.trainer.evaluate().sums.compute())
        if self.job.spec.dump is not None:
            write_dump(self.job.spec.dump, self.run_dir, self.request.site or POOLED, self.training)
        entry = _entry(self.training.epoch, metrics, round(time.monotonic() - begin, 3), self._num_sites())
        self.record = replace(self.record, rounds=(*self.record.rounds, entry))
        self._show(entry, epochs)
        self.watch.evaluated(metrics)
        self._keep(entry)
        record.write(self.record, self.run_dir)
        pooled_state.save(self.training, self.run_dir / _STATE)  # last: what the record has beyond it is trained anew
        return True

    @property
    def _best_by(self) -> str:
        return self.job.spec.evaluation.best_metric or ""

    def _num_sites(self) -> int:
        return 1 if self.request.site else len(self.job.spec.trainers)

    def _criterion(self) -> str:
        """Return the stop criterion that the epochs so far meet, "" if none."""
        from fljob_runtime.rounds.stop import describe, first_met  # noqa: PLC0415 - heavy

        met = first_met(self.job.spec.stop_criteria, [entry.metrics for entry in self.record.rounds])
        return "" if met is None else f"stopped by criterion {describe(met)}"

    def _show(self, entry: Round, epochs: int) -> None:
        from fljob_runtime.rounds.history import headline  # noqa: PLC0415 - heavy

        name = headline(entry.metrics)
        self.record = replace(self.record, headline=name or self.record.headline)
        if not self._told:
            self.console.print(f"{'epoch':>9}  {'loss':>7}  {name or '-':>9}  {'seconds':>7}", style="bold")
        self._told = True
        score = decimal(entry.metrics.get(name))
        self.console.print(
            f"{entry.round:>4}/{epochs:<4}  {decimal(entry.loss):>7}  {score:>9}  {entry.seconds or 0.0:>7.1f}"
        )
        if self.request.json_output:
            told = {"epoch": entry.round, "loss": entry.loss, "metrics": entry.metrics, "seconds": entry.seconds}
            _say_json(told)

    def _keep(self, entry: Round) -> None:
        """Write the epoch's model; delete those that are neither among the newest nor the best."""
        from fljob_runtime.checkpoints.model import MODEL  # noqa: PLC0415 - heavy

        spec = self.job.spec
        keep = self.request.keep or (spec.checkpoint.keep if spec.checkpoint else _KEEP)
        folder = self.run_dir / EPOCHS
        trainer = self.training.trainer
        digest = write_epoch(self.job, trainer, folder / str(entry.round), number=entry.round, metrics=entry.metrics)
        self.record = replace(
            self.record, model=str((folder / str(entry.round) / MODEL).resolve()), model_digest=f"sha256:{digest}"
        )
        wanted = {best_epoch(self.record, self._best_by), *(r.round for r in self.record.rounds[-keep:])}
        for number in kept_epochs(self.run_dir):
            if number not in wanted:
                shutil.rmtree(folder / str(number))

    @contextmanager
    def _bar(self, trainer: LocalTrainer) -> Iterator[Any]:
        """Show how far the epoch is, where somebody watches."""
        columns = (
            TextColumn("epoch {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[l]}"),
        )
        shown = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        with shown:
            task = shown.add_task(str(self.training.epoch + 1), total=trainer.data.num_samples, loss="")
            yield lambda done, loss: shown.update(task, completed=done, loss=f"loss {loss:.4f}")

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM stop after the mini-batch under way; a second one stops at once."""

        def stop(_signal: int, _frame: FrameType | None) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True

        former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def say_end(self) -> int:
        """Say how it ended and where the models are; return the exit code."""
        last = self.record
        best = best_epoch(last, self._best_by)
        self.console.print(f"\n{last.state} in {duration(last.wall_s)}{'; ' if last.message else ''}{last.message}")
        if best:
            self.console.print(f"model   {last.model}", soft_wrap=True)
            self.console.print(f"best    {self.run_dir / EPOCHS / str(best)}", soft_wrap=True)
        if last.state == INTERRUPTED:
            where = f"after {self.training.batch} mini-batches of epoch {self.training.epoch + 1}"
            self.console.print(f"stopped {where}; to go on, say the same with --run-dir {self.run_dir} --resume")
        if self.request.json_output:
            kept = kept_epochs(self.run_dir)
            _say_json(last.to_json() | {"site": last.site or None, "best": best or None, "kept": kept})
        return last.exit_code


def write_epoch(job: FLJob, trainer: LocalTrainer, folder: Path, *, number: int, metrics: Mapping[str, float]) -> str:
    """Write the model as it is, with its signature; return its sha256. Every parameter is in it, private ones too."""
    from fljob_runtime.checkpoints.model import signature, state_tensors, write_model  # noqa: PLC0415 - heavy
    from fljob_runtime.training import pooled_state  # noqa: PLC0415 - heavy

    spec = job.spec
    layout = pooled_state.shared(trainer.layout.model)
    about = {"job": job.metadata.name, "model": spec.model.to_dict(), "dataset": spec.dataset.to_dict()}
    told = signature(layout, number, {**about, "seed": spec.seed, "metrics": dict(metrics)})
    return write_model(folder, state_tensors(layout, pooled_state.values(trainer)), told)


def write_dump(spec: DumpSpec, run_dir: Path, site: str, training: PooledTraining) -> None:
    """Write what spec.dump asks for after an epoch; raises CliError where the folder cannot be written."""
    from fljob_runtime.errors import CheckpointError  # noqa: PLC0415 - heavy
    from fljob_runtime.training.dumps import Dumps  # noqa: PLC0415 - heavy

    try:
        Dumps(spec, run_dir, site).write(training.epoch, training.trainer)
    except (OSError, CheckpointError) as error:
        raise CliError(f"{run_dir}: the dump cannot be written: {error}") from error


def kept_epochs(run_dir: Path) -> list[int]:
    """Return the epochs whose models are there, ascending."""
    return sorted(int(path.name) for path in (run_dir / EPOCHS).glob("*") if path.name.isdecimal())


def best_epoch(run: Record, metric: str = "") -> int:
    """Return the first of the epochs with the best of a metric, by default the headline (else the lowest loss).

    0 before the first.
    """
    from fljob_runtime.rounds.history import quality  # noqa: PLC0415 - heavy

    return max(run.rounds, key=lambda entry: quality(entry.metrics, metric)).round if run.rounds else 0


def _entry(epoch: int, metrics: dict[str, float], seconds: float, num_sites: int) -> Round:
    from fljob_runtime.rounds.history import headline  # noqa: PLC0415 - heavy

    return Round(
        epoch,
        loss=metrics.get("Loss"),
        auc=metrics.get("AUC"),
        participants=num_sites,
        dropped=0,
        seconds=seconds,
        bytes=0,
        score=metrics.get(headline(metrics)),
        metrics=metrics,
    )


def _say_json(value: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
