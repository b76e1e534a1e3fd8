"""The comparison of `--compare-pooled`: the same model on all sites' data together, in a process of its own.

`Pooled` (used by `run`) starts `python -m fljob_cli.pooled_worker`, reads a line of JSON per pass and stops it
when the run ends. It runs beside the job at low priority, so that rounds are little disturbed.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from fljob_api.exit_codes import ExitCode
from fljob_api.fljob import FLJob
from fljob_cli.errors import CliError

_STOP_S = 5.0
_CONFIG = "pooled.json"
_LOG = "pooled.log"


class Pooled:
    """One pooled training; `start` begins it and `stop` ends its process, however far it is."""

    def __init__(self, job: FLJob, data: Mapping[str, Path], run_dir: Path) -> None:
        self.passes_per_round = job.spec.strategy.local_epochs or 1
        self._job = job
        self._data = data
        self._folder = run_dir
        self._limit_s = float(job.spec.rounds * job.spec.round_timeout_seconds)
        self._scores: list[float] = []
        self._changed = threading.Condition()
        self._ended = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def started(self) -> bool:
        """Whether the process has been started."""
        return self._process is not None

    def start(self) -> None:
        """Start the process; the run folder must be there."""
        passes = self._job.spec.rounds * self.passes_per_round
        folders = {name: str(path) for name, path in self._data.items()}
        config = self._folder / _CONFIG
        config.write_text(json.dumps({"job": self._job.to_manifest(), "data": folders, "passes": passes}), "utf-8")
        with (self._folder / _LOG).open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fljob_cli.pooled_worker", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        threading.Thread(target=self._read, args=(self._process,), name="pooled", daemon=True).start()

    def beside(self, round_number: int) -> str:
        """Return the headline metric after as many passes as the round had, or dots while it is being made."""
        done = self.so_far()
        index = round_number * self.passes_per_round - 1
        return f"{done[index]:.4f}" if 0 <= index < len(done) else ("" if index < 0 else "…")

    def so_far(self) -> list[float]:
        """Return the headline metric of each pass that is done."""
        with self._changed:
            return list(self._scores)

    def finish(self, rounds: int) -> list[float]:
        """Wait for the passes of that many rounds and return their scores; raises CliError if it broke."""
        wanted = rounds * self.passes_per_round
        with self._changed:
            done = self._changed.wait_for(lambda: self._ended or len(self._scores) >= wanted, self._limit_s)
            scores = list(self._scores)
        if not done:
            raise CliError(f"pooled training took longer than {self._limit_s:.0f} s", code=ExitCode.TEMPORARY)
        if len(scores) < wanted:
            raise CliError(
                f"pooled training ended after {len(scores)} of {wanted} passes",
                code=ExitCode.CRASH,
                hint=f"its last words are in {self._folder / _LOG}",
            )
        return scores[:wanted]

    def stop(self) -> None:
        """End the process if it runs."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_STOP_S)

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101 - made with a pipe
        with process.stdout as lines:
            for line in lines:
                with self._changed:
                    score = json.loads(line)["score"]
                    self._scores.append(math.nan if score is None else float(score))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
