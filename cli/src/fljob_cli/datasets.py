"""`fljob data`: imports, generation and description, as tables. Called by `commands.data`.

The work is `fljob_runtime.data`, imported when asked for; this only shows it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fljob_api.exit_codes import ExitCode
from fljob_api.problems import nearest
from fljob_cli.errors import CliError
from fljob_cli.split import bar, main_column, print_labels, print_overlap

if TYPE_CHECKING:
    from fljob_runtime.data.describe import SiteDescription
    from fljob_runtime.data.overlap import Overlap
    from fljob_runtime.data.store import SiteManifest

_COLUMNS = 4  # of ids, shown for each site
_FOLDERS = "what is read must be readable; --out is a new or old folder that may be written to, on a disk with room"


def import_movielens(source: Path, out: Path, *, partition: str, num_sites: int, seed: int) -> None:
    """Import MovieLens or Pinterest and print what each site got."""
    from fljob_runtime.data.movielens import import_movielens as run_import  # noqa: PLC0415 - heavy

    console = Console(stderr=True, highlight=False)
    with _data_errors(out), console.status("reading", spinner="line") as status:
        made = run_import(source, out, partition=partition, num_sites=num_sites, seed=seed, on_progress=status.update)
    _print_sites(made.sites)
    sys.stdout.write(f"{made.num_samples:,} samples an epoch in {len(made.sites)} sites under {out}\n")


def import_table(source: Path, out: Path, *, label: str, ids: str, numbers: str, chosen: Mapping[str, Any]) -> None:
    """Import a table of one's own and print what each site got; ids, numbers: comma-separated columns."""
    from fljob_runtime.data.tabular import TableImport  # noqa: PLC0415 - heavy
    from fljob_runtime.data.tabular import import_table as run_import  # noqa: PLC0415 - heavy

    plan = TableImport(label=label, ids=_names(ids), features=_names(numbers), **chosen)
    _import_rows(out, lambda on_progress: run_import(source, out, plan, on_progress=on_progress))


def import_criteo(source: Path, out: Path, chosen: Mapping[str, Any]) -> None:
    """Import the Criteo challenge's rows and print what each site got."""
    from fljob_runtime.data.criteo import CriteoImport  # noqa: PLC0415 - heavy
    from fljob_runtime.data.criteo import import_criteo as run_import  # noqa: PLC0415 - heavy

    _import_rows(out, lambda on_progress: run_import(source, out, CriteoImport(**chosen), on_progress=on_progress))


def import_leaf(source: Path, out: Path, chosen: Mapping[str, Any]) -> None:
    """Import LEAF's pictures and print what each site got."""
    from fljob_runtime.data.pictures import LeafImport  # noqa: PLC0415 - heavy
    from fljob_runtime.data.pictures import import_leaf as run_import  # noqa: PLC0415 - heavy

    _import_rows(out, lambda on_progress: run_import(source, out, LeafImport(**chosen), on_progress=on_progress))


def import_sessions(source: Path, out: Path, chosen: Mapping[str, Any]) -> None:
    """Import sessions and print what each site got."""
    from fljob_runtime.data.sessions import SessionImport  # noqa: PLC0415 - heavy
    from fljob_runtime.data.sessions import import_sessions as run_import  # noqa: PLC0415 - heavy

    _import_rows(out, lambda on_progress: run_import(source, out, SessionImport(**chosen), on_progress=on_progress))


def _import_rows(out: Path, run: Callable[[Callable[[str], None]], Mapping[str, SiteManifest]]) -> None:
    console = Console(stderr=True, highlight=False)
    with _data_errors(out), console.status("reading", spinner="line") as status:
        made = run(status.update)
    _print_sites(made)
    count = sum(site.num_train + site.num_test for site in made.values())
    sys.stdout.write(f"{count:,} rows in {len(made)} sites under {out}\n")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def generate_synthetic(out: Path, *, sites: int, seed: int, parameters: Mapping[str, int]) -> None:
    """Write the sites of the synthetic dataset and print what each one got."""
    from fljob_runtime.data.synthetic import SyntheticParameters, generate_sites  # noqa: PLC0415 - heavy

    with _data_errors(out):
        made = generate_sites(out, SyntheticParameters(**parameters), num_sites=sites, seed=seed)
    _print_sites(made)
    sys.stdout.write(f"{len(made)} sites under {out}\n")


def generate_pictures(out: Path, *, sites: int, seed: int, parameters: Mapping[str, int]) -> None:
    """Write the sites of synthetic pictures and print what each one got."""
    from fljob_runtime.data import synthetic_pictures  # noqa: PLC0415 - heavy

    with _data_errors(out):
        chosen = synthetic_pictures.SyntheticPicturesParameters(**parameters)
        made = synthetic_pictures.generate_sites(out, chosen, num_sites=sites, seed=seed)
    _print_sites(made)
    sys.stdout.write(f"{len(made)} sites under {out}\n")


