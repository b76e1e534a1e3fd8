"""Runs a program of a comparison to its end. Called by `data` and `cells`."""

from __future__ import annotations

import subprocess
import sys

from fljob_api.exit_codes import ExitCode
from fljob_cli.errors import CliError

LIMIT_S = 6 * 3600.0


def finished(module: str, *arguments: str) -> str:
    """Run `python -m module` and return its output; raises CliError with its last words when it fails."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        words = f"{' '.join((module, *arguments[:2]))} took more than {LIMIT_S:.0f} s"
        raise CliError(words, code=ExitCode.STARTUP_TIMEOUT) from error
    if done.returncode != 0:
        words = f"{' '.join((module, *arguments))} ended with {done.returncode}"
        raise CliError(f"{words}:\n{done.stderr[-2000:].strip()}")
    return done.stdout
