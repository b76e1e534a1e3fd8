"""Commands that prepare and look at the data of sites: data import, generate, describe."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fljob_cli.commands.shared import Output, OutputOption

app = typer.Typer(help="Prepare the data of sites and look at it.", no_args_is_help=True)
importers = typer.Typer(help="Bring published data into the folder of each site.", no_args_is_help=True)
generators = typer.Typer(help="Make data from a seed.", no_args_is_help=True)
app.add_typer(importers, name="import")
app.add_typer(generators, name="generate")


class Count(StrEnum):
    """What an epoch's size is counted in."""

    EXAMPLE = "example"
    WORD = "word"


Out = Annotated[Path, typer.Option(help="Gets one folder per site: site-0, site-1, …")]


@importers.command()
def movielens(
    source: Annotated[Path, typer.Option(help="Folder with the files of MovieLens-1M or -100K, or of Pinterest.")],
    out: Out,
    partition: Annotated[
        str, typer.Option(help="zip: by the zip code's first digit (ten sites); equal; none: one site.")
    ] = "zip",
    sites: Annotated[int, typer.Option(min=1, max=128, help="Number of sites of --partition equal.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Draws test negatives where none are published.")] = 0,
) -> None:
    """Split MovieLens or Pinterest into sites, with one held-out rating a user and 99 negatives to rank it against.

    Example: fljob data import movielens --source ml-1m --partition zip --out sites
    """
    from fljob_cli.datasets import import_movielens  # noqa: PLC0415 - heavy

    import_movielens(source, out, partition=partition, num_sites=sites, seed=seed)


@importers.command()
def table(  # noqa: PLR0913, PLR0917 - an option each
    source: Annotated[
        Path, typer.Option(help="A CSV, TSV or Parquet file, or a folder of such; the first line names.")
    ],
    out: Out,
    label: Annotated[str, typer.Option(help="Column of labels, 0 or 1.")],
    ids: Annotated[str, typer.Option(help="Columns of ids, comma-separated: numbers or text, each gets a table.")],
    numbers: Annotated[str, typer.Option(help="Columns of numbers, comma-separated.")] = "",
    partition: Annotated[
        str, typer.Option(help="column: --column names the site; equal; dirichlet: uneven classes; quantity.")
    ] = "equal",
    column: Annotated[
        str, typer.Option(help="Names the sites (column), or is the class (dirichlet; else labels).")
    ] = "",
    unit: Annotated[str, typer.Option(help="Column whose equal values stay at one site, such as the user.")] = "",
    alpha: Annotated[float, typer.Option(help="Of dirichlet and quantity: the smaller, the more uneven.")] = 0.5,
    sites: Annotated[int, typer.Option(min=1, max=128, help="Number of sites, unless a column names them.")] = 10,
    test_share: Annotated[float, typer.Option(help="Share of each site's rows that is held out.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Draws sites and test rows.")] = 0,
    pipe: Annotated[
        str, typer.Option(metavar="COMMAND", help="Makes CSV with a header on its stdout of each file on its stdin.")
    ] = "",
    pipe_deadline: Annotated[float, typer.Option(min=1, help="Seconds that it has for each file.")] = 600,
) -> None:
    """Spread a table of labelled rows over sites, for the dataset `tabular`.

    Example: fljob data import table --source clicks.csv --label click --ids user,item --partition column --column shop
    --out sites
    """
    from fljob_cli.datasets import import_table  # noqa: PLC0415 - heavy

    chosen = {"partition": partition, "num_sites": sites, "column": column, "unit": unit}
    chosen |= {"alpha": alpha, "test_share": test_share, "seed": seed}
    chosen |= {"pipe": pipe, "pipe_deadline_s": pipe_deadline}
    import_table(source, out, label=label, ids=ids, numbers=numbers, chosen=chosen)


