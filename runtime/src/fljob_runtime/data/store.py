"""A site's folder: train.parquet, test.parquet and manifest.json with counts and digests.

Written by imports and the generator, atomically; read by datasets and `fljob data describe`, with every check that a
later crash or a silently wrong result would otherwise stand for.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from fljob_runtime.data.errors import DataError
from fljob_runtime.data.threads import MOST, in_threads
from fljob_runtime.schema import PADDING, IdSequence, Schema

MANIFEST = "manifest.json"
TRAIN = "train.parquet"
TEST = "test.parquet"
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class SiteManifest:
    """What a site's folder holds.

    ids: column of ids -> how many there are at all sites together; num_site_ids: how many different ones this site has.
    features: columns of numbers; shapes: of those that have more than one for each example. any_ids: columns whose ids
    are any 64-bit numbers, so many of them. sequences: column -> how many ids there are, and the longest sequence.
    checksums: of each column's values (64-bit XXH3), training rows before held-out ones; equal columns have equal ones.
    negatives_per_positive 0: train.parquet has labels of its own, 0 to num_classes - 1; none where num_classes is 0.
    """

    dataset: str
    site: str
    ids: Mapping[str, int]
    num_site_ids: Mapping[str, int]
    num_train: int
    num_samples: int
    num_test: int
    negatives_per_positive: int
    best_auc: float | None
    notes: str
    digests: Mapping[str, str]
    features: tuple[str, ...] = ()
    any_ids: tuple[str, ...] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sequences: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    num_classes: int = 2
    checksums: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def schema(self) -> Schema:
        """Return the columns that a model can read."""
        features = {name: tuple(self.shapes.get(name, ())) for name in self.features}
        sequences = {name: IdSequence(*sizes) for name, sizes in self.sequences.items()}
        return Schema(dict(self.ids), features, frozenset(self.any_ids), sequences, self.num_classes)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of all columns that a model can read."""
        return (*self.ids, *self.features, *self.sequences)


_MANIFEST = TypeAdapter(SiteManifest)


@dataclass(frozen=True)
class SiteTables:
    """Columns of a site: those of the manifest; train a label too unless negatives are drawn, test a label and a group.

    A group is that of the examples that are ranked against each other, -1 where nothing is ranked. Where
    num_classes is 0 there is neither. Sequences are [N, longest], padded.
    """

    train: Mapping[str, NDArray[Any]]
    test: Mapping[str, NDArray[Any]]


Site: TypeAlias = tuple[SiteManifest, SiteTables]


def write_sites(out: Path, sites: Mapping[str, Site]) -> None:
    """Write one folder per site under `out`, as `make_sites` does."""
    make_sites(out, sites, sites.__getitem__)


