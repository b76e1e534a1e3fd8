"""From a manifest file and `--set` to a checked FLJob.

Called by `run`, `train`, `evaluate`, `validate`, `render` and `submit`, so that all of them judge alike; the judging
itself is `fljob_api.validation`, the same that the operator asks.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fljob_api.fljob import FLJob
from fljob_api.manifest import Manifest, ManifestError, read
from fljob_api.problems import Problem
from fljob_api.validation import validate
from fljob_cli.errors import CliError, InputError
from fljob_cli.overrides import apply_overrides


def load(path: Path, settings: Sequence[str] = (), *, in_cluster: bool = False) -> FLJob:
    """Read, override and check a manifest (`-`: standard input), with every default filled in.

    Raises CliError for an unreadable file and InputError with every fault, its path and line.
    """
    return parse(load_value(path, settings, in_cluster=in_cluster))


def load_value(path: Path, settings: Sequence[str] = (), *, in_cluster: bool = False) -> dict[str, Any]:
    """Read, override and check a manifest and return it as written, without defaults.

    `in_cluster`: where nobody can give a trainer's data by `--data`, so that the manifest must.
    """
    manifest = _read(path)
    value = apply_overrides(manifest.value, settings)
    problems = validate(value, in_cluster=in_cluster)
    if problems:
        raise InputError(str(path), [_placed(problem, manifest) for problem in problems])
    return value


def of_run(value: dict[str, Any], settings: Sequence[str], run: Path) -> FLJob:
    """Return the FLJob that a run kept, with fields changed; raises InputError with every fault."""
    if not settings:
        return parse(value)
    changed = apply_overrides(value, settings)
    if problems := validate(changed):
        raise InputError(str(run), problems)
    return parse(changed)


def parse(value: dict[str, Any]) -> FLJob:
    """Return the FLJob of a checked manifest."""
    return FLJob.from_dict({key: part for key, part in value.items() if key != "status"})


def _read(path: Path) -> Manifest:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CliError(f"{path}: cannot be read: {reason}") from error
    try:
        return read(text)
    except ManifestError as error:
        raise InputError(str(path), error.problems) from error


def _placed(problem: Problem, manifest: Manifest) -> Problem:
    line = manifest.line_of(problem.path)
    return replace(problem, message=f"{problem.message} (line {line}).")
