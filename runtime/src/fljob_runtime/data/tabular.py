"""The `tabular` dataset: labelled rows of one's own, from CSV or Parquet, with columns of ids and of numbers.

The import reads one file or a folder of them, numbers the ids, splits off a test set and spreads the rows over sites.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.data import partition
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.folder_rows import FolderRows
from fljob_runtime.data.numbering import first_of_each, num_distinct
from fljob_runtime.data.pipes import DEADLINE_S, Pipe
from fljob_runtime.data.store import Site, SiteManifest, SiteTables, make_sites, read_manifest
from fljob_runtime.data.table_files import SourceTable, read_source
from fljob_runtime.data.threads import in_threads
from fljob_runtime.registry import NoParameters, RegistryKind, register

RESERVED = ("label", "group")
PARTITIONS = ("column", "equal", "dirichlet", "quantity")
_MAX_SITES = 128
_AT_ONCE = 4  # sites that are made and written at the same time: each is a copy of its rows


@register(RegistryKind.DATASET, "tabular", NoParameters)
class Tabular(FolderRows):
    """One site's labelled rows."""

    NAME: ClassVar[str] = "tabular"


@dataclass(frozen=True)
class TableImport:
    """What to make of the columns of a table, and how to spread its rows.

    unit: column whose equal values stay at one site; "" for rows on their own. column: with partition `column` its
    values name the sites, with `dirichlet` they are the classes that are spread unevenly, the labels if none is given.
    test_share: of each site's rows. pipe: a command that makes CSV, with a header, of each source
    file in so many seconds.
    """

    label: str
    ids: tuple[str, ...]
    features: tuple[str, ...] = ()
    partition: str = "equal"
    num_sites: int = 10
    column: str = ""
    unit: str = ""
    alpha: float = 0.5
    test_share: float = 0.1
    seed: int = 0
    pipe: str = ""
    pipe_deadline_s: float = DEADLINE_S


def import_table(
    source: Path, out: Path, plan: TableImport, *, on_progress: Callable[[str], None] = lambda _: None
) -> dict[str, SiteManifest]:
    """Write one folder per site under `out`; the same call again changes nothing. Raises DataError.

    Ids are numbered over all rows, in the order in which they first appear.
    """
    check_plan(plan)
    on_progress("reading")
    pipe = Pipe.parse(plan.pipe, plan.pipe_deadline_s) if plan.pipe else None
    others = [*plan.ids, *filter(None, (plan.column, plan.unit))]
    table = read_source(source, others, [plan.label, *plan.features], pipe)
    columns: dict[str, NDArray[Any]] = {"label": table.labels(plan.label)}
    sizes, parts = {}, table.apart()
    table = table.of(dict.fromkeys(filter(None, (plan.column, plan.unit))))
    named = tuple(dict.fromkeys(plan.ids))
    for name, (ids, size) in zip(named, in_threads(lambda name: parts.pop(name).ids(name), named), strict=True):
        on_progress(name)
        columns[name], sizes[name] = ids, size
    columns |= {name: parts.pop(name).numbers(name) for name in dict.fromkeys(plan.features)}
    parts.clear()
    return write_table(table, columns, sizes, out, plan, on_progress=on_progress)


def write_table(
    table: SourceTable,
    columns: Mapping[str, NDArray[Any]],
    sizes: Mapping[str, int],
    out: Path,
    plan: TableImport,
    *,
    on_progress: Callable[[str], None],
) -> dict[str, SiteManifest]:
    """Spread the rows of a table over sites and write their folders; raises DataError.

    table: has the columns by which rows are spread. columns: label, ids and numbers as they are to be read, [N] each,
    ids of any width. sizes: column of ids -> how many there are.
    """
    names, sites = _spread(table, columns, plan)
    for name, count in zip(names, np.bincount(sites, minlength=len(names)).tolist(), strict=True):
        _num_test(name, count, plan)  # of each site before the first one is written

    def make(name: str) -> Site:
        on_progress(name)
        return _site(name, columns, np.flatnonzero(sites == names.index(name)), sizes, plan)

    make_sites(out, names, make, most=_AT_ONCE)
    return {name: read_manifest(out / name) for name in names}


