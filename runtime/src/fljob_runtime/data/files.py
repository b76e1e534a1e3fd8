"""The `files` dataset: tables as they are, CSV, TSV or Parquet, with ids that are numbered already; no import.

For files that somebody prepared for all sites together; every other table goes through `fljob data import table`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, TypeVar

from pydantic import Field

from fljob_runtime.data.datasets import OpenRequest
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.pipes import Pipe
from fljob_runtime.data.rows import RowColumns, RowPlan, Rows
from fljob_runtime.data.table_files import SourceTable, read_file
from fljob_runtime.registry import ParametersModel, RegistryKind, register

T = TypeVar("T")


class Reader(StrEnum):
    """Memory: files are read once. Queue: anew for every epoch, by a thread that reads ahead."""

    MEMORY = "Memory"
    QUEUE = "Queue"


class FilesParameters(ParametersModel):
    """Parameters of `files`."""

    label: str = Field(min_length=1, description="Column of labels, 0 or 1.")
    ids: str = Field(
        min_length=1, description="Columns of ids and how many there are at all sites: user=6040,item=3706."
    )
    numbers: str = Field("", description="Columns of numbers, comma-separated.")
    files: str = Field(
        "*", min_length=1, description="Names in the site's folder, with * and ?; by * none that begins with _."
    )
    split: bool = Field(False, description="Every site's folder has all files, and each site reads its share of them.")
    reader: Reader = Reader.MEMORY
    ahead: int = Field(2, ge=1, le=64, description="Files that are read ahead of their use.")
    test_share: float = Field(0.1, gt=0, lt=1, description="Of each site's rows, held out.")
    pipe: str = Field("", description="Command that makes CSV of each file; `fljob train --allow-pipe` alone runs it.")
    pipe_deadline: int = Field(600, ge=1, le=86_400, description="Seconds that the command has for each file.")


@register(RegistryKind.DATASET, "files", FilesParameters)
class Files(Rows):
    """One site's files, in the order of their names."""

    needs_folder: ClassVar[bool] = True

    def __init__(self, parameters: FilesParameters, request: OpenRequest) -> None:
        pipe = _pipe(parameters, request)
        columns = RowColumns(parameters.label, _sizes(parameters.ids), _names(parameters.numbers))
        folder = request.folder_for("files")
        paths = _paths(folder, parameters, request)

        def source() -> Iterator[SourceTable]:
            for path in paths:
                yield read_file(path, tuple(columns.ids), [columns.label, *columns.numbers], pipe)

        plan = RowPlan(parameters.test_share, request.seed, parameters.reader is Reader.MEMORY, parameters.ahead)
        super().__init__(source, columns, plan, name=str(folder))


def share(items: Sequence[T], index: int, count: int) -> list[T]:
    """Return part `index` of `count`: parts have no item in common, and all of them together are the whole.

    Sizes differ by one at most.
    """
    return list(items[index::count])


def _paths(folder: Path, parameters: FilesParameters, request: OpenRequest) -> list[Path]:
    if "/" in parameters.files:
        raise DataError(_at("files"), f"{parameters.files!r} leaves the site's folder; name files in it")
    others = (".", "_") if parameters.files == "*" else "."  # Spark and its like leave marks such as _SUCCESS
    try:
        every = sorted(p for p in folder.glob(parameters.files) if p.is_file() and not p.name.startswith(others))
    except (OSError, ValueError) as error:
        raise DataError(folder, f"files {parameters.files!r}: {error}") from error
    mine = share(every, request.index, request.num_sites) if parameters.split else every
    if not mine:
        shared = f"; {len(every)} files are shared by {request.num_sites} sites" if parameters.split else ""
        raise DataError(folder, f"no file {parameters.files!r} for {request.site}{shared}")
    return mine


def _pipe(parameters: FilesParameters, request: OpenRequest) -> Pipe | None:
    if not parameters.pipe:
        return None
    if not request.allow_pipe:
        problem = (
            "a manifest may not run commands: `fljob train --allow-pipe` does, on your own machine; elsewhere run "
        )
        raise DataError(_at("pipe"), problem + "it beforehand, as by `fljob data import table --pipe`")
    return Pipe.parse(parameters.pipe, parameters.pipe_deadline)


def _sizes(text: str) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for part in _names(text):
        name, _, size = (piece.strip() for piece in part.partition("="))
        if not name or not size.isdecimal() or int(size) == 0 or name in sizes:
            raise DataError(_at("ids"), f"{part!r}: write each column once, as column=how many ids")
        sizes[name] = int(size)
    return sizes


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def _at(parameter: str) -> str:
    return f"spec.dataset.parameters.{parameter}"
