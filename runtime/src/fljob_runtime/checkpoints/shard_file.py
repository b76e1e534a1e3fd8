"""One shard's part of one version as a safetensors file, <root>/<uid>/<version>/shard-<i>-of-<n>.safetensors.

Written by the shard itself (server.saver), read by `chain`. A file is full, or an increment: the dense range whole,
and of each table the rows that changed since an older file, its base, which it names with that file's sha256.

    dense, dense#<slot>                        F32 [k]
    table.<name>, table.<name>#<slot>          F32 [n, D], rows in order of their ids
    ids.<name>                                 I64 [n], where the rows are not all that the shard owns
    versions.<name>                            I64 [n], the version that changed each row last, where it is kept

and of a keyed table what `keyed_rows` says.

A file is only as good as the sha256 that the manifest names for it: a torn or foreign one raises CheckpointError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from fljob_runtime.checkpoints import keyed_rows
from fljob_runtime.checkpoints.files import F32, I64, Array, Tensor, inside, sha256_of, write_safetensors
from fljob_runtime.checkpoints.keyed_rows import Shapes
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import Float32Array, Int64Array, Kind, LayoutError, ModelLayout
from fljob_runtime.server.keyed import KeyedState
from fljob_runtime.server.placement import dense_range, owned_ids

FORMAT = "fljob-shard-2"
_FORMATS = ("fljob-shard-1", FORMAT)  # the first had full files alone
_DENSE = "dense"
_TABLE = "table."
_IDS = "ids."
_VERSIONS = "versions."


@dataclass(frozen=True)
class ShardFileName:
    """A shard's checkpoint file: path relative to the checkpoint root, and sha256."""

    path: str
    digest: str


@dataclass(frozen=True)
class TablePart:
    """Rows of one table: values [n, D] and the server optimizer's state of them, each [n, D], in order of their ids.

    ids: int64 [n]; None where the rows are all that the shard owns. row_versions: int64 [n], the version that changed
    each row last; None where that is not kept.
    """

    values: Float32Array
    slots: tuple[Float32Array, ...] = ()
    ids: Int64Array | None = None
    row_versions: Int64Array | None = None


@dataclass(frozen=True)
class ShardPart:
    """What one shard holds of one version: its dense range [k] and rows of each table.

    num_slots: arrays of the server optimizer's state per parameter; `slots` are those of the dense range, each [k].
    base: the file that this one is an increment to, None in a full one. keyed: what it holds of keyed tables.
    """

    job_uid: str
    version: int
    shard: int
    num_shards: int
    digest: str
    layout: ModelLayout
    dense: Float32Array
    tables: Mapping[str, TablePart]
    num_slots: int = 0
    slots: tuple[Float32Array, ...] = ()
    base: ShardFileName | None = None
    keyed: Mapping[str, KeyedState] = field(default_factory=dict)


def write_shard(root: Path, part: ShardPart) -> ShardFileName:
    """Write the part's file durably; raises CheckpointError (full, read-only)."""
    tensors = _tensors(dense_names(len(part.slots)), (part.dense, *part.slots))
    for name, rows in part.tables.items():
        tensors += _tensors(with_slots(table_name(name), len(rows.slots)), (rows.values, *rows.slots))
        if rows.ids is not None:
            tensors += _tensors([ids_name(name)], [rows.ids], I64)
        if rows.row_versions is not None:
            tensors += _tensors([versions_name(name)], [rows.row_versions], I64)
    return write_tensors(root, part, tensors)


def _tensors(names: Sequence[str], arrays: Sequence[Array], dtype: str = F32) -> list[Tensor]:
    pairs = zip(names, arrays, strict=True)
    return [Tensor(name, array.shape, partial(np.asarray, array), dtype) for name, array in pairs]


def write_tensors(root: Path, header: ShardPart, tensors: Sequence[Tensor]) -> ShardFileName:
    """Write a file of these tensors under the header of a part, durably; raises CheckpointError."""
    relative = f"{header.job_uid}/{header.version}/shard-{header.shard}-of-{header.num_shards}.safetensors"
    metadata = {
        "format": FORMAT,
        "job_uid": header.job_uid,
        "version": str(header.version),
        "shard": str(header.shard),
        "num_shards": str(header.num_shards),
        "digest": header.digest,
        "layout": header.layout.to_json().decode(),
        "slots": str(header.num_slots),
    }
    if header.base is not None:
        metadata |= {"base": header.base.path, "base_digest": header.base.digest}
    return ShardFileName(relative, write_safetensors(inside(root, relative), tensors, metadata))


