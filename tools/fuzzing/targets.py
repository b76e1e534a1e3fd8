"""All targets by name. A new one goes into the module of its kind; here is only the list of modules."""

from __future__ import annotations

from pathlib import Path

from fuzzing import answers, control, files, pushes, scorer
from fuzzing.target import Target


def make_targets(folder: Path) -> dict[str, Target]:
    """Return all targets; they write below `folder`, which is on a file system in memory if there is one."""
    every = [*control.targets(), *pushes.targets(folder), *answers.targets(folder), *files.targets(folder)]
    every += scorer.targets()
    made = {target.name: target for target in every}
    if len(made) < len(every):
        raise ValueError(f"two targets have one name: {[target.name for target in every]}")
    return made
