"""A command of the user's that turns each file into CSV: the file comes on its stdin, rows with a header go to stdout.

Called by readers of tables, and only where the user allowed it on a command line of this machine: a manifest alone,
which may be another person's, never makes a trainer run a command.
"""

from __future__ import annotations

import atexit
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fljob_runtime.data.errors import DataError

DEADLINE_S = 600.0
_WORDS = 2000  # of what a failed command said, its last characters
_KILL_WAIT_S = 10.0


@dataclass(frozen=True)
class Pipe:
    """A command and its arguments; no shell sees it, unless it begins with one. deadline_s: for each file."""

    arguments: tuple[str, ...]
    deadline_s: float = DEADLINE_S

    @classmethod
    def parse(cls, command: str, deadline_s: float = DEADLINE_S) -> Pipe:
        """Take a command line apart as a shell would, of which nothing else is done; raises DataError."""
        try:
            arguments = tuple(shlex.split(command))
        except ValueError as error:
            raise DataError("pipe", f"{command!r}: {error}") from error
        if not arguments:
            raise DataError("pipe", "the command is empty")
        return cls(arguments, deadline_s)

    @contextmanager
    def output(self, path: Path) -> Iterator[Path]:
        """Run the command on one file; yield a CSV file of all it wrote, which is gone afterwards.

        Raises DataError where it cannot be started, does not end in time (it and what it started are killed), or ends
        with another code than 0; with the end of its stderr.
        """
        with tempfile.TemporaryDirectory(prefix="fljob-pipe-") as scratch:
            rows, said = Path(scratch) / "rows.csv", Path(scratch) / "stderr"
            self._run(path, rows, said)
            yield rows

    def shown(self, path: Path) -> str:
        """Return how errors name what the command made of a file."""
        return f"{path} | {shlex.join(self.arguments)}"

    def _run(self, path: Path, rows: Path, said: Path) -> None:
        try:
            with path.open("rb") as source, rows.open("wb") as out, said.open("wb") as words:
                process = subprocess.Popen(
                    self.arguments, stdin=source, stdout=out, stderr=words, start_new_session=True
                )
        except OSError as error:
            raise DataError(self.shown(path), f"cannot be run: {error}") from error
        end = partial(_kill, process)
        atexit.register(end)  # this may be a thread that does not outlive the program
        try:
            code = process.wait(self.deadline_s)
        except subprocess.TimeoutExpired:
            problem = f"did not end within {self.deadline_s:g} s and was killed{_last_words(said)}"
            raise DataError(self.shown(path), problem) from None
        finally:
            end()
            atexit.unregister(end)
        if code != 0:
            ended = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
            raise DataError(self.shown(path), f"{ended}{_last_words(said)}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the command's whole group: what it left behind, too."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait(_KILL_WAIT_S)


def _last_words(said: Path) -> str:
    with said.open("rb") as file:  # of which there may be any amount
        file.seek(max(0, said.stat().st_size - _WORDS))
        text = file.read(_WORDS).decode(errors="replace").strip()
    return f"; its stderr ends: {text}" if text else "; it wrote nothing to stderr"
