"""What the folders of sites hold, checked, for `fljob data describe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.data.errors import DataError
from fljob_runtime.data.overlap import Overlap, overlap
from fljob_runtime.data.store import MANIFEST, SiteManifest, SiteTables, read_manifest, read_tables
from fljob_runtime.schema import PADDING


@dataclass(frozen=True)
class SiteDescription:
    """One site: its manifest, and the share of positive labels, None where they are no clicks.

    label_counts: examples of an epoch with each label, none where there are no labels; distinct: column -> its ids in
    training rows, in order and without repeats. num_words: ids that the examples of an epoch have, all together.
    """

    manifest: SiteManifest
    positive_rate: float | None
    label_counts: tuple[int, ...] = ()
    distinct: Mapping[str, NDArray[np.int64]] = field(default_factory=dict, repr=False, compare=False)
    num_words: int = 0


def describe_folder(folder: Path) -> tuple[SiteDescription, ...]:
    """Check and describe a site's folder, or every site's folder directly under it, by name.

    Raises DataError for the first fault, and when there is no site at all.
    """
    if not folder.is_dir():
        raise DataError(folder, "no such folder")
    folders = [folder] if (folder / MANIFEST).exists() else sorted(p.parent for p in folder.glob(f"[!.]*/{MANIFEST}"))
    if not folders:
        raise DataError(folder, f"neither a site's folder nor a folder of such (no {MANIFEST})")
    sites = tuple(_describe(site) for site in folders)
    wanted = _names(sites[0].manifest)
    for path, site in zip(folders, sites, strict=True):
        if (names := _names(site.manifest)) != wanted:
            raise DataError(path, f"has {names}, but {folders[0]} has {wanted}: describe them apart")
    return sites


def overlaps(sites: Sequence[SiteDescription]) -> tuple[Overlap, ...]:
    """Return how the sites' ids overlap, for each column that all of them have."""
    columns = [name for name in sites[0].distinct if all(name in site.distinct for site in sites)]
    return tuple(overlap(name, [site.distinct[name] for site in sites]) for name in columns)


def label_distance(sites: Sequence[SiteDescription]) -> tuple[float, ...]:
    """Return how far each site's labels are from those of all: total variation, 0 for alike to 1 for nothing alike."""
    counts = np.zeros((len(sites), max(len(site.label_counts) for site in sites)))  # [sites, labels]
    for row, site in zip(counts, sites, strict=True):
        row[: len(site.label_counts)] = site.label_counts
    if not counts.size:
        return ()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    of_all = counts.sum(0) / max(counts.sum(), 1)
    return tuple((0.5 * np.abs(shares - of_all).sum(1)).tolist())


def _names(manifest: SiteManifest) -> str:
    """Return the columns that sites of one job have in common, in words."""
    kinds = {"ids": manifest.ids, "numbers": manifest.features, "sequences": manifest.sequences}
    return ", ".join(f"{kind} {sorted(names)}" for kind, names in kinds.items() if names) or "no columns"


def _describe(folder: Path) -> SiteDescription:
    manifest = read_manifest(folder)
    tables = read_tables(folder, manifest)
    counts = _label_counts(manifest, tables)
    rate = None
    if manifest.negatives_per_positive:
        rate = 1.0 / (1 + manifest.negatives_per_positive)
    elif manifest.num_classes == 2:
        rate = float(tables.train["label"].mean())
    words = manifest.num_samples * len(manifest.ids)
    words += sum(int((tables.train[name] != PADDING).sum()) for name in manifest.sequences)
    return SiteDescription(manifest, rate, counts, _distinct(manifest, tables), words)


def _label_counts(manifest: SiteManifest, tables: SiteTables) -> tuple[int, ...]:
    if manifest.negatives_per_positive:
        return (manifest.num_train * manifest.negatives_per_positive, manifest.num_train)
    if not manifest.num_classes:
        return ()
    counts = np.bincount(tables.train["label"].astype(np.int64), minlength=manifest.num_classes)
    return tuple(counts.tolist())


def _distinct(manifest: SiteManifest, tables: SiteTables) -> dict[str, NDArray[np.int64]]:
    """Return each column's ids in training rows: those held out may be drawn negatives, which say nothing of a site."""
    found = {}
    for name in (*manifest.ids, *manifest.sequences):
        ids = np.unique(tables.train[name])
        found[name] = ids[ids != PADDING] if name in manifest.sequences else ids
    return found
