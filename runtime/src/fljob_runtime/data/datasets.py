"""Opening a site's data by the name of its dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fljob_runtime.data.errors import DataError
from fljob_runtime.data.examples import SiteData
from fljob_runtime.registry import RegistryKind, find, parse_parameters


@dataclass(frozen=True)
class OpenRequest:
    """Whose data to open. index: the site's place in spec.trainers; folder: its volume, None where it has none.

    allow_pipe: whether the one who started this, on this machine, allowed the manifest's command to be run.
    """

    site: str
    index: int
    num_sites: int
    seed: int
    folder: Path | None
    allow_pipe: bool = False

    def folder_for(self, dataset: str) -> Path:
        """Return the folder, of a dataset that needs one; raises DataError."""
        if self.folder is None:
            raise DataError(self.site, f"the {dataset} dataset needs a folder: set trainers[].data, or --data-root")
        return self.folder


def open_dataset(name: str, parameters: Mapping[str, Any], request: OpenRequest) -> SiteData:
    """Open one site's data.

    Raises RegistryError for an unknown name or parameter, DataError for anything wrong with the data.
    """
    cls, schema = find(RegistryKind.DATASET, name)
    data = cls(parse_parameters("spec.dataset.parameters", schema, parameters), request)
    if not isinstance(data, SiteData):
        raise TypeError(f"dataset {name!r}: {cls.__name__} must derive from SiteData")
    return data
