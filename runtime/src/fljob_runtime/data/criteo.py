"""Import of the Criteo Display Advertising Challenge's `train.txt` (Kaggle, seven days) as sites of dataset `tabular`.

A row is a label, 13 counts and 26 categories, tab-separated, in the order of time. As in the authors' code for DLRM
(Naumov et al. 2019): a missing count is 0, one below 0 too, and log(count + 1) is what a model reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fljob_runtime.data.errors import DataError
from fljob_runtime.data.store import SiteManifest
from fljob_runtime.data.table_files import SourceTable, codes, read_headless
from fljob_runtime.data.tabular import TableImport, check_plan, write_table
from fljob_runtime.data.threads import in_threads

COUNTS = tuple(f"i{n}" for n in range(1, 14))
CATEGORIES = tuple(f"c{n}" for n in range(1, 27))
NUM_DAYS = 7
PARTITIONS = ("day", "equal", "dirichlet", "quantity")


@dataclass(frozen=True)
class CriteoImport:
    """How to read the file. min_count: a category seen less often in its column becomes the one of all rare ones.

    max_index: at most so many ids in a column, higher ones wrap around; 0: as many as there are. negatives: share of
    the rows with label 0 that is kept.
    """

    partition: str = "day"
    num_sites: int = NUM_DAYS
    alpha: float = 0.5
    test_share: float = 0.1
    seed: int = 0
    min_count: int = 1
    max_index: int = 0
    negatives: float = 1.0

    @property
    def plan(self) -> TableImport:
        """Return how the rows are spread."""
        by_day = self.partition == "day"
        return TableImport(
            label="label",
            ids=CATEGORIES,
            features=COUNTS,
            partition="column" if by_day else self.partition,
            column="day" if by_day else "",
            num_sites=self.num_sites,
            alpha=self.alpha,
            test_share=self.test_share,
            seed=self.seed,
        )


def import_criteo(
    source: Path, out: Path, how: CriteoImport, *, on_progress: Callable[[str], None] = lambda _: None
) -> dict[str, SiteManifest]:
    """Write one folder per site under `out`; the same call again changes nothing. Raises DataError."""
    if how.partition not in PARTITIONS:
        raise DataError("--partition", f"no partition {how.partition!r}; there are {', '.join(PARTITIONS)}")
    if not 0.0 < how.negatives <= 1.0:
        raise DataError("--negatives", f"{how.negatives} is not in (0, 1]")
    check_plan(how.plan)
    on_progress("reading")
    parts = _kept(_with_days(_read(source)), how)  # a column each, which goes once it is numbers
    columns: dict[str, NDArray[Any]] = {"label": parts.pop("label").labels("label")}
    sizes = {}
    found = in_threads(lambda name: _categories(parts.pop(name), name, how), CATEGORIES)
    for name, (ids, size) in zip(CATEGORIES, found, strict=True):
        on_progress(name)
        columns[name], sizes[name] = ids, size
        pa.default_memory_pool().release_unused()  # else it keeps what columns had
    columns |= zip(COUNTS, in_threads(lambda name: _logarithms(parts.pop(name), name), COUNTS), strict=True)
    return write_table(parts["day"], columns, sizes, out, how.plan, on_progress=on_progress)


def _read(source: Path) -> SourceTable:
    texts = pa.dictionary(pa.int32(), pa.string())  # a third of the memory of texts
    types = {"label": pa.int8()} | dict.fromkeys(COUNTS, pa.int64()) | dict.fromkeys(CATEGORIES, texts)
    return read_headless(source, ("label", *COUNTS, *CATEGORIES), types)


def _with_days(table: SourceTable) -> SourceTable:
    """Add the day of each row: a seventh of the file each, as it is in the order of time and does not tell."""
    days = np.arange(table.num_rows) * NUM_DAYS // table.num_rows
    return replace(table, table=table.table.append_column("day", pa.array(days.astype(np.int8))))


def _kept(table: SourceTable, how: CriteoImport) -> dict[str, SourceTable]:
    """Return the columns apart, of the rows that are kept."""
    parts = table.apart()
    if how.negatives == 1.0:
        return parts
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([how.seed, 2])))
    kept = (table.labels("label") == 1) | (rng.random(table.num_rows) < how.negatives)
    if not kept.any():
        raise DataError("--negatives", f"{how.negatives} leaves no row")
    mask = pa.array(kept)
    del table  # so that each column goes once it is filtered
    for name, part in parts.items():
        parts[name] = replace(part, table=part.table.filter(mask))
    return parts


def _categories(part: SourceTable, name: str, how: CriteoImport) -> tuple[NDArray[np.int32], int]:
    """Return ids [N] and how many there are; where some are rare, 0 is all of them."""
    ids, size = codes(part.table.column(name)) if how.negatives == 1.0 else part.ids(name)
    if how.min_count > 1:
        frequent = np.bincount(ids, minlength=size) >= how.min_count
        if not frequent.all():
            renumbered = np.where(frequent, np.cumsum(frequent), 0).astype(np.int32)
            ids, size = renumbered[ids], int(frequent.sum()) + 1
    if 0 < how.max_index < size:
        ids, size = ids % how.max_index, how.max_index
    return ids, size


def _logarithms(part: SourceTable, name: str) -> NDArray[np.float32]:
    counts = pc.fill_null(part.table.column(name), 0).to_numpy().astype(np.float64)
    logarithms: NDArray[np.float32] = np.log1p(np.maximum(counts, 0.0)).astype(np.float32)
    return logarithms
