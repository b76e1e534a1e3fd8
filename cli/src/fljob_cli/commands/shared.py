"""Options that several commands take."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Output(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


Manifest = Annotated[Path, typer.Argument(metavar="FILE", help="An FLJob manifest; - reads standard input.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change a field; wins over the file. Items of lists by name: spec.trainers\\[site-0].resources…",
    ),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text for people, json for scripts.")]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Default: that of the kubeconfig's context.")]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig.")]
Kubeconfig = Annotated[Path | None, typer.Option(help="Default: $KUBECONFIG, ~/.kube/config, or the pod's own.")]
