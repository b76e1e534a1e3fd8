"""Commands that read other systems' configurations: convert paddlerec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fljob_cli.commands.shared import Output, OutputOption

app = typer.Typer(help="Read another system's configuration as an FLJob.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `convert` a group while it has one command."""


@app.command()
def paddlerec(
    config: Annotated[Path, typer.Argument(metavar="FILE", help="config_fl.yaml.")],
    *,
    name: Annotated[str, typer.Option(help="Name of the FLJob.")] = "paddlerec",
    workers: Annotated[int, typer.Option(min=1, max=128, help="fleetrun's --worker_num: one trainer each.")] = 10,
    servers: Annotated[int, typer.Option(min=1, max=16, help="fleetrun's --server_num: shards of the server.")] = 1,
    output: OutputOption = Output.TEXT,
) -> None:
    """Convert the FL-PS configuration of PaddleRec's NCF; says of every key what became of it.

    The manifest goes to standard output, the keys to standard error; with json one object holds both.

    Examples:

      fljob convert paddlerec config_fl.yaml > fljob.yaml

      fljob convert paddlerec config_fl.yaml --workers 10 --servers 1 --output json
    """
    from fljob_cli.convert.command import convert_paddlerec  # noqa: PLC0415 - heavy

    convert_paddlerec(config, name=name, workers=workers, servers=servers, as_json=output is Output.JSON)