@importers.command()
def criteo(  # noqa: PLR0913, PLR0917 - an option each
    source: Annotated[Path, typer.Option(help="train.txt of the Kaggle challenge, plain, .gz or .xz.")],
    out: Out,
    partition: Annotated[
        str, typer.Option(help="day: a seventh of the file each; equal; dirichlet: uneven labels; quantity.")
    ] = "day",
    sites: Annotated[int, typer.Option(min=1, max=128, help="Number of sites, unless they are days.")] = 7,
    alpha: Annotated[float, typer.Option(help="Of dirichlet and quantity: the smaller, the more uneven.")] = 0.5,
    min_count: Annotated[int, typer.Option(min=1, help="Categories seen less often in a column become one.")] = 1,
    max_index: Annotated[int, typer.Option(min=0, help="At most so many ids a column, wrapped around; 0: all.")] = 0,
    negatives: Annotated[float, typer.Option(help="Share of the rows without a click that is kept.")] = 1.0,
    test_share: Annotated[float, typer.Option(help="Share of each site's rows that is held out.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Draws sites, test rows and rows that are kept.")] = 0,
) -> None:
    """Spread the Criteo challenge's rows over sites, for the dataset `tabular`: 13 logarithms, 26 columns of ids.

    Example: fljob data import criteo --source train.txt --min-count 10 --out days
    """
    from fljob_cli.datasets import import_criteo  # noqa: PLC0415 - heavy

    chosen = {"partition": partition, "num_sites": sites, "alpha": alpha, "test_share": test_share, "seed": seed}
    import_criteo(source, out, {**chosen, "min_count": min_count, "max_index": max_index, "negatives": negatives})


@importers.command()
def leaf(  # noqa: PLR0913, PLR0917 - an option each
    source: Annotated[Path, typer.Option(help="Folder of LEAF's .json files, or one with train/ and test/ of such.")],
    out: Out,
    partition: Annotated[str, typer.Option(help="equal: users dealt over the sites; user: each one a site.")] = "equal",
    sites: Annotated[int, typer.Option(min=1, max=128, help="Number of sites, unless they are users.")] = 10,
    classes: Annotated[int, typer.Option(min=0, help="How many there are; 0: as many as the labels tell.")] = 0,
    test_share: Annotated[float, typer.Option(help="Share of each user's pictures held out, without test/.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Draws sites and held-out pictures.")] = 0,
) -> None:
    """Spread the users of LEAF's FEMNIST, or of another set in its format, over sites, for the dataset `pictures`.

    Example: fljob data import leaf --source femnist/data --sites 4 --classes 62 --out sites
    """
    from fljob_cli.datasets import import_leaf  # noqa: PLC0415 - heavy

    chosen = {"partition": partition, "num_sites": sites, "classes": classes, "test_share": test_share, "seed": seed}
    import_leaf(source, out, chosen)


@importers.command()
def sessions(  # noqa: PLR0913, PLR0917 - an option each
    source: Annotated[
        Path,
        typer.Option(help="yoochoose-clicks.dat, a table of SessionId, ItemId and Time, or items, a session a line."),
    ],
    out: Out,
    test: Annotated[Path | None, typer.Option(help="A file of test sessions; else those of the last day.")] = None,
    cut: Annotated[str, typer.Option(help="first-1/N: of all sessions; last-1/N: of those for training.")] = "",
    partition: Annotated[
        str, typer.Option(help="equal; day: each site some days; quantity: uneven in size.")
    ] = "equal",
    sites: Annotated[int, typer.Option(min=1, max=128, help="Number of sites.")] = 4,
    alpha: Annotated[float, typer.Option(help="Of quantity: the smaller, the more uneven.")] = 0.5,
    min_count: Annotated[
        int, typer.Option(min=0, help="Drops items with fewer events; 0: 5 if the last day is split off, else 1.")
    ] = 0,
    longest: Annotated[
        int, typer.Option(min=2, max=10_000, help="Longer sessions become pieces of so many items.")
    ] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Draws sites.")] = 0,
) -> None:
    """Spread sessions over sites, for the dataset `sessions`: those of RecSys Challenge 2015, or your own.

    Example: fljob data import sessions --source yoochoose-clicks.dat --cut last-1/64 --sites 4 --out parties
    """
    from fljob_cli.datasets import import_sessions  # noqa: PLC0415 - heavy

    chosen = {"test": test, "cut": cut, "partition": partition, "num_sites": sites, "alpha": alpha}
    import_sessions(source, out, {**chosen, "min_count": min_count, "longest": longest, "seed": seed})


