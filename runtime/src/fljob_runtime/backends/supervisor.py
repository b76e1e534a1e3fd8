"""Runs the processes of one start of a local job to its end: restarts by the exit-code table, passes progress on.

Called by `local`, in the caller's thread. What the operator and kubelet do in a cluster is done here in small.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import ValidationError

from fljob_api.exit_codes import meaning
from fljob_api.job_config import JobConfig
from fljob_api.progress import Finish, Outcome, Progress
from fljob_runtime.backends.fleet import Exit, Fleet, Program
from fljob_runtime.backends.folder import RunFolder
from fljob_runtime.backends.restarts import Restarts
from fljob_runtime.rounds.rules import portion

POLL_S = 0.03
_ABSENCE_GRACE_S = 3.0
_END_S = 5.0
_log = logging.getLogger(__name__)


class Supervisor:
    """One start of one run."""

    def __init__(
        self,
        config: JobConfig,
        folder: RunFolder,
        data: Mapping[str, Path],
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._config = config
        self._folder = folder
        self._on_progress = on_progress
        self.programs = {p.process: p for p in programs(config, folder, data)}
        self._restarts = Restarts(config.spec.backoff_limit)
        self._due: dict[str, float] = {}
        self._ended: dict[str, str] = {}  # trainers that are not started again, and why
        self._stamp: tuple[int, int] = (0, 0)
        self.fleet = Fleet(folder.log("nursery"))
        self.progress: Progress | None = None

    def run(self) -> Finish:
        """Start everything and return how the job ended; processes are gone when this returns or raises."""
        try:
            for program in self.programs.values():
                self.fleet.start(program)
            finish = self._supervise()
        except BaseException:
            self.fleet.stop(ask_s=0.0, wait_s=_END_S)
            raise
        self.fleet.stop(ask_s=_END_S, wait_s=_END_S / 2)
        return finish

    def _supervise(self) -> Finish:
        deadline_s = self._config.spec.active_deadline_seconds
        deadline = time.monotonic() + deadline_s if deadline_s else float("inf")
        while True:
            for ended in self.fleet.poll():
                finish = self._take(ended)
                if finish is not None:
                    return finish
            self._start_due()
            self._read_progress()
            if time.monotonic() >= deadline:
                words = f"the job ran longer than spec.activeDeadlineSeconds ({deadline_s} s)"
                return Finish(outcome=Outcome.FAILED, reason="DeadlineExceeded", message=words, exit_code=1)
            time.sleep(POLL_S)

    def _take(self, ended: Exit) -> Finish | None:
        """Decide on a process that ended; return the job's end if that is what it means."""
        if ended.process == "coordinator":
            self._read_progress()
            if self.progress is not None and self.progress.finish is not None:
                return self.progress.finish
        elif ended.code == 0:
            return None  # told so by the coordinator, whose own end follows
        delay = self._restarts.delay_s(ended.process, ended.code)
        if delay is not None:
            _log.warning("%s ended with %d and is started again", ended.process, ended.code)
            self._due[ended.process] = time.monotonic() + delay
            return None
        return self._give_up(ended)

    def _give_up(self, ended: Exit) -> Finish | None:
        why = self._restarts.why_not(ended.process, ended.code)
        if not ended.process.startswith("trainer-"):
            return self._failure(ended, why)
        self._ended[ended.process] = why
        total = len(self._config.spec.trainers)
        if meaning(ended.code).reason in _TOLD or total - len(self._ended) >= self._required(total):
            return None  # the coordinator knows, or can do without
        return self._failure(ended, why)

    def _failure(self, ended: Exit, why: str) -> Finish:
        reason, _, words = why.partition(": ")
        tail = last_line(self._folder.log(ended.process))
        return Finish(
            outcome=Outcome.FAILED,
            reason=reason,
            message=f"{words}; {meaning(ended.code).help} Last line of its log: {tail}"[:1024],
            exit_code=ended.code,
        )

    def _required(self, total: int) -> int:
        part = self._config.spec.participation
        cohort = min(part.count, total) if part.count else portion(f"{part.percent or 100}%", total)
        return portion(self._config.spec.quorum.min_trainers, cohort)

    def _start_due(self) -> None:
        now = time.monotonic()
        for process in [name for name, due in self._due.items() if due <= now]:
            del self._due[process]
            self.fleet.start(self.programs[process])

    def _read_progress(self) -> None:
        try:
            stat = os.stat(self._folder.progress)  # noqa: PTH116 - one call for both numbers
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp == self._stamp:
                return
            progress = Progress.model_validate_json(self._folder.progress.read_bytes())
        except FileNotFoundError:
            return
        except ValidationError as error:
            _log.warning("%s: %s", self._folder.progress, error)
            return
        self._stamp = stamp
        self.progress = progress
        self._on_progress(progress)


_TOLD = {"BadConfig", "UnknownName", "BadData", "LayoutMismatch", "IdentityRefused", "Diverged"}


def programs(config: JobConfig, folder: RunFolder, data: Mapping[str, Path]) -> list[Program]:
    """Return what to start, the trainers first: their nursery has torch to import."""
    trainers = [_trainer(trainer.name, folder, data.get(trainer.name)) for trainer in config.spec.trainers]
    shards = [_server(shard, config, folder) for shard in range(len(config.servers))]
    return [*trainers, _coordinator(config, folder), *shards]


def _common(folder: RunFolder, process: str) -> tuple[str, ...]:
    tls = str(folder.tls(process))
    return ("--config", str(folder.config), "--tls-dir", tls, "--listen", "127.0.0.1", "--http-port", "0")


def _trainer(name: str, folder: RunFolder, data: Path | None) -> Program:
    process = f"trainer-{name}"
    flags = (*_common(folder, process), "--trainer", name, "--storage-dir", str(folder.storage(name)))
    where = ("--data-dir", str(data)) if data is not None else ()
    return Program(process, "", (*flags, *where), folder.log(process))


def _checkpoint(config: JobConfig, folder: RunFolder) -> tuple[str, ...]:
    """The run folder stands for every volume; a URI means in a local run what it means in a pod."""
    checkpoint = config.spec.checkpoint
    return () if checkpoint and checkpoint.uri else ("--checkpoint-dir", str(folder.checkpoint))


def _coordinator(config: JobConfig, folder: RunFolder) -> Program:
    flags = (
        *(*_checkpoint(config, folder), "--scratch-dir", str(folder.scratch("coordinator"))),
        *("--progress-file", str(folder.progress), "--control-file", str(folder.control)),
        *("--absence-grace-seconds", str(_ABSENCE_GRACE_S)),
    )
    module = "fljob_runtime.programs.coordinator"
    return Program("coordinator", module, (*_common(folder, "coordinator"), *flags), folder.log("coordinator"))


def _server(shard: int, config: JobConfig, folder: RunFolder) -> Program:
    process = f"server-{shard}"
    flags = (
        *("--shard", str(shard), *_checkpoint(config, folder)),
        *("--scratch-dir", str(folder.scratch(process))),
    )
    module = "fljob_runtime.programs.server"
    return Program(process, module, (*_common(folder, process), *flags), folder.log(process))


def last_line(log: Path) -> str:
    """Return the last line of a log, "" where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:500] if lines else ""
