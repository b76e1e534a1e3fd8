"""What a site's dumps are made of, and reading them. Written by `training.dumps`, shown by `fljob data dump`.

A dump is a site's folder `dumps/<job's uid>/<number>`, `dumps/<number>` where one model trains alone: dump.json and,
as asked, examples.parquet and parameters.safetensors.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open

from fljob_runtime.data.errors import DataError

FOLDER, DESCRIPTION, EXAMPLES, PARAMETERS = "dumps", "dump.json", "examples.parquet", "parameters.safetensors"


@dataclass(frozen=True)
class Dump:
    """number: of the round or epoch; fields, num_examples: of its Parquet, if there are fields; parameters: by name.

    job: its uid; empty where one model trains alone.
    """

    site: str
    number: int
    fields: tuple[str, ...]
    num_examples: int
    parameters: tuple[str, ...]
    job: str = ""


_DUMP = TypeAdapter(Dump)


def write_description(folder: Path, dump: Dump) -> None:
    """Write dump.json."""
    (folder / DESCRIPTION).write_text(json.dumps(asdict(dump)) + "\n", encoding="utf-8")


def find_dumps(folder: Path) -> list[tuple[Path, Dump]]:
    """Return all dumps below a folder, such as a run's or a site's, by site, job and number; raises DataError."""
    if not folder.is_dir():
        raise DataError(folder, "no such folder")
    paths = [path for path in folder.rglob(f"[0-9]*/{DESCRIPTION}") if not _is_hidden(path.relative_to(folder))]
    found = [(path.parent, _described(path)) for path in paths]
    if not found:
        raise DataError(folder, f"no dumps ({DESCRIPTION}) here or below; spec.dump makes a job write them")
    return sorted(found, key=lambda one: (one[1].site, one[1].job, one[1].number))


def _is_hidden(path: Path) -> bool:
    """Return whether a path is of a dump that was not written to its end."""
    return any(part.startswith(".") for part in path.parts)


def _described(path: Path) -> Dump:
    try:
        return _DUMP.validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        raise DataError(path, f"describes no dump: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from error


def _present(path: Path) -> Path:
    """Return the path of a file that the description tells of; raises DataError where it is not there."""
    if not path.exists():
        raise DataError(path, f"is missing; {DESCRIPTION} beside it tells of it")
    return path


def first_examples(folder: Path, dump: Dump, count: int) -> list[dict[str, Any]]:
    """Return the first examples of a dump, a dict each; none where it has no fields. Raises DataError."""
    if not dump.fields:
        return []
    path = _present(folder / EXAMPLES)
    try:
        with pq.ParquetFile(path) as file:
            batch = next(file.iter_batches(count), None) if count else None
    except (OSError, pa.ArrowException) as error:
        raise DataError(path, f"cannot be read: {error}") from error
    rows: list[dict[str, Any]] = batch.to_pylist() if batch is not None else []
    return rows


def tensor_shapes(folder: Path, dump: Dump) -> dict[str, list[int]]:
    """Return name -> shape of a dump's tensors, `NAME.ids` being those of a table's rows. Raises DataError."""
    if not dump.parameters:
        return {}
    path = _present(folder / PARAMETERS)
    try:
        with safe_open(path, framework="np") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no dict
    except (OSError, SafetensorError) as error:
        raise DataError(path, f"no safetensors file: {error}") from error
