"""The work of `fljob reproduce`: runs what is missing of a comparison and writes its table and figure."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from fljob_cli.errors import CliError
from fljob_cli.reproduce import show
from fljob_cli.reproduce.cells import Bench, Cell
from fljob_cli.reproduce.data import Data, prepare
from fljob_cli.reproduce.paired import Difference, difference
from fljob_cli.reproduce.tables import ALL, How, Table

_TIMED = ("Async", "Geo", "Buffered")  # as docs/concepts.md has it: not the same each time
_PAIRED = (
    "Paired: a bootstrap over the held-out examples, the same for both; what other seeds would do is not in it."
    " Worse is said of a row whose interval is below zero."
)


@dataclass(frozen=True)
class Request:
    """What the user asked for; no seeds: the table's own; importing: arguments instead of the table's.

    rows: names of those to run and to show, of which the first is what others are held against; none: all.
    """

    name: str
    source: Path | None
    out: Path | None
    quick: bool
    seeds: Sequence[int]
    json_output: bool
    importing: str = ""
    rows: Sequence[str] = ()


def list_tables(*, as_json: bool) -> None:
    """Print which comparisons there are."""
    if as_json:
        facts = [{"name": t.name, "title": t.title, "source": t.source} for t in ALL.values()]
        sys.stdout.write(json.dumps({"tables": facts}) + "\n")
        return
    for table in ALL.values():
        sys.stdout.write(f"{table.name:<16}{table.title}\n{'':<16}{table.source}\n")


def reproduce(request: Request) -> None:
    """Run what is missing, and print the whole table; raises CliError."""
    if request.name not in ALL:
        raise CliError(f"no comparison {request.name!r}; there are {', '.join(ALL)}")
    table = _only(ALL[request.name], request.rows)
    setup = table.quick if request.quick else table.full
    seeds = request.seeds or setup.seeds
    if twice := [seed for seed in set(seeds) if list(seeds).count(seed) > 1]:
        raise CliError(f"--seed {twice[0]} is given twice: one run would count as two")
    out = request.out or Path("reproduced") / (f"{table.name}-quick" if request.quick else table.name)
    bench = Bench(table, setup, out, prepare(table, setup, out, request.source, request.importing))
    bench.check(seeds)
    cells = _run(bench, seeds)
    made = show.lines(setup.metric, cells, _beside(bench, seeds))
    words = _words(bench, seeds, quick=request.quick)
    page = f"# {table.title}\n\n{words}\n\n{show.markdown(setup.metric, made, setup.also)}"
    (out / "table.md").write_text(page, encoding="utf-8")
    value = show.as_json(table.name, setup.metric, made, cells)
    (out / "table.json").write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    (out / "figure.svg").write_text(show.figure(setup.metric, made), encoding="utf-8")
    if request.json_output:
        sys.stdout.write(json.dumps(value) + "\n")
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(table.title, style="bold")
    console.print(show.terminal(setup.metric, made, setup.also))
    console.print(Text(f"{words}\n{out / 'table.md'}  {out / 'table.json'}  {out / 'figure.svg'}", style="dim"))


def _only(table: Table, names: Sequence[str]) -> Table:
    """Return the table with these rows alone, all if none is named; raises CliError for a name that it has not."""
    known = [row.name for row in table.rows]
    for name in names:
        if name not in known:
            raise CliError(f"{table.name} has no row {name!r}; there are {', '.join(known)}")
    return replace(table, rows=[row for row in table.rows if row.name in names or not names])


def _run(bench: Bench, seeds: Sequence[int]) -> list[Cell]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    done = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        wanted = bench.cells(seeds)
        task = progress.add_task(bench.table.name, total=len(wanted))
        for row, seed, site in wanted:
            progress.update(task, description=f"{row.name} {site} seed {seed}".replace("  ", " "))
            done.append(bench.run(row, seed, site))
            progress.advance(task)
    return done


def _beside(bench: Bench, seeds: Sequence[int]) -> dict[str, Difference]:
    """Return by row how far its AUC is above that of the first row, for rows whose scores are kept."""
    first, *others = bench.table.rows
    found = {}
    for row in others if bench.setup.paired else ():
        scores = [(bench.scores(row, seed), bench.scores(first, seed)) for seed in seeds]
        pairs = [(one, other) for one, other in scores if one is not None and other is not None]
        if len(pairs) == len(seeds):
            try:
                found[row.name] = difference(pairs)
            except ValueError as error:
                raise CliError(f"{row.name} beside {first.name}: {error}") from error
    return found


def _words(bench: Bench, seeds: Sequence[int], *, quick: bool) -> str:
    """Return what a reader must know of the numbers."""
    table, setup, data = bench.table, bench.setup, bench.data
    alone = "A row that trains alone sees its own site's data only; all are evaluated on all sites' held-out data."
    timed = [row.name for row in table.rows if row.settings.get("strategy.mode") in _TIMED]
    parts = [
        f"{table.source}.",
        f"Data: fljob data import {shlex.join(data.importing)}." if data.importing else "",
        f"{_clients(table, data)}, {setup.passes} passes, {len(seeds)} seed{'s' if len(seeds) > 1 else ''};"
        " means, and 95 % intervals of the last pass by Student's t over the seeds.",
        "Quick form on generated data: it says nothing about the published data." if quick else "",
        f"Published: {table.published}." if table.published and not quick else "",
        "" if quick else table.chosen,
        f"Run anew, {', '.join(timed)} give other numbers: they depend on who comes first." if timed else "",
        alone if any(row.how is How.ALONE for row in table.rows) else "",
        _PAIRED if setup.paired else "",
    ]
    return " ".join(filter(None, parts))


def _clients(table: Table, data: Data) -> str:
    population = any(row.how is How.POPULATION for row in table.rows)
    return (
        "A client for each user; the round is chosen by validation items" if population else f"{len(data.sites)} sites"
    )
