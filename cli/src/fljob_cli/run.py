"""`fljob run`: read and check the job, start it on this machine, show and keep what happens.

Called by `commands.local`. Holds no training code: `fljob_runtime.backends.local` runs the processes, and
`fljob_cli.pooled` the comparison.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from fljob_api.exit_codes import ExitCode, meaning
from fljob_api.fljob import FLJob
from fljob_api.progress import Progress
from fljob_cli import manifests, record, sites
from fljob_cli.display import Rounds, decimal, duration, plain_console
from fljob_cli.errors import CliError
from fljob_cli.faults import data_faults
from fljob_cli.pooled import Pooled
from fljob_cli.record import INTERRUPTED, Record, choose_run_dir, first_record
from fljob_cli.report.page import write_report

REPORT_NAME = "report.html"


@dataclass(frozen=True)
class Request:
    """What the command line asked for."""

    manifest: Path
    settings: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    data_root: Path | None = None
    run_dir: Path | None = None
    resume: bool = False
    compare_pooled: bool = False
    json_output: bool = False


def run_job(request: Request) -> int:
    """Run one job to its end and return the exit code; raises CliError for what is wrong beforehand."""
    manifest = manifests.load_value(request.manifest, request.settings)
    job = manifests.parse(manifest)
    data = sites.resolve(job, pairs=request.data, root=request.data_root)
    _check_initial_values(job, data)
    run_dir = choose_run_dir(request.run_dir, job, resume=request.resume)
    console = plain_console(stderr=request.json_output)
    former = record.read(run_dir) if request.resume else None
    follower = _Follower(first_record(manifest, data, former), run_dir)
    with ExitStack() as stack:
        pooled = Pooled(job, data, run_dir) if request.compare_pooled else None
        if pooled and job.spec.strategy.inner_steps:
            console.print("pooled training does whole epochs, however many innerSteps a round has", style="yellow")
        stack.callback(pooled.stop if pooled else lambda: None)
        _train(job, data, follower, console=console, pooled=pooled)
        if pooled is not None and follower.record.state == "Succeeded":
            _finish_pooled(pooled, follower, console, job)
    report = write_report(follower.record, run_dir / REPORT_NAME)
    _say_end(request, follower.record, report=report, console=console)
    return follower.record.exit_code


def _check_initial_values(job: FLJob, data: Mapping[str, Path]) -> None:
    """Read the models that spec.initialValues names as a trainer will, before there is a process. Raises CliError."""
    if not job.spec.initial_values:
        return
    from fljob_cli.pooled_worker import open_site  # noqa: PLC0415 - heavy
    from fljob_runtime import registry  # noqa: PLC0415 - heavy
    from fljob_runtime.roles.trainer_setup import single_trainer  # noqa: PLC0415 - heavy

    site = job.spec.trainers[0].name
    with data_faults():
        registry.load(job.spec.imports)
        single_trainer(job.spec, site, open_site(job, site, data))


class _Follower:
    """Keeps the record of the run on disk as progress comes."""

    def __init__(self, start: Record, run_dir: Path) -> None:
        self.record = start
        self.run_dir = run_dir
        self._begin = time.monotonic() - start.wall_s
        self._wait: tuple[str, float] | None = None
        self.digest = ""

    def take(self, progress: Progress) -> None:
        now = time.monotonic()
        if self._wait is not None:
            self.record = self.record.with_wait(self._wait[0], now - self._wait[1])
        waiting = progress.training.waiting_for
        self._wait = None if waiting is None else (waiting.name, now)
        before = self.record.rounds
        self.record = self.record.with_progress(progress)
        self.digest = progress.training.model_digest or self.digest
        if self.record.rounds != before:
            self.change()

    def change(self, **changes: object) -> None:
        """Change fields of the record and write it."""
        wall = round(time.monotonic() - self._begin, 3)
        self.record = replace(self.record, wall_s=wall, **changes)  # type: ignore[arg-type]
        record.write(self.record, self.run_dir)


def _train(
    job: FLJob, data: Mapping[str, Path], follower: _Follower, *, console: Console, pooled: Pooled | None
) -> None:
    from fljob_runtime.backends.local import LocalRunError, run_local  # noqa: PLC0415 - heavy, wall

    rounds = Rounds(
        console,
        total=job.spec.rounds,
        cohort=len(job.spec.trainers),
        pooled=lambda number: None if pooled is None else pooled.beside(number),
    )

    def on_progress(progress: Progress) -> None:
        if pooled is not None and not pooled.started:
            pooled.start()
        follower.take(progress)
        rounds.show(follower.record, progress)

    try:
        with rounds:
            result = run_local(job, data=data, run_dir=follower.run_dir, on_progress=on_progress)
    except LocalRunError as error:
        raise CliError(str(error)) from error
    except KeyboardInterrupt:
        follower.change(state=INTERRUPTED, exit_code=int(ExitCode.STOPPED), message="stopped by a signal")
        return
    finish = result.finish
    follower.change(
        state=result.state.value,
        exit_code=finish.exit_code,
        message="" if finish.exit_code == 0 else f"{finish.reason}: {finish.message}",
        model=str(result.model) if result.model else "",
        model_digest=follower.digest,
    )


def _finish_pooled(pooled: Pooled, follower: _Follower, console: Console, job: FLJob) -> None:
    """Wait for as many pooled passes as there are rounds, then put both scores beside each other."""
    try:
        with console.status("training on the pooled data", spinner="line"):
            scores = pooled.finish(len([r for r in follower.record.rounds if r.round > 0]))
    except KeyboardInterrupt:
        console.print("comparison with pooled training stopped; the run itself is complete")
        scores = pooled.so_far()
    follower.change(pooled=tuple(scores))
    passes = pooled.passes_per_round
    name = follower.record.headline
    console.print(f"\n{'round':>9}  {name:>7}  {'pooled':>7}  {'gap':>7}", style="bold")
    for entry in follower.record.rounds:
        index = entry.round * passes - 1
        if entry.shown is None or not 0 <= index < len(scores):
            continue
        gap, score = entry.shown - scores[index], f"{decimal(entry.shown):>{max(len(name), 7)}}"
        console.print(f"{entry.round:>4}/{job.spec.rounds:<4}  {score}  {decimal(scores[index]):>7}  {gap:>+7.4f}")


def _say_end(request: Request, last: Record, *, report: Path, console: Console) -> None:
    def say(text: str, style: str = "") -> None:
        console.print(text, style=style, soft_wrap=True)

    if last.state == INTERRUPTED:
        done = max([entry.round for entry in last.rounds], default=0)
        say(f"\nstopped after round {done}; to go on:\n  {_again(request, report.parent)}")
    elif last.exit_code != 0:
        say(f"\n{last.state}: {last.message}\n  {meaning(last.exit_code).help}", style="red")
    else:
        say(f"\n{last.state} in {duration(last.wall_s)}", style="green")
    if last.model:
        say(f"model   {last.model}")
    say(f"report  {report}")
    if request.json_output:
        sys.stdout.write(json.dumps(last.to_json() | {"report": str(report)}) + "\n")
        sys.stdout.flush()


def _again(request: Request, run_dir: Path) -> str:
    """Return the command that goes on with an interrupted run."""
    words = ["fljob", "run", str(request.manifest)]
    for setting in request.settings:
        words += ["--set", setting]
    for pair in request.data:
        words += ["--data", pair]
    if request.data_root is not None:
        words += ["--data-root", str(request.data_root)]
    words += ["--compare-pooled"] * request.compare_pooled
    return shlex.join([*words, "--run-dir", str(run_dir), "--resume"])
