"""A site's folder: train.parquet, test.parquet and manifest.json with counts and digests.

Written by imports and the generator, atomically; read by datasets and `fljob data describe`, with every check that a
later crash or a silently wrong result would otherwise stand for.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from fljob_runtime.data.errors import DataError

MANIFEST = "manifest.json"
TRAIN = "train.parquet"
TEST = "test.parquet"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class SiteManifest:
    """What a site's folder holds. negatives_per_positive 0: train.parquet has labels of its own."""

    dataset: str
    site: str
    num_users: int
    num_items: int
    num_site_users: int
    num_train: int
    num_samples: int
    num_test_pairs: int
    negatives_per_positive: int
    best_auc: float | None
    notes: str
    digests: Mapping[str, str]
    schema_version: int = SCHEMA_VERSION


_MANIFEST = TypeAdapter(SiteManifest)


@dataclass(frozen=True)
class SiteTables:
    """Columns of a site. train: user, item (and label); test: user, item, label, group (user's rank group or -1)."""

    train: Mapping[str, NDArray[Any]]
    test: Mapping[str, NDArray[Any]]


def write_sites(out: Path, sites: Mapping[str, tuple[SiteManifest, SiteTables]]) -> None:
    """Write one folder per site under `out`, each whole or not at all; a folder with equal content is left alone.

    Raises DataError when a folder is there with other content: nothing is overwritten.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, (manifest, tables) in sites.items():
        target = out / name
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=out) as scratch:
            fresh = _write_site(Path(scratch) / name, manifest, tables)
            if target.exists():
                if _same(target, fresh):
                    continue
                raise DataError(target, "exists with other content; remove it or choose another --out")
            (Path(scratch) / name).replace(target)


def _write_site(folder: Path, manifest: SiteManifest, tables: SiteTables) -> SiteManifest:
    folder.mkdir()
    for name, columns in ((TRAIN, tables.train), (TEST, tables.test)):
        pq.write_table(pa.table(dict(columns)), folder / name, compression="zstd")
    digests = {name: _digest(folder / name) for name in (TRAIN, TEST)}
    fresh = SiteManifest(**{**asdict(manifest), "digests": digests})
    (folder / MANIFEST).write_text(json.dumps(asdict(fresh), indent=1) + "\n", encoding="utf-8")
    return fresh


def _same(folder: Path, fresh: SiteManifest) -> bool:
    try:
        return read_manifest(folder) == fresh and all(_digest(folder / n) == d for n, d in fresh.digests.items())
    except (DataError, OSError):
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> SiteManifest:
    """Read manifest.json; raises DataError when it is absent, malformed or of another schema version."""
    path = folder / MANIFEST
    try:
        manifest = _MANIFEST.validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError as error:
        hint = "make it with `fljob data import` or `fljob data generate`"
        raise DataError(folder, f"no {MANIFEST}: not a site's folder; {hint}") from error
    except OSError as error:
        raise DataError(path, f"cannot be read: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}".lstrip(": ") for e in error.errors()[:3])
        raise DataError(path, f"not a site's manifest: {faults}") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise DataError(
            path, f"schema version {manifest.schema_version}; this program reads {SCHEMA_VERSION}: import again"
        )
    return manifest


def read_tables(folder: Path, manifest: SiteManifest, *, verify: bool = True) -> SiteTables:
    """Read and check both files; raises DataError with file and column on any fault."""
    train_columns = ("user", "item") if manifest.negatives_per_positive else ("user", "item", "label")
    train = _read(folder / TRAIN, train_columns, manifest, verify=verify)
    test = _read(folder / TEST, ("user", "item", "label", "group"), manifest, verify=verify)
    for name, columns, wanted in ((TRAIN, train, manifest.num_train), (TEST, test, manifest.num_test_pairs)):
        if len(columns["user"]) != wanted:
            raise DataError(folder / name, f"{len(columns['user'])} rows; the manifest says {wanted}")
    return SiteTables(train, test)


def _read(path: Path, columns: tuple[str, ...], manifest: SiteManifest, *, verify: bool) -> dict[str, NDArray[Any]]:
    try:
        if verify and _digest(path) != manifest.digests.get(path.name):
            raise DataError(
                path, "digest differs from the manifest's: the file is truncated or was changed; import again"
            )
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(path, f"cannot be read: {error}") from error
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise DataError(path, f"no such column; there are {table.column_names}", column=missing[0])
    values = {name: _column(path, name, table.column(name)) for name in columns}
    for name, limit in (("user", manifest.num_users), ("item", manifest.num_items)):
        bad = np.flatnonzero((values[name] < 0) | (values[name] >= limit))
        if len(bad):
            problem = f"id {values[name][bad[0]]} is not in 0..{limit - 1}"
            raise DataError(path, problem, line=int(bad[0]) + 1, column=name)
    return values


def _column(path: Path, name: str, column: pa.ChunkedArray) -> NDArray[Any]:
    kind = np.float32 if name == "label" else np.int64
    if column.null_count:
        raise DataError(path, f"{column.null_count} values are missing", column=name)
    if not (pa.types.is_integer(column.type) or (name == "label" and pa.types.is_floating(column.type))):
        raise DataError(path, f"type {column.type}; expected {np.dtype(kind).name}", column=name)
    values: NDArray[Any] = column.to_numpy().astype(kind)
    if name == "label":
        bad = np.flatnonzero(~((values == 0) | (values == 1)))
        if len(bad):
            raise DataError(path, f"label {values[bad[0]]} is neither 0 nor 1", line=int(bad[0]) + 1, column=name)
    return values