def make_sites(out: Path, names: Iterable[str], make: Callable[[str], Site], *, most: int = MOST) -> None:
    """Make sites and write one folder for each under `out`: all or none; a folder with equal content is left alone.

    A site is made and written by one thread, so that no more are in memory than there are threads, `most` at most.
    Raises DataError when a folder is there with other content: nothing is overwritten.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".sites-", dir=out) as scratch:

        def put(name: str) -> str | None:
            return name if _is_new(out / name, _write_site(Path(scratch) / name, *make(name))) else None

        _move(Path(scratch), out, [name for name in in_threads(put, names, most=most) if name])


def _is_new(target: Path, fresh: SiteManifest) -> bool:
    """Return whether there is no such site yet; raises DataError where it is another one."""
    if not target.exists():
        return True
    if not _same(target, fresh):
        raise DataError(target, "exists with other content; remove it or choose another --out")
    return False


def _move(source: Path, target: Path, names: list[str]) -> None:
    """Move folders, all or none."""
    with ExitStack() as undo:
        for name in names:
            (source / name).replace(target / name)
            undo.callback((target / name).replace, source / name)
        undo.pop_all()


def _write_site(folder: Path, manifest: SiteManifest, tables: SiteTables) -> SiteManifest:
    folder.mkdir()
    for name, columns in ((TRAIN, tables.train), (TEST, tables.test)):
        arrays = {key: arrow(values) for key, values in columns.items()}
        pq.write_table(pa.table(arrays), folder / name, compression="zstd")
    digests = {name: _digest(folder / name) for name in (TRAIN, TEST)}
    fresh = replace(manifest, digests=digests, checksums=_checksums(tables))
    (folder / MANIFEST).write_text(json.dumps(asdict(fresh), indent=1) + "\n", encoding="utf-8")
    return fresh


def arrow(values: NDArray[Any]) -> pa.Array:
    """Return a column: lists of ids without their padding, numbers of a fixed shape [N, ...], or single values."""
    if values.ndim == 1:
        return pa.array(values)
    if values.dtype != np.int64:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), int(np.prod(values.shape[1:])))
    there = values != PADDING
    offsets = np.concatenate([[0], np.cumsum(there.sum(1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values[there]))


def _same(folder: Path, fresh: SiteManifest) -> bool:
    try:
        return read_manifest(folder) == fresh and all(_digest(folder / n) == d for n, d in fresh.digests.items())
    except (DataError, OSError):
        return False


def _checksums(tables: SiteTables) -> dict[str, str]:
    sums = {name: xxhash.xxh3_64() for columns in (tables.train, tables.test) for name in columns}
    for columns in (tables.train, tables.test):
        for name, values in columns.items():
            sums[name].update(np.ascontiguousarray(values).data)
    return {name: total.hexdigest() for name, total in sums.items()}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> SiteManifest:
    """Read manifest.json; raises DataError when it is absent, malformed or of another schema version."""
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
        _check_version(path, text)
        manifest = _MANIFEST.validate_json(text, strict=True)
    except FileNotFoundError as error:
        hint = "make it with `fljob data import` or `fljob data generate`"
        raise DataError(folder, f"no {MANIFEST}: not a site's folder; {hint}") from error
    except OSError as error:
        raise DataError(path, f"cannot be read: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}".lstrip(": ") for e in error.errors()[:3])
        raise DataError(path, f"not a site's manifest: {faults}") from error
    return manifest


def _check_version(path: Path, text: bytes) -> None:
    """Refuse another version before its fields are held against this one's."""
    try:
        version = json.loads(text)["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return  # not a manifest at all: the caller says so
    if version != SCHEMA_VERSION:
        raise DataError(path, f"schema version {version}; this program reads {SCHEMA_VERSION}: import again")


def read_tables(folder: Path, manifest: SiteManifest, *, verify: bool = True) -> SiteTables:
    """Read and check both files; raises DataError with file and column on any fault."""
    columns, labels = manifest.columns, ("label",) if manifest.num_classes else ()
    labelled = columns if manifest.negatives_per_positive else (*columns, *labels)
    train = _read(folder / TRAIN, labelled, manifest, verify=verify)
    test = _read(folder / TEST, (*columns, *labels, *(("group",) if labels else ())), manifest, verify=verify)
    for name, table, wanted in ((TRAIN, train, manifest.num_train), (TEST, test, manifest.num_test)):
        found = len(next(iter(table.values())))
        if found != wanted:
            raise DataError(folder / name, f"{found} rows; the manifest says {wanted}")
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
    values = {name: _column(path, name, table.column(name), manifest) for name in columns}
    limits = {name: limit for name, limit in manifest.ids.items() if name not in manifest.any_ids}
    for name, limit in limits.items():
        _check_ids(path, name, values[name], limit)
    return values


def _check_ids(path: Path, name: str, ids: NDArray[Any], limit: int) -> None:
    bad = np.flatnonzero((ids < 0) | (ids >= limit))
    if len(bad):
        raise DataError(path, f"id {ids[bad[0]]} is not in 0..{limit - 1}", line=int(bad[0]) + 1, column=name)


def _column(path: Path, name: str, column: pa.ChunkedArray, manifest: SiteManifest) -> NDArray[Any]:
    """Return a column's values, checked: [N], [N, longest] of sequences, [N, ...] of numbers with a shape."""
    if column.null_count:
        raise DataError(path, f"{column.null_count} values are missing", column=name)
    if name in manifest.sequences:
        return _sequences(path, name, column.combine_chunks(), manifest)
    shape = manifest.shapes.get(name, ())
    if shape:
        column = _flattened(path, name, column, int(np.prod(shape)))
    is_float = name == "label" or name in manifest.features
    kind = np.float32 if is_float else np.int64
    if not (pa.types.is_integer(column.type) or (is_float and pa.types.is_floating(column.type))):
        raise DataError(path, f"type {column.type}; expected {np.dtype(kind).name}", column=name)
    values: NDArray[Any] = np.asarray(column).astype(kind)
    if is_float:
        _check_numbers(path, name, values, manifest.num_classes if name == "label" else 0)
    return values.reshape(-1, *shape) if shape else values


def _check_numbers(path: Path, name: str, values: NDArray[Any], classes: int) -> None:
    fine = np.isfinite(values)
    if classes:
        fine &= (values >= 0) & (values < classes) & (values == np.floor(values))
    bad = np.flatnonzero(~fine)
    if len(bad):
        wanted = "is neither 0 nor 1" if classes == 2 else f"is not one of 0..{classes - 1}"
        problem = wanted if classes else "is not finite"
        raise DataError(path, f"{name} {values[bad[0]]} {problem}", line=int(bad[0]) + 1, column=name)


def _sequences(path: Path, name: str, column: pa.Array, manifest: SiteManifest) -> NDArray[np.int64]:
    """Return lists of ids as rows of equal length, padded behind."""
    num_ids, longest = manifest.sequences[name]
    if not (pa.types.is_list(column.type) and pa.types.is_integer(column.type.value_type)):
        raise DataError(path, f"type {column.type}; expected lists of int64", column=name)
    lengths = np.diff(column.offsets.to_numpy())
    if len(lengths) and lengths.max() > longest:
        problem = f"a sequence of {lengths.max()} ids; the manifest says {longest} at most"
        raise DataError(path, problem, line=int(lengths.argmax()) + 1, column=name)
    ids = column.flatten().to_numpy().astype(np.int64)
    if name not in manifest.any_ids:
        _check_ids(path, name, ids, num_ids)
    padded = np.full((len(lengths), longest), PADDING, np.int64)
    padded[np.arange(longest) < lengths[:, None]] = ids
    return padded


def _flattened(path: Path, name: str, column: pa.ChunkedArray, size: int) -> pa.Array:
    if column.type != pa.list_(pa.float32(), size):
        raise DataError(path, f"type {column.type}; expected {size} float32 in each", column=name)
    return column.combine_chunks().flatten()