def read_shard_header(root: Path, file: ShardFileName) -> ShardPart:
    """Check a file's sha256, format and shapes and return it without its tensors. Raises CheckpointError."""
    path = inside(root, file.path)
    found = sha256_of(path)
    if found != file.digest:
        raise CheckpointError(f"{path}: sha256 is {found}, the manifest says {file.digest}: torn or replaced")
    with _opened(path) as tensors:
        part = _header(path, tensors.metadata() or {})
        slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
        shapes = {name: (cut.get_dtype(), tuple(cut.get_shape())) for name, cut in slices.items()}
    if not (0 <= part.shard < part.num_shards and 0 <= part.num_slots < len(shapes)):
        raise CheckpointError(f"{path}: cannot be shard {part.shard} of {part.num_shards}, slots {part.num_slots}")
    wanted = _shapes(part, shapes)
    if shapes != wanted:
        raise CheckpointError(f"{path}: holds {shapes}, its layout needs {wanted}")
    return part


def read_base(path: Path) -> ShardFileName | None:
    """Return the file that a file builds upon, if it does; it is not checked yet. Raises CheckpointError."""
    with _opened(path) as tensors:
        return _base(tensors.metadata() or {})


def _base(metadata: Mapping[str, str]) -> ShardFileName | None:
    return ShardFileName(metadata["base"], metadata["base_digest"]) if "base" in metadata else None


def _header(path: Path, metadata: Mapping[str, str]) -> ShardPart:
    if metadata.get("format") not in _FORMATS:
        raise CheckpointError(f"{path}: format {metadata.get('format')!r}, {FORMAT!r} is needed")
    return ShardPart(
        job_uid=metadata["job_uid"],
        version=int(metadata["version"]),
        shard=int(metadata["shard"]),
        num_shards=int(metadata["num_shards"]),
        digest=metadata["digest"],
        layout=ModelLayout.from_json(metadata["layout"].encode()),
        dense=np.empty(0, np.float32),
        tables={},
        num_slots=int(metadata.get("slots", "0")),
        base=_base(metadata),
    )


def _shapes(part: ShardPart, found: Shapes) -> Shapes:
    """Return the types and shapes that the part must have; how many rows are there by id, the ids say."""
    start, stop = dense_range(part.layout.dense_size, part.shard, part.num_shards)
    shapes: Shapes = dict.fromkeys(dense_names(part.num_slots), (F32, (stop - start,)))
    for spec in part.layout.shared_tables:
        if spec.kind is Kind.KEYED:
            shapes |= keyed_rows.shapes(spec, part.num_slots, found, increment=part.base is not None)
            continue
        if part.base is None:
            num_rows = owned_ids(spec.name, spec.shape[0], part.shard, part.num_shards).size
        else:
            num_rows = min(found.get(ids_name(spec.name), (I64, ()))[1], default=0)
            shapes[ids_name(spec.name)] = (I64, (num_rows,))
        if versions_name(spec.name) in found:
            shapes[versions_name(spec.name)] = (I64, (num_rows,))
        shapes |= dict.fromkeys(with_slots(table_name(spec.name), part.num_slots), (F32, (num_rows, spec.dim)))
    return shapes


def read_floats(path: Path, name: str) -> Float32Array:
    """Return one float32 array of a checked file, by its name there."""
    values: Float32Array = read_tensor(path, name)
    return values


def read_integers(path: Path, name: str) -> Int64Array:
    """Return one int64 array of a checked file, by its name there."""
    values: Int64Array = read_tensor(path, name)
    return values


def read_tensor(path: Path, name: str) -> NDArray[Any]:
    """Return one array of a checked file, by its name there."""
    with _opened(path) as tensors:
        values: NDArray[Any] = tensors.get_tensor(name)
        return values


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file; whatever is wrong with its content becomes a CheckpointError."""
    try:
        with safe_open(path, framework="numpy") as tensors:
            yield tensors
    except (SafetensorError, LayoutError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(f"{path}: not a shard's checkpoint: {error}") from error


def dense_names(num_slots: int) -> list[str]:
    """Return the names in the file of the dense range and of the optimizer's state of it."""
    return with_slots(_DENSE, num_slots)


def with_slots(name: str, num_slots: int) -> list[str]:
    """Return the names of an array and of the optimizer's state of it."""
    return [name, *(f"{name}#{slot}" for slot in range(num_slots))]


def table_name(table: str) -> str:
    """Return the name in the file of a table's values."""
    return _TABLE + table


def ids_name(table: str) -> str:
    """Return the name in the file of the ids of a table's rows."""
    return _IDS + table


def versions_name(table: str) -> str:
    """Return the name in the file of the versions that changed a table's rows last."""
    return _VERSIONS + table
