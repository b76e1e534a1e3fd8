"""Commands that need no cluster: run, train, evaluate, validate, render, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fljob_cli.commands.shared import Manifest, Output, OutputOption, Settings


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(run)
    app.command()(train)
    app.command()(evaluate)
    app.command()(validate)
    app.command()(render)
    app.command()(report)


Data = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="SITE=DIR", help="The folder that stands in for a trainer's volume."),
]
DataRoot = Annotated[
    Path | None, typer.Option("--data-root", metavar="DIR", help="A folder that holds one folder per trainer name.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Short for --set spec.seed=N.")]
Device = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="[SITE=]DEVICE",
        help="cpu, cuda, cuda:N or auto, for all or for one site; the CPU where there is no GPU. May be repeated.",
    ),
]
Profile = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Profile the first mini-batches: a table, operators.txt and trace.json."),
]
Histograms = Annotated[
    int, typer.Option(min=0, help="With --tensorboard: parameters and gradients every so many epochs; 0: never.")
]
AllowPipe = Annotated[
    bool, typer.Option("--allow-pipe", help="Run the command that the manifest's dataset `files` has as its pipe.")
]
Tensorboard = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write events for TensorBoard; needs fljob-runtime\\[tensorboard]."),
]
Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="MODULE",
        help="A Python module that registers a model or dataset, in place of spec.imports.",
    ),
]


def run(  # noqa: PLR0913 - a command's options are its parameters
    manifest: Manifest,
    *,
    data: Data = None,
    data_root: DataRoot = None,
    settings: Settings = None,
    seed: Seed = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Where state, model and report go; default runs/<job>-<time>.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on at the last committed round of --run-dir.")] = False,
    compare_pooled: Annotated[
        bool, typer.Option("--compare-pooled", help="Also train on the pooled data and print its AUC beside.")
    ] = False,
    device: Device = None,
    import_module: Imports = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Run a job on this machine: the same programs, as processes on loopback.

    Examples:

      fljob run examples/synthetic-ten-sites/fljob.yaml --compare-pooled

      fljob run movies.yaml --data-root sites --set spec.rounds=3 --output json

      fljob run movies.yaml --data-root sites --device cpu --device site-0=cuda:0 --device site-1=cuda:1
    """
    from fljob_cli.run import Request, run_job  # noqa: PLC0415 - heavy

    request = Request(
        manifest=manifest,
        settings=_settings(settings, seed, import_module, device),
        data=tuple(data or ()),
        data_root=data_root,
        run_dir=run_dir,
        resume=resume,
        compare_pooled=compare_pooled,
        json_output=output is Output.JSON,
    )
    raise typer.Exit(run_job(request))