@generators.command()
def synthetic(
    out: Out,
    sites: Annotated[int, typer.Option(min=1, max=128, help="Number of sites.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Everything follows from it.")] = 0,
    users_per_site: Annotated[int, typer.Option(min=1, max=1_000_000)] = 200,
    items: Annotated[int, typer.Option(min=2, max=10_000_000)] = 500,
    samples_per_user: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
) -> None:
    """Write the sites of the synthetic dataset as files, as if they were somebody's data.

    Example: fljob data generate synthetic --sites 10 --out sites
    """
    from fljob_cli.datasets import generate_synthetic  # noqa: PLC0415 - heavy

    parameters = {"users_per_site": users_per_site, "items": items, "samples_per_user": samples_per_user}
    generate_synthetic(out, sites=sites, seed=seed, parameters=parameters)


@generators.command()
def pictures(  # noqa: PLR0913, PLR0917 - an option each
    out: Out,
    sites: Annotated[int, typer.Option(min=1, max=128, help="Number of sites.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Everything follows from it.")] = 0,
    classes: Annotated[int, typer.Option(min=2, max=1000)] = 10,
    samples_per_site: Annotated[int, typer.Option(min=1, max=1_000_000)] = 500,
    side: Annotated[int, typer.Option(min=1, max=1024, help="Rows and columns of a picture.")] = 28,
    separation: Annotated[int, typer.Option(min=0, max=1000, help="Of two classes, in deviations of the noise.")] = 8,
) -> None:
    """Write the sites of the dataset synthetic-pictures as files, for the dataset `pictures`.

    Example: fljob data generate pictures --sites 4 --out sites
    """
    from fljob_cli.datasets import generate_pictures  # noqa: PLC0415 - heavy

    parameters = {"classes": classes, "samples_per_site": samples_per_site, "side": side, "separation": separation}
    generate_pictures(out, sites=sites, seed=seed, parameters=parameters)


@app.command()
def dump(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run, or of a site's storage.")],
    number: Annotated[int | None, typer.Option("--round", help="Only of this round or epoch.")] = None,
    site: Annotated[str, typer.Option(help="Only of this site.")] = "",
    rows: Annotated[int, typer.Option(min=0, help="Examples shown of each; 0 if not given.")] = 0,
    output: OutputOption = Output.TEXT,
) -> None:
    """List the dumps that spec.dump made the sites of a job write, and show the first examples of each.

    Example: fljob data dump runs/movies-20260101-120000 --site site-3 --rows 5
    """
    from fljob_cli.dumps import show_dumps  # noqa: PLC0415 - heavy

    show_dumps(folder, number=number, site=site, rows=rows, json_output=output is Output.JSON)


@app.command()
def describe(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A site's folder, or a folder of such.")],
    column: Annotated[str, typer.Option(help="Column of ids whose overlap is shown; items if not given.")] = "",
    report: Annotated[Path | None, typer.Option(help="Also write an HTML page with figures.")] = None,
    count: Annotated[Count, typer.Option(help="Count examples, or words: the ids that examples have.")] = Count.EXAMPLE,
    output: OutputOption = Output.TEXT,
) -> None:
    """Check the data of sites and show how much each one has, how labels differ, and which ids sites have in common.

    Examples:

      fljob data describe sites

      fljob data describe sites --report sites.html
    """
    from fljob_cli.datasets import describe_folder  # noqa: PLC0415 - heavy

    words = count is Count.WORD
    describe_folder(folder, column=column, report=report, words=words, json_output=output is Output.JSON)