def check_plan(plan: TableImport) -> None:
    """Raise DataError for a plan that contradicts itself."""
    if plan.partition not in PARTITIONS:
        raise DataError("--partition", f"no partition {plan.partition!r}; there are {', '.join(PARTITIONS)}")
    if plan.partition == "column" and not plan.column:
        raise DataError("--partition column", "say with --column which one names the site")
    if plan.partition == "column" and plan.unit:
        raise DataError("--unit", "with --partition column the column alone says where a row goes: leave one away")
    if not plan.ids:
        raise DataError("--ids", "name at least one column of ids")
    if taken := [name for name in (*plan.ids, *plan.features) if name in RESERVED]:
        raise DataError("--ids, --numbers", f"{taken} is a name of ours: rename the column in the source")
    if twice := {name for name in plan.ids if name in plan.features}:
        raise DataError("--ids, --numbers", f"{sorted(twice)} cannot be both")
    if not 0.0 < plan.test_share < 1.0:
        raise DataError("--test-share", f"{plan.test_share} is not between 0 and 1")


def _spread(table: SourceTable, columns: Mapping[str, NDArray[Any]], plan: TableImport) -> tuple[list[str], Any]:
    """Return the sites' names, and the site of each row as an index into them. int64 [N]."""
    if plan.partition == "column":
        return _by_column(table, plan.column)
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([plan.seed, 0])))
    units, count = table.ids(plan.unit) if plan.unit else (None, len(columns["label"]))
    try:
        if plan.partition == "equal":
            sites = partition.equal(count, plan.num_sites, rng)
        elif plan.partition == "quantity":
            sites = partition.quantity_skewed(count, plan.num_sites, plan.alpha, rng)
        else:
            classes = table.ids(plan.column)[0] if plan.column else columns["label"].astype(np.int32)
            if units is not None:
                classes = classes[first_of_each(units, count)]  # a unit's class is that of its first row
            sites = partition.dirichlet(classes, plan.num_sites, plan.alpha, rng)
    except ValueError as error:
        raise DataError(table.path, str(error)) from error
    return [f"site-{index}" for index in range(plan.num_sites)], sites if units is None else sites[units]


def _by_column(table: SourceTable, column: str) -> tuple[list[str], NDArray[np.int32]]:
    values, _ = table.ids(column)
    names = [f"site-{plain_name(text)}" for text in table.spellings(column)]
    if len(names) > _MAX_SITES:
        problem = f"{len(names)} different values; a job has {_MAX_SITES} trainers at most: choose another column"
        raise DataError(table.path, problem, column=column)
    clash = next((n for n in names if names.count(n) > 1 or n == "site-" or len(n) > 63), None)
    if clash:
        raise DataError(table.path, f"values that make no name of their own ({clash!r}): rename them", column=column)
    return names, values


def plain_name(text: str) -> str:
    """Return text as a part of a trainer's name: lower case letters without accents, digits, dashes."""
    bare = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", bare).strip("-")


def _num_test(name: str, count: int, plan: TableImport) -> int:
    """Return how many of a site's rows are held out; raises DataError where none or all would be."""
    num_test = round(plan.test_share * count)
    if not 0 < num_test < count:
        raise DataError(name, f"{count} rows cannot be split with --test-share {plan.test_share}: take fewer sites")
    return num_test


def _site(
    name: str, columns: Mapping[str, NDArray[Any]], rows: NDArray[np.int64], sizes: Mapping[str, int], plan: TableImport
) -> tuple[SiteManifest, SiteTables]:
    """Return a site of some rows of all columns."""
    count = len(rows)
    num_test = _num_test(name, count, plan)
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([plan.seed, 1, count])))
    held_out = np.zeros(count, np.bool_)
    held_out[rng.permutation(count)[:num_test]] = True
    train_rows, test_rows = rows[~held_out], rows[held_out]
    kinds = {key: np.dtype(np.int64 if key in sizes else np.float32) for key in columns}
    train, test = (
        {key: values[part].astype(kinds[key], copy=False) for key, values in columns.items()}
        for part in (train_rows, test_rows)
    )
    test["group"] = np.full(num_test, -1, np.int64)
    manifest = SiteManifest(
        dataset="tabular",
        site=name,
        ids=dict(sizes),
        num_site_ids={key: num_distinct(train[key], size) for key, size in sizes.items()},
        num_train=count - num_test,
        num_samples=count - num_test,
        num_test=num_test,
        negatives_per_positive=0,
        best_auc=None,
        notes=f"partition {plan.partition}, seed {plan.seed}",
        digests={},
        features=tuple(plan.features),
    )
    return manifest, SiteTables(train, test)
