"""Commands that hand out a trained model: model get."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fljob_cli.commands.shared import Context, Kubeconfig, Namespace

app = typer.Typer(help="Fetch trained models.", no_args_is_help=True)


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
