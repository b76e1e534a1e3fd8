"""Opening data by the name of a dataset."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.runtime.data.sites import site

from fljob_runtime import registry
from fljob_runtime.data import synthetic, synthetic_pictures
from fljob_runtime.data.datasets import OpenRequest, open_dataset
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.sessions import SessionImport, import_sessions
from fljob_runtime.data.store import write_sites
from fljob_runtime.data.tabular import TableImport, import_table
from fljob_runtime.registry import ParametersModel, RegistryError, RegistryKind, UnknownNameError

REQUEST = OpenRequest("site-0", 0, 2, 0, None)
DATASETS: dict[str, dict[str, Any]] = {
    "movielens": {},
    "synthetic": {},
    "tabular": {},
    "pictures": {},
    "sessions": {},
    "synthetic-pictures": {},
    "synthetic-sessions": {},
    "files": {"label": "label", "ids": "user=2,item=5"},
}
FOLDERS = ("movielens", "synthetic", "tabular", "pictures", "sessions")
OWN = {(name, name) for name in FOLDERS}
LABELLED = set(product(("tabular", "pictures"), ("synthetic", "tabular", "pictures")))  # any labelled rows


@pytest.fixture(autouse=True)
def _built_in() -> None:
    registry.load()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a site's folder of each dataset that has such, under its name."""
    root = tmp_path_factory.mktemp("folders")
    write_sites(root / "movielens", {"site-0": site()})
    pairs = synthetic.SyntheticParameters(users_per_site=2, items=5)
    synthetic.generate_sites(root / "synthetic", pairs, num_sites=1, seed=0)
    pictures = synthetic_pictures.SyntheticPicturesParameters(samples_per_site=4, test_per_site=2, side=2)
    synthetic_pictures.generate_sites(root / "pictures", pictures, num_sites=1, seed=0)
    (root / "clicks.csv").write_text("click,shop,price\n" + "1,a,0.5\n0,b,1\n" * 5, encoding="utf-8")
    import_table(root / "clicks.csv", root / "tabular", TableImport("click", ("shop",), ("price",), num_sites=1))
    (root / "lines.txt").write_text("1 2 3\n" * 20, encoding="utf-8")
    import_sessions(root / "lines.txt", root / "sessions", SessionImport(num_sites=1))
    return root


@pytest.mark.parametrize(("dataset", "folder"), sorted(set(product(DATASETS, FOLDERS)) - OWN - LABELLED))
def test_a_folder_of_another_dataset_is_bad_data(folders: Path, dataset: str, folder: str) -> None:
    with pytest.raises(DataError):
        open_dataset(dataset, DATASETS[dataset], OpenRequest("site-0", 0, 1, 0, folders / folder / "site-0"))


@pytest.mark.parametrize(("dataset", "folder"), sorted(OWN | LABELLED))
def test_a_folder_is_opened_by_its_dataset_and_by_those_of_any_labelled_rows(
    folders: Path, dataset: str, folder: str
) -> None:
    data = open_dataset(dataset, DATASETS[dataset], OpenRequest("site-0", 0, 1, 0, folders / folder / "site-0"))
    epoch = data.epoch(np.random.default_rng(0))
    assert (len(epoch), set(epoch.columns)) == (data.num_samples, set(data.held_out().examples.columns))


def test_a_dataset_is_opened_with_its_parameters_as_text() -> None:
    data = open_dataset("synthetic", {"usersPerSite": "3", "items": "5", "samplesPerUser": "7"}, REQUEST)
    assert (data.schema.ids, data.num_samples) == ({"user": 6, "item": 5}, 21)


def test_an_unknown_dataset_is_met_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'movielens'"):
        open_dataset("movieLense", {}, REQUEST)


def test_an_unknown_parameter_is_named_with_its_path() -> None:
    with pytest.raises(
        RegistryError, match=r"spec\.dataset\.parameters\.item: unknown parameter; did you mean 'items'"
    ):
        open_dataset("synthetic", {"item": 3}, REQUEST)


def test_a_class_that_is_no_dataset_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd:
        def __init__(self, parameters: ParametersModel, request: OpenRequest) -> None: ...

    monkeypatch.setitem(registry._TABLES[RegistryKind.DATASET], "odd", (Odd, ParametersModel))
    with pytest.raises(TypeError, match="Odd must derive from SiteData"):
        open_dataset("odd", {}, REQUEST)
