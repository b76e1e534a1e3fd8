"""Datasets of labelled rows that are a site's folder and nothing else."""

from __future__ import annotations

from typing import ClassVar

from fljob_runtime.data.datasets import OpenRequest
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.examples import Examples, HeldOut, LabelledRows
from fljob_runtime.data.store import read_manifest, read_tables
from fljob_runtime.registry import NoParameters


class FolderRows(LabelledRows):
    """One site's labelled rows, all columns that the folder's manifest names. NAME: under which it is registered."""

    NAME: ClassVar[str]
    needs_folder: ClassVar[bool] = True

    def __init__(self, parameters: NoParameters, request: OpenRequest) -> None:  # noqa: ARG002 - one signature for all
        folder = request.folder_for(self.NAME)
        manifest = read_manifest(folder)
        if manifest.negatives_per_positive or not manifest.num_classes:
            problem = f"holds dataset {manifest.dataset!r} without labels, not {self.NAME} data"
            raise DataError(folder, problem)
        tables = read_tables(folder, manifest)
        self.schema = manifest.schema
        names = manifest.columns
        self._train = Examples({name: tables.train[name] for name in names}, tables.train["label"])
        self._held_out = HeldOut(Examples({name: tables.test[name] for name in names}, tables.test["label"]))
