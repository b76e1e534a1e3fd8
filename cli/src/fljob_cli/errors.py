"""Errors that end a command with words for a person and an exit code for a script.

    CliError               what went wrong, what to do about it, how the process ends
    └── InputError         several faults of one input, each with its path

Raised anywhere in fljob_cli, caught once, in `main`.
"""

from __future__ import annotations

from collections.abc import Sequence

from fljob_api.exit_codes import ExitCode
from fljob_api.problems import Problem


class CliError(Exception):
    """A fault that the user can act on: `hint` says how."""

    def __init__(self, message: str, *, code: int = ExitCode.BAD_CONFIG, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


class InputError(CliError):
    """All faults of one input at once, so that nobody mends them one run at a time."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(f"{source}: {count}{lines}")
        self.problems = tuple(problems)
