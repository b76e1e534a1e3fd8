"""The movielens dataset: import by site, the exact ten-site split of ML-1M, and a site's epochs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.runtime.data.movielens_folders import RATINGS, write_ml1m, write_ml100k, write_ncf
from unit.runtime.data.sites import site

from fljob_runtime import registry
from fljob_runtime.data.datasets import OpenRequest, open_dataset
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.examples import SiteData, epoch_rng
from fljob_runtime.data.movielens import import_movielens
from fljob_runtime.data.store import SiteTables, write_sites
from fljob_runtime.data.synthetic import SyntheticParameters, generate_sites


def opened(folder: Path | None, parameters: Mapping[str, Any] | None = None) -> SiteData:
    registry.load()
    return open_dataset("movielens", parameters or {}, OpenRequest("site-0", 0, 1, 0, folder))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_ml1m(tmp_path / "source")


def test_sites_are_the_first_character_of_the_zip_code(source: Path, tmp_path: Path) -> None:
    sites = import_movielens(source, tmp_path / "out").sites
    counts = {name: (site.num_site_ids["user"], site.num_train, site.num_test) for name, site in sites.items()}
    # pairs: site-0 has user 2 (the positive, 2 negatives); site-4 users 1 (1 + 1) and 3 (1 + 2)
    assert counts == {"site-0": (1, 1, 3), "site-4": (2, 3, 5)}


def test_a_zip_code_with_a_letter_makes_a_site_of_its_own(tmp_path: Path) -> None:
    sites = import_movielens(write_ml100k(tmp_path / "source"), tmp_path / "out").sites
    assert set(sites) == {"site-0", "site-4", "site-v"}


def test_users_are_dealt_equally(source: Path, tmp_path: Path) -> None:
    sites = import_movielens(source, tmp_path / "out", partition="equal", num_sites=2).sites
    assert {name: site.num_site_ids["user"] for name, site in sites.items()} == {"site-0": 2, "site-1": 1}


def test_without_a_partition_all_is_one_site(source: Path, tmp_path: Path) -> None:
    sites = import_movielens(source, tmp_path / "out", partition="none").sites
    assert {name: site.num_site_ids["user"] for name, site in sites.items()} == {"site-0": 3}


def test_an_unknown_partition_lists_the_known(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no partition 'zap'; there are zip, equal, none"):
        import_movielens(source, tmp_path / "out", partition="zap")


def test_importing_again_changes_nothing(source: Path, tmp_path: Path) -> None:
    import_movielens(source, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    import_movielens(source, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_importing_other_data_overwrites_nothing(source: Path, tmp_path: Path) -> None:
    import_movielens(source, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "site-0")
    write_ml1m(source, ratings=RATINGS + "1::40::3::150\n")
    with pytest.raises(DataError, match=r"site-4: exists with other content"):
        import_movielens(source, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["site-4"]


def test_the_manifest_says_how_many_test_negatives_were_dropped(tmp_path: Path) -> None:
    site = import_movielens(write_ncf(tmp_path / "source"), tmp_path / "out", partition="none").sites["site-0"]
    assert site.notes == "test negatives published; 1 that equal the user's own test item were dropped"
    assert site.num_test == 199


def test_an_epoch_has_every_positive_and_the_asked_negatives(source: Path, tmp_path: Path) -> None:
    import_movielens(source, tmp_path / "out", partition="none")
    data = opened(tmp_path / "out/site-0", {"negatives": "2"})
    epoch = data.epoch(epoch_rng(0, "site-0", 0))
    ones = epoch.labels == 1
    pairs = sorted(zip(*(epoch.columns[name][ones].tolist() for name in ("user", "item")), strict=True))
    assert pairs == [(0, 1), (0, 2), (1, 2), (2, 3)]
    assert (len(epoch), data.num_samples) == (12, 12)


def test_negatives_are_drawn_anew_each_epoch_and_alike_for_equal_epochs(tmp_path: Path) -> None:
    films = "".join(f"1::{film}::5::{film}\n2::{film + 50}::5::{film}\n" for film in range(50))
    import_movielens(write_ml1m(tmp_path / "source", ratings=films), tmp_path / "out", partition="none")
    data = opened(tmp_path / "out/site-0")
    first, again, second = (data.epoch(epoch_rng(0, "site-0", epoch)).columns["item"] for epoch in (0, 0, 1))
    assert np.array_equal(first, again)
    assert sorted(first.tolist()) != sorted(second.tolist())


def test_each_test_group_is_one_user_with_the_positive_first(source: Path, tmp_path: Path) -> None:
    import_movielens(source, tmp_path / "out", partition="none")
    held_out = opened(tmp_path / "out/site-0").held_out()
    assert held_out.groups is not None
    assert held_out.groups.tolist() == [0, 2, 5, 8]
    assert held_out.examples.columns["user"].tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
    assert held_out.examples.labels.tolist() == [1, 0, 1, 0, 0, 1, 0, 0]


def test_a_site_without_a_folder_is_told_where_to_set_it() -> None:
    with pytest.raises(DataError, match=r"needs a folder: set trainers\[\]\.data"):
        opened(None)


def test_a_folder_of_another_dataset_is_refused(tmp_path: Path) -> None:
    generate_sites(tmp_path, SyntheticParameters(users_per_site=2, items=5), num_sites=1, seed=0)
    with pytest.raises(DataError, match="holds dataset 'synthetic' with labels, not movielens positives"):
        opened(tmp_path / "site-0")


def test_a_folder_with_more_columns_than_users_and_items_is_refused(tmp_path: Path) -> None:
    manifest, tables = site()
    price = {"price": np.zeros(2, np.float32)}
    more = SiteTables({**tables.train, **price}, {**tables.test, **price})
    write_sites(tmp_path, {"site-0": (replace(manifest, features=("price",)), more)})
    with pytest.raises(DataError, match="not movielens: positives of users and items"):
        opened(tmp_path / "site-0")


def test_a_site_where_a_user_trains_on_every_film_is_refused(tmp_path: Path) -> None:
    write_sites(tmp_path, {"site-0": site(train=[(0, 0), (0, 1), (1, 0)], num_items=2)})
    with pytest.raises(DataError, match=r"site-0: a user has a positive with every item"):
        opened(tmp_path / "site-0")


SAMPLES = [518095, 520165, 373605, 315550, 483780, 495635, 402810, 354590, 262710, 1243905]
SITE_USERS = [662, 662, 441, 386, 607, 659, 430, 419, 306, 1468]


@pytest.mark.data
def test_movielens_1m_splits_into_the_ten_published_sites(tmp_path: Path) -> None:
    report = import_movielens(Path(os.environ["FLJOB_TEST_DATA"]), tmp_path)
    sites = [report.sites[f"site-{digit}"] for digit in range(10)]
    assert [site.num_samples for site in sites] == SAMPLES
    assert [site.num_site_ids["user"] for site in sites] == SITE_USERS
    assert (len(report.sites), report.num_samples) == (10, 4_970_845)
    assert sum(site.num_test for site in sites) == 603_844
    assert {(site.ids["user"], site.ids["item"]) for site in sites} == {(6040, 3706)}


@pytest.mark.data
def test_movielens_100k_leaves_one_out_per_user(tmp_path: Path) -> None:
    report = import_movielens(Path(os.environ["FLJOB_TEST_DATA"]) / "ml-100k", tmp_path, partition="none")
    site = report.sites["site-0"]
    assert (site.num_site_ids["user"], site.ids["item"], site.num_train) == (943, 1682, 99_057)
    assert site.num_test == 94_300


@pytest.mark.data
def test_pinterest_leaves_one_out_per_user(tmp_path: Path) -> None:
    made = import_movielens(Path(os.environ["FLJOB_TEST_DATA"]) / "pinterest", tmp_path, partition="none")
    site = made.sites["site-0"]
    assert site.ids == {"user": 37_501, "item": 9_836}
    assert (site.num_train, site.num_test) == (962_653, 37_501 * 100)


def test_sites_by_zip_code_need_zip_codes(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("0 1 2\n", encoding="latin-1")
    (tmp_path / "test.txt").write_text("0 3\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"--partition zip: .* has no zip codes of users; take equal or none"):
        import_movielens(tmp_path, tmp_path / "out")
