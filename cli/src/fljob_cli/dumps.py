"""`fljob data dump`: which dumps there are, and their first examples. Called by `commands.data`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fljob_api.exit_codes import ExitCode
from fljob_cli.errors import CliError

if TYPE_CHECKING:
    from fljob_runtime.data.dumped import Dump


def show_dumps(folder: Path, *, number: int | None, site: str, rows: int, json_output: bool) -> None:
    """Print the dumps below a folder; with JSON a line for each. Raises CliError for none and for a damaged one."""
    from fljob_runtime.data import dumped  # noqa: PLC0415 - heavy
    from fljob_runtime.data.errors import DataError  # noqa: PLC0415 - heavy

    try:
        found = dumped.find_dumps(folder)
        several = len({one.job for _, one in found}) > 1
        chosen = [one for one in found if number in (None, one[1].number) and site in ("", one[1].site)]
        if not chosen:
            there = ", ".join(_name(one, several=several) for _, one in found)
            raise CliError(f"{folder}: no such dump; there are {there}", code=ExitCode.BAD_DATA)
        for path, dump in chosen:
            shapes = dumped.tensor_shapes(path, dump)
            first = dumped.first_examples(path, dump, rows)
            if json_output:
                told = asdict(dump) | {"path": str(path), "tensors": shapes, "examples": first}
                sys.stdout.write(json.dumps(told) + "\n")
            else:
                _say(path, f"{_name(dump, several=several)}: {dump.num_examples:,} examples", shapes, first)
    except DataError as error:
        raise CliError(str(error), code=ExitCode.BAD_DATA) from error


def _name(dump: Dump, *, several: bool) -> str:
    """Return what a dump is called; with several jobs' dumps there, whose it is too."""
    job = f" of job {dump.job or 'unknown'}" if several else ""
    return f"{dump.site} {dump.number}{job}"


def _say(path: Path, head: str, shapes: dict[str, list[int]], first: list[dict[str, Any]]) -> None:
    sys.stdout.write(f"{head}  {path}\n")
    for name, shape in shapes.items():
        sys.stdout.write(f"  {name}  {' x '.join(map(str, shape)) or 'a number'}\n")
    if first:
        sys.stdout.write("  " + "  ".join(f"{name:>12}" for name in first[0]) + "\n")
    for row in first:
        sys.stdout.write("  " + "  ".join(f"{_cell(value):>12}" for value in row.values()) + "\n")


def _cell(value: Any) -> str:  # noqa: ANN401 - what Parquet holds
    return f"{value:.6f}" if isinstance(value, float) else str(value)
