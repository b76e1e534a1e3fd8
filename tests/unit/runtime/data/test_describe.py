"""Describing folders of sites."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.runtime.data.sites import site

from fljob_runtime.data.describe import describe_folder
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.store import write_sites
from fljob_runtime.data.synthetic import SyntheticParameters, generate_sites


def test_every_site_below_a_folder_is_described_by_name(tmp_path: Path) -> None:
    write_sites(tmp_path, {"site-1": site(), "site-0": site(train=[(0, 0), (1, 0), (1, 2)])})
    described = describe_folder(tmp_path)
    assert [(d.manifest.num_train, d.manifest.num_site_ids["item"]) for d in described] == [(3, 2), (2, 2)]


def test_one_sites_own_folder_is_described(tmp_path: Path) -> None:
    write_sites(tmp_path, {"site-0": site()})
    assert len(describe_folder(tmp_path / "site-0")) == 1


def test_the_positive_rate_follows_from_the_negatives_drawn(tmp_path: Path) -> None:
    write_sites(tmp_path, {"site-0": site()})
    assert describe_folder(tmp_path)[0].positive_rate == pytest.approx(0.2)


def test_the_positive_rate_of_labelled_data_is_counted(tmp_path: Path) -> None:
    generate_sites(tmp_path, SyntheticParameters(users_per_site=2, items=5, scale=0), num_sites=1, seed=0)
    rate = describe_folder(tmp_path)[0].positive_rate
    assert rate is not None
    assert 0.0 < rate < 1.0


def test_a_damaged_site_is_told_rather_than_described(tmp_path: Path) -> None:
    write_sites(tmp_path, {"site-0": site()})
    (tmp_path / "site-0/test.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"test\.parquet: digest differs"):
        describe_folder(tmp_path)


def test_a_folder_without_sites_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a site's folder nor a folder of such"):
        describe_folder(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        describe_folder(tmp_path / "absent")
