"""The `movielens` dataset: import into sites, and one site's examples with negatives drawn anew each epoch.

Pinterest, of which too it is known only what users chose, is imported as the same dataset.

Split and protocol: leave one out, one positive against 99 negatives per user (He et al. 2017); sites by the first
character of the user's zip code, as PaddleRec's federated NCF has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from fljob_runtime.data.datasets import OpenRequest
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.examples import Examples, HeldOut, Ids, Positives, SiteData, pairs, shuffled
from fljob_runtime.data.movielens_files import LeaveOneOut, read_source
from fljob_runtime.data.numbering import num_distinct
from fljob_runtime.data.store import Site, SiteManifest, SiteTables, make_sites, read_manifest, read_tables
from fljob_runtime.registry import ParametersModel, RegistryKind, register

PARTITIONS = ("zip", "equal", "none")


class MovieLensParameters(ParametersModel):
    """Parameters of `movielens`. negatives: drawn anew per positive and epoch."""

    negatives: int = Field(4, ge=1, le=100)


@register(RegistryKind.DATASET, "movielens", MovieLensParameters)
class MovieLens(SiteData):
    """One site's positives, and its users' held-out items."""

    needs_folder: ClassVar[bool] = True

    def __init__(self, parameters: MovieLensParameters, request: OpenRequest) -> None:
        folder = request.folder_for("movielens")
        manifest = read_manifest(folder)
        if manifest.negatives_per_positive == 0:
            raise DataError(folder, f"holds dataset {manifest.dataset!r} with labels, not movielens positives")
        if set(manifest.columns) != {"user", "item"} or manifest.num_classes != 2:
            raise DataError(folder, f"holds dataset {manifest.dataset!r}, not movielens: positives of users and items")
        tables = read_tables(folder, manifest)
        self.schema = manifest.schema
        if "item" in self.schema.any_ids:
            raise DataError(folder, "items have any ids; negatives are drawn from items 0 to n - 1 only")
        self._users, self._items = tables.train["user"], tables.train["item"]
        self._negatives = parameters.negatives
        try:
            self._positives = Positives(self._users, self._items, self.schema.num_ids("item"))
        except ValueError as error:
            raise DataError(folder, str(error)) from error
        self._held_out = _held_out(tables)

    @property
    def num_samples(self) -> int:
        """Positives and the negatives drawn for them."""
        return len(self._users) * (1 + self._negatives)

    def epoch(self, rng: np.random.Generator) -> Examples:
        """Return all positives and fresh negatives, shuffled."""
        users, items, k = self._users, self._items, self._negatives
        drawn = self._positives.draw_negatives(k, rng)
        labels = np.zeros(self.num_samples, np.float32)
        labels[: len(users)] = 1.0
        both = pairs(np.concatenate([users, users.repeat(k)]), np.concatenate([items, drawn]), labels)
        return shuffled(both, rng)

    def held_out(self) -> HeldOut:
        """Return one positive and its negatives per user."""
        return self._held_out


def _held_out(tables: SiteTables) -> HeldOut:
    test = tables.test
    groups = np.flatnonzero(np.diff(test["group"], prepend=-1, append=-1))
    return HeldOut(pairs(test["user"], test["item"], test["label"]), groups)


@dataclass(frozen=True)
class ImportReport:
    """What an import wrote: the manifest of each site, by name."""

    sites: dict[str, SiteManifest]

    @property
    def num_samples(self) -> int:
        """Samples of one epoch over all sites."""
        return sum(site.num_samples for site in self.sites.values())


def import_movielens(
    source: Path,
    out: Path,
    *,
    partition: str = "zip",
    num_sites: int = 10,
    seed: int = 0,
    on_progress: Callable[[str], None] = lambda _: None,
) -> ImportReport:
    """Read MovieLens or Pinterest from `source` and write one folder per site under `out`.

    partition: zip (site-<first character of the zip code>), equal (users dealt over num_sites), none (one site).
    Doing it again with the same input changes nothing. Raises DataError with file, line and column.
    """
    if partition not in PARTITIONS:
        raise DataError("--partition", f"no partition {partition!r}; there are {', '.join(PARTITIONS)}")
    on_progress("reading")
    data = read_source(source, seed)
    if partition == "zip" and not data.zip_codes:
        raise DataError("--partition zip", f"{source} has no zip codes of users; take equal or none")
    names = _partition(data, partition, num_sites)
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    of_users = np.array([numbers[name] for name in names], np.min_scalar_type(len(numbers)))
    of_rows = of_users[data.users]
    on_progress(f"writing {len(numbers)} sites")

    def made(name: str) -> Site:
        members, mine = (np.flatnonzero(sites == numbers[name]) for sites in (of_users, of_rows))
        return _site(data, name, members, mine)

    make_sites(out, numbers, made)
    return ImportReport({name: read_manifest(out / name) for name in numbers})


def _partition(data: LeaveOneOut, partition: str, num_sites: int) -> list[str]:
    if partition == "zip":
        return [f"site-{code[0].lower()}" for code in data.zip_codes]
    if partition == "equal":
        return [f"site-{user % num_sites}" for user in range(data.num_users)]
    return ["site-0"] * data.num_users


def _site(data: LeaveOneOut, name: str, members: Ids, mine: Ids) -> Site:
    """Return what a site gets. members: its users; mine: its rows of the training positives; both ascending."""
    trained = {"user": data.users[mine], "item": data.items[mine]}
    negatives = data.negatives[members]  # [U, 99]
    items = np.concatenate([data.test_items[members][:, None], negatives], 1)  # [U, 100]
    users = np.broadcast_to(members[:, None], items.shape)
    labels = np.zeros(items.shape, np.float32)
    labels[:, 0] = 1.0
    groups = np.broadcast_to(np.arange(len(members))[:, None], items.shape)
    columns = {"user": users, "item": items, "label": labels, "group": groups}
    kept = items >= 0
    dropped = kept.size - int(np.count_nonzero(kept))
    test = {name: values[kept] if dropped else values.reshape(-1) for name, values in columns.items()}
    origin = "published" if data.published_negatives else "drawn from the seed"
    repeated = f"; of all sites {data.num_repeated} repeated interactions" if data.num_repeated else ""
    manifest = SiteManifest(
        dataset="movielens",
        site=name,
        ids={"user": data.num_users, "item": data.num_items},
        num_site_ids={"user": len(members), "item": num_distinct(trained["item"], data.num_items)},
        num_train=len(mine),
        num_samples=len(mine) * 5,
        num_test=len(test["user"]),
        negatives_per_positive=4,
        best_auc=None,
        notes=f"test negatives {origin}; {dropped} that equal the user's own test item were dropped{repeated}",
        digests={},
    )
    return manifest, SiteTables(trained, test)
