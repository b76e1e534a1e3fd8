"""Commands that read other systems' configurations: convert paddlerec, recoedge, paddlefl."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fljob_cli.commands.shared import Output, OutputOption

app = typer.Typer(help="Read another system's configuration as an FLJob.", no_args_is_help=True)


Strict = Annotated[bool, typer.Option("--strict", help="Refuse keys that have an effect there and none here yet.")]


@app.command()
def paddlerec(
    config: Annotated[Path, typer.Argument(metavar="FILE", help="config_fl.yaml.")],
    *,
    name: Annotated[str, typer.Option(help="Name of the FLJob.")] = "paddlerec",
    workers: Annotated[int, typer.Option(min=1, max=128, help="fleetrun's --worker_num: one trainer each.")] = 10,
    servers: Annotated[int, typer.Option(min=1, max=16, help="fleetrun's --server_num: shards of the server.")] = 1,
    strict: Strict = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Convert the FL-PS configuration of PaddleRec's NCF; says of every key what became of it.

    The manifest goes to standard output, the keys to standard error; with json one object holds both.

    Examples:

      fljob convert paddlerec config_fl.yaml > fljob.yaml

      fljob convert paddlerec config_fl.yaml --workers 10 --servers 1 --output json
    """
    from fljob_cli.convert.command import convert_paddlerec  # noqa: PLC0415 - heavy

    as_json = output is Output.JSON
    convert_paddlerec(config, name=name, workers=workers, servers=servers, strict=strict, as_json=as_json)


@app.command()
def recoedge(  # noqa: PLR0913 - an option each
    config: Annotated[Path, typer.Argument(metavar="FILE", help="dlrm.yml, dlrm_fl.yml or regression.yml.")],
    *,
    name: Annotated[str, typer.Option(help="Name of the FLJob.")] = "recoedge",
    workers: Annotated[
        int | None, typer.Option(min=1, max=128, help="Trainers; the file's num_trainers, or 1, if not given.")
    ] = None,
    servers: Annotated[int, typer.Option(min=1, max=16, help="Shards of the server.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, which the file does not tell.")] = 5,
    strict: Strict = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Convert RecoEdge's configuration of DLRM or of regression; says of every key what became of it.

    The manifest goes to standard output, the keys to standard error; with json one object holds both.

    Example: fljob convert recoedge configs/dlrm_fl.yml --workers 7 --rounds 20 > fljob.yaml
    """
    from fljob_cli.convert.command import convert_recoedge  # noqa: PLC0415 - heavy

    chosen = {"name": name, "workers": workers, "servers": servers, "rounds": rounds}
    convert_recoedge(config, chosen, strict=strict, as_json=output is Output.JSON)


@app.command()
def paddlefl(
    scripts: Annotated[
        list[Path],
        typer.Argument(metavar="SCRIPT...", help="fl_master.py, and fl_trainer.py, fl_scheduler.py, fl_server.py."),
    ],
    *,
    name: Annotated[str, typer.Option(help="Name of the FLJob.")] = "paddlefl",
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds, where no trainer's loop ends after a number of them.")
    ] = None,
    strict: Strict = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Convert the scripts of PaddleFL's GRU4Rec job; says of every call what became of it. Nothing is run.

    The manifest goes to standard output, the calls to standard error; with json one object holds both.

    Example: fljob convert paddlefl fl_master.py fl_trainer.py fl_scheduler.py > fljob.yaml
    """
    from fljob_cli.convert.command import convert_paddlefl  # noqa: PLC0415 - heavy

    convert_paddlefl(scripts, name=name, rounds=rounds, strict=strict, as_json=output is Output.JSON)