def describe_folder(folder: Path, *, column: str, report: Path | None, words: bool, json_output: bool) -> None:
    """Check the sites under a folder and print how much each one has, and how they differ; also as a page.

    words: count ids rather than examples.
    """
    from fljob_runtime.data import describe  # noqa: PLC0415 - heavy

    with _data_errors(folder):
        sites = describe.describe_folder(folder)
    distances, found = describe.label_distance(sites), describe.overlaps(sites)
    chosen = next((one for one in found if one.column == column), None) if column else main_column(found)
    if column and chosen is None:
        names = [one.column for one in found]
        hint = f"there are {', '.join(names)}" if names else "there are no ids"
        raise CliError(f"--column: no column of ids {column!r}; {hint}", hint=nearest(column, names))
    if report is not None:
        _write_report(report, sites, distances, found if len(found) <= _COLUMNS or chosen is None else [chosen])
    if json_output:
        flat = [_flat(site) | {"label_distance": far} for site, far in zip_longest(sites, distances)]
        sys.stdout.write(json.dumps({"sites": flat, "overlaps": [asdict(one) for one in found]}) + "\n")
        return
    _print_descriptions(sites, words=words)
    print_labels(_console(), sites, distances)
    if chosen is not None and len(sites) > 1:
        print_overlap(_console(), chosen, [site.manifest.site for site in sites])


def _write_report(
    path: Path, sites: Sequence[SiteDescription], distances: Sequence[float], found: Sequence[Overlap]
) -> None:
    from fljob_cli.report.data import write_data_report  # noqa: PLC0415 - heavy

    try:
        write_data_report(path, sites, distances, found)
    except OSError as error:
        raise CliError(f"--report {path}: {error.strerror}") from error
    sys.stderr.write(f"report  {path}\n")


@contextmanager
def _data_errors(folder: Path) -> Iterator[None]:
    """Say what is wrong with data, with an option, or with a file; folder: the one meant where an error names none."""
    from pydantic import ValidationError  # noqa: PLC0415 - heavy

    from fljob_runtime.data.errors import DataError  # noqa: PLC0415 - heavy

    try:
        yield
    except DataError as error:
        raise CliError(str(error), code=ExitCode.BAD_DATA) from error
    except ValidationError as error:
        faults = (f"--{str(e['loc'][0]).replace('_', '-')} {e['input']}: {e['msg']}" for e in error.errors())
        raise CliError("; ".join(faults)) from error
    except OSError as error:
        raise CliError(f"{error.filename or folder}: {error.strerror or error}", hint=_FOLDERS) from error


def _flat(site: SiteDescription) -> dict[str, Any]:
    return asdict(site.manifest) | {
        "positive_rate": site.positive_rate,
        "label_counts": site.label_counts,
        "num_words": site.num_words,
    }


def _print_sites(sites: Mapping[str, SiteManifest]) -> None:
    columns = _shown(next(iter(sites.values())) if sites else None)
    table = _table("site", *(f"{name}s" for name in columns), "train rows", "samples", "test rows", "")
    most = max((site.num_samples for site in sites.values()), default=1)
    for name, site in sites.items():
        counts = (*(site.num_site_ids[c] for c in columns), site.num_train, site.num_samples, site.num_test)
        table.add_row(name, *(f"{count:,}" for count in counts), bar(site.num_samples, most))
    _console().print(table)


def _print_descriptions(sites: Sequence[SiteDescription], *, words: bool) -> None:
    first = sites[0].manifest
    columns, size = _shown(first), "words" if words else "samples"
    table = _table("site", *(f"{name}s" for name in columns), "train rows", size, "test rows", "positive", "")
    counts_of = [site.num_words if words else site.manifest.num_samples for site in sites]
    for site, counted in zip(sites, counts_of, strict=True):
        m = site.manifest
        counts = (*(m.num_site_ids[name] for name in columns), m.num_train, counted, m.num_test)
        rate = "" if site.positive_rate is None else f"{site.positive_rate:.1%}"
        table.add_row(m.site, *(f"{count:,}" for count in counts), rate, bar(counted, max(counts_of)))
    console = _console()
    console.print(table)
    names = ((name if len(first.ids) > _COLUMNS else f"{name}s", count) for name, count in first.ids.items())
    sequences = (
        f"{count:,} {name} in sequences of {longest} at most" for name, (count, longest) in first.sequences.items()
    )
    sizes = ", ".join([*(f"{count:,} {name}" for name, count in names), *sequences])
    numbers = f"; numbers: {', '.join(first.features)}" if first.features else ""
    classes = f"; {first.num_classes} classes" if first.num_classes > 2 else ""
    console.print(f"dataset {first.dataset}: {sizes or 'no ids'} in all sites{numbers}{classes}")
    best = {site.manifest.best_auc for site in sites if site.manifest.best_auc is not None}
    if best:
        console.print(f"best AUC that any model can reach here: {min(best):.4f} to {max(best):.4f} by site")
    for note in sorted({site.manifest.notes for site in sites if site.manifest.notes}):
        console.print(Text(note, style="dim"))


def _shown(manifest: SiteManifest | None) -> list[str]:
    """Return the columns of ids that have room in a table; all or none."""
    names = list(manifest.ids) if manifest else []
    return names if len(names) <= _COLUMNS else []


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, justify="left" if name in ("site", "") else "right", no_wrap=True)
    return table


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)
