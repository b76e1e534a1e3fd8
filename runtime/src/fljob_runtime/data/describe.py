"""What the folders of sites hold, checked, for `fljob data describe`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fljob_runtime.data.errors import DataError
from fljob_runtime.data.store import MANIFEST, SiteManifest, read_manifest, read_tables


@dataclass(frozen=True)
class SiteDescription:
    """One site: its manifest, and the share of positive labels, None where they are no clicks."""

    manifest: SiteManifest
    positive_rate: float | None


def describe_folder(folder: Path) -> tuple[SiteDescription, ...]:
    """Check and describe a site's folder, or every site's folder directly under it, by name.

    Raises DataError for the first fault, and when there is no site at all.
    """
    if not folder.is_dir():
        raise DataError(folder, "no such folder")
    folders = [folder] if (folder / MANIFEST).exists() else sorted(p.parent for p in folder.glob(f"[!.]*/{MANIFEST}"))
    if not folders:
        raise DataError(folder, f"neither a site's folder nor a folder of such (no {MANIFEST})")
    return tuple(_describe(site) for site in folders)


def _describe(folder: Path) -> SiteDescription:
    manifest = read_manifest(folder)
    tables = read_tables(folder, manifest)
    rate = None
    if manifest.negatives_per_positive:
        rate = 1.0 / (1 + manifest.negatives_per_positive)
    elif manifest.num_classes == 2:
        rate = float(tables.train["label"].mean())
    return SiteDescription(manifest, rate)