def train(  # noqa: PLR0913 - a command's options are its parameters
    manifest: Manifest,
    *,
    site: Annotated[str | None, typer.Option(help="Train on this trainer's data alone; default: all of it.")] = None,
    data: Data = None,
    data_root: DataRoot = None,
    settings: Settings = None,
    seed: Seed = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where state and models go; default runs/<job>-<time>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where --run-dir stopped.")] = False,
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="Newest epochs kept beside the best; default: spec.checkpoint.keep, or 2."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch; sums may differ in the last bit.")] = 1,
    profile: Profile = None,
    profile_batches: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Mini-batches that --profile looks at; default: 50.")
    ] = None,
    tensorboard: Tensorboard = None,
    histograms: Histograms = 0,
    device: Device = None,
    allow_pipe: AllowPipe = False,
    import_module: Imports = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Train the job's model in this process alone, on the pooled data or on one site's; no federation.

    As many epochs as spec.rounds times spec.strategy.localEpochs. With json, a line per epoch and one at the end.

    Examples:

      fljob train examples/synthetic-ten-sites/fljob.yaml

      fljob train movies.yaml --data-root sites --site site-3 --set spec.rounds=3 --output json

      fljob train movies.yaml --data-root sites --device auto --set spec.precision=BFloat16

      fljob train movies.yaml --data-root sites --profile profile --profile-batches 20

      fljob train movies.yaml --data-root sites --tensorboard events --histograms 5
    """
    from fljob_cli.train import Request, train_alone  # noqa: PLC0415 - heavy
    from fljob_cli.watch import Wanted  # noqa: PLC0415 - heavy

    request = Request(
        manifest=manifest,
        settings=_settings(settings, seed, import_module, device),
        data=tuple(data or ()),
        data_root=data_root,
        site=site,
        run_dir=run_dir,
        resume=resume,
        keep=keep,
        threads=threads,
        watched=Wanted(profile, profile_batches, tensorboard, histograms),
        json_output=output is Output.JSON,
        allow_pipe=allow_pipe,
    )
    raise typer.Exit(train_alone(request))


def evaluate(  # noqa: PLR0913 - a command's options are its parameters
    source: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="The folder of a run, or a model.")],
    *,
    rounds: Annotated[str, typer.Option(help="3..8, 5, 3.. or ..8; default: the newest that is kept.")] = "",
    site: Annotated[list[str] | None, typer.Option(help="Only this trainer's data; may be repeated.")] = None,
    max_batches: Annotated[
        int | None, typer.Option(min=1, help="Of each site at most so many batches of strategy.batchSize.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="The FLJob of a model alone; for a run the one it was started with.")
    ] = None,
    settings: Settings = None,
    data: Data = None,
    data_root: DataRoot = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
    output: OutputOption = Output.TEXT,
) -> None:
    """Evaluate kept rounds on the sites' held-out data: all metrics, over all sites and for each.

    Rounds of `fljob run` by its checkpoints, epochs of `fljob train`, or one model with --manifest. With json a line
    per round.

    Examples:

      fljob evaluate runs/movies-20260101-120000 --rounds 3..8

      fljob evaluate model --manifest movies.yaml --data-root sites --site site-3 --output json
    """
    from fljob_cli.evaluate import Request  # noqa: PLC0415 - heavy
    from fljob_cli.evaluate import evaluate as run_evaluation  # noqa: PLC0415 - heavy

    run_evaluation(
        Request(
            source=source,
            rounds=rounds,
            sites=tuple(site or ()),
            max_batches=max_batches,
            manifest=manifest,
            settings=tuple(settings or ()),
            data=tuple(data or ()),
            data_root=data_root,
            threads=threads,
            json_output=output is Output.JSON,
        )
    )


def _settings(
    settings: list[str] | None, seed: int | None, imports: list[str] | None, devices: list[str] | None
) -> tuple[str, ...]:
    extra = [] if seed is None else [f"spec.seed={seed}"]
    extra += [f"spec.imports={list(imports)}"] if imports else []
    for words in devices or ():
        site, one, device = words.rpartition("=")
        extra.append(f"spec.trainers[{site}].device={device}" if one else f"spec.device={device}")
    return (*(settings or ()), *extra)


def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="FLJob manifests.")],
    settings: Settings = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Check manifests as the API server would, and their names and parameters besides.

    Example: fljob validate examples/*/fljob.yaml
    """
    from fljob_cli.validate import check_files  # noqa: PLC0415 - heavy

    raise typer.Exit(check_files(files, settings or [], json_output=output is Output.JSON))


def render(
    manifest: Manifest,
    settings: Settings = None,
    image: Annotated[str, typer.Option(help="The runtime image that roles use by default.")] = "fljob-runtime",
) -> None:
    """Print the objects that the operator would create for a job; needs no cluster.

    Example: fljob render movies.yaml | less
    """
    from fljob_cli.render import print_children  # noqa: PLC0415 - heavy

    print_children(manifest, settings or [], image=image)


def report(
    run_dir: Annotated[Path, typer.Argument(help="The folder of a run.")],
    out: Annotated[Path | None, typer.Option(help="Default: report.html in the run's folder.")] = None,
) -> None:
    """Write the report of a run anew: one HTML file that needs nothing else.

    Example: fljob report runs/movies-20260101-120000
    """
    from fljob_cli.record import read  # noqa: PLC0415 - heavy
    from fljob_cli.report.page import write_report  # noqa: PLC0415 - heavy

    typer.echo(write_report(read(run_dir), out or run_dir / "report.html"))
