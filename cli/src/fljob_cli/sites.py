"""Which folder stands in for each trainer's volume in a local run.

Called by `run`. Pure but for looking which folders exist.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from fljob_api.catalog import built_in
from fljob_api.exit_codes import ExitCode
from fljob_api.fljob import FLJob
from fljob_api.problems import Problem
from fljob_cli.errors import CliError, InputError


def resolve(
    job: FLJob, *, pairs: Sequence[str], root: Path | None, only: Sequence[str] | None = None
) -> dict[str, Path]:
    """Return trainer name → folder; `pairs` (SITE=DIR) win over `root`/SITE. `only`: the trainers that need theirs.

    A trainer whose manifest names no volume may go without, unless its dataset is one that reads folders. Raises
    InputError for an unknown site or a folder that is not there, CliError when no folder was named at all.
    """
    every = [trainer.name for trainer in job.spec.trainers]
    given = _given(pairs, every)
    names = [name for name in every if only is None or name in only]
    dataset = built_in().kinds["datasets"].get(job.spec.dataset.name)
    everyone = dataset is not None and dataset.needs_folder
    needed = {t.name for t in job.spec.trainers if t.name in names and (everyone or t.data is not None)} - set(given)
    if needed and root is None:
        raise _unnamed(job, sorted(needed, key=names.index))
    if root is not None:
        if not root.is_dir():
            raise CliError(f"--data-root {root}: no such folder", code=ExitCode.BAD_DATA)
        given |= {name: root / name for name in names if name not in given and (root / name).is_dir()}
        _refuse_absent(root, [name for name in names if name in needed and name not in given])
    return {name: given[name].resolve() for name in names if name in given}


def _given(pairs: Sequence[str], names: list[str]) -> dict[str, Path]:
    problems: list[Problem] = []
    given: dict[str, Path] = {}
    for pair in pairs:
        name, equals, folder = pair.partition("=")
        if not equals or not folder:
            problems.append(Problem(pair, "write SITE=DIR, such as site-0=data/site-0."))
        elif name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            problems.append(Problem(pair, f"the job has no trainer `{name}`.", close[0] if close else ""))
        elif not Path(folder).is_dir():
            problems.append(Problem(pair, "no such folder."))
        else:
            given[name] = Path(folder)
    if problems:
        raise InputError("--data", problems)
    return given


def _unnamed(job: FLJob, missing: list[str]) -> CliError:
    return CliError(
        f"{job.metadata.name}: no folder for the data of {_some(missing)}",
        code=ExitCode.BAD_DATA,
        hint="a local run reads folders instead of volumes: --data-root DIR (one folder per trainer name), "
        f"or --data {missing[0]}=DIR for each",
    )


def _refuse_absent(root: Path, missing: list[str]) -> None:
    if not missing:
        return
    there = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    raise CliError(
        f"--data-root {root}: no folder for {_some(missing)}",
        code=ExitCode.BAD_DATA,
        hint=f"it holds {_some(there) if there else 'no folders'}; folders are found by trainer name",
    )


def _some(names: list[str], limit: int = 6) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
