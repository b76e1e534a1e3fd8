"""The command that runs published comparisons anew: reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fljob_cli.commands.shared import Output, OutputOption


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(reproduce)


def reproduce(  # noqa: PLR0913 - an option each
    table: Annotated[str | None, typer.Argument(help="Which comparison; left out: list them.")] = None,
    *,
    source: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The published data, as `data import` reads them.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Default: reproduced/TABLE. Runs there go on.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="On generated data, in under two minutes.")] = False,
    seed: Annotated[list[int] | None, typer.Option(help="Seeds to run, one option each; default: the table's.")] = None,
    row: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Rows to run and show, one option each; default: all.")
    ] = None,
    importing: Annotated[
        str, typer.Option(metavar="ARGS", help="Arguments of `fljob data import` instead of the table's own.")
    ] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Run a published comparison anew, with seeds and intervals, and write its table and figure.

    What was run before is not run again, so a comparison that was stopped goes on.

    Examples:

      fljob reproduce ncf-fl-ps --quick

      fljob reproduce ncf-fl-ps --source ml-1m --out ncf

      fljob reproduce ncf-central --source ml-1m --row pooled --row Async --seed 0

      fljob reproduce gru4rec-fedavg --source train.txt --importing "--test test.txt --sites 4"
    """
    from fljob_cli.reproduce.command import Request, list_tables  # noqa: PLC0415 - heavy
    from fljob_cli.reproduce.command import reproduce as run  # noqa: PLC0415 - heavy

    as_json = output is Output.JSON
    if table is None:
        list_tables(as_json=as_json)
        return
    run(Request(table, source, out, quick, tuple(seed or ()), as_json, importing, tuple(row or ())))
