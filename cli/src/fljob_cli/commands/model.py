"""Commands that hand out a trained model: model get, model export, predict and serve."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fljob_cli.commands.local import Data, DataRoot
from fljob_cli.commands.shared import Context, Kubeconfig, Namespace, Settings

app = typer.Typer(help="Fetch and export trained models.", no_args_is_help=True)
Exported = Annotated[Path, typer.Argument(metavar="MODEL", help="A folder that `model export` wrote.")]


class Form(StrEnum):
    """Formats of an exported model."""

    SAFETENSORS = "safetensors"
    TORCH_EXPORT = "torch-export"
    ONNX = "onnx"


def register(main: typer.Typer) -> None:
    """Add the commands on exported models to the program."""
    main.command()(predict)
    main.command()(serve)


@app.command()
def get(
    source: Annotated[str, typer.Argument(metavar="JOB|RUN_DIR", help="A job's name, or the folder of a run.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder that gets the model's files.")] = Path("model"),
    image: Annotated[
        str | None, typer.Option(help="Image of the reader pod; default: the one the job's pods ran.")
    ] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Fetch the model of a run or of a cluster job, also after the FLJob is deleted; checks its digest.

    A name with a slash or of an existing folder is a run folder, else a job in the cluster.

    Examples:

      fljob model get runs/movies-20260101-120000 --out model

      fljob model get movies -n research
    """
    from fljob_cli.model import get_from_cluster, get_from_run  # noqa: PLC0415 - heavy

    if "/" in source or Path(source).is_dir():
        get_from_run(Path(source), out)
        return
    from fljob_cli.cluster.api import connect  # noqa: PLC0415 - heavy

    get_from_cluster(connect(namespace, context=context, kubeconfig=kubeconfig), source, out, image=image)


@app.command()
def export(  # noqa: PLR0913 - a command's options are its parameters
    source: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="The folder of a run, or a model.")],
    *,
    out: Annotated[Path, typer.Option(help="Gets a folder for each round.")],
    form: Annotated[Form, typer.Option("--format", help="onnx needs fljob-runtime\\[onnx].")] = Form.SAFETENSORS,
    rounds: Annotated[
        str, typer.Option(help="3..8, 5, 3.. or ..8; default: all that are kept, but for 0, the untrained one.")
    ] = "..",
    site: Annotated[str | None, typer.Option(help="Whose private values go into it, where there are any.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="The FLJob of a model alone.")] = None,
    settings: Settings = None,
    data: Data = None,
    data_root: DataRoot = None,
) -> None:
    """Write kept rounds for serving, each with signature.json: what goes in and out, by name, type and shape.

    Example: fljob model export runs/movies-20260101-120000 --format onnx --out served
    """
    from fljob_cli.export import Request  # noqa: PLC0415 - heavy
    from fljob_cli.export import export as run_export  # noqa: PLC0415 - heavy

    settings_given, data_given = tuple(settings or ()), tuple(data or ())
    run_export(Request(source, out, form.value, rounds, site, manifest, settings_given, data_given, data_root))


def predict(
    model: Exported,
    *,
    source: Annotated[Path, typer.Option("--input", help="Examples: .csv, .parquet or .jsonl.")],
    out: Annotated[Path, typer.Option("--output", help="What the model says of each: .csv, .parquet or .jsonl.")],
    top: Annotated[int, typer.Option(min=1, help="Items told of each row, by a model of the next item.")] = 20,
) -> None:
    """Score the rows of a file with an exported model.

    Example: fljob predict served/8 --input pairs.csv --output scores.csv
    """
    from fljob_cli.export import predict as run_prediction  # noqa: PLC0415 - heavy

    run_prediction(model, source, out, top=top)


def serve(  # noqa: PLR0913 - a command's options are its parameters
    model: Exported,
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any.")] = 8080,
    grpc_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Answer over gRPC, too. 0: any; default: no gRPC.")
    ] = None,
    items: Annotated[str, typer.Option(help="Column of ids that top-k ranks.")] = "item",
    cert: Annotated[Path | None, typer.Option(help="PEM file of a certificate, for TLS; with --key.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of its key.")] = None,
) -> None:
    """Score over HTTP with an exported model: POST /v1/score and /v1/top-k; or gRPC. Without authentication.

    Example: fljob serve served/8 --port 8080
    """
    from fljob_cli.export import Listen  # noqa: PLC0415 - heavy
    from fljob_cli.export import serve as run_server  # noqa: PLC0415 - heavy

    if (cert is None) is not (key is None):
        raise typer.BadParameter("--cert and --key go together")
    run_server(model, at=Listen(host, port, grpc_port, (cert, key) if cert and key else None), items=items)
