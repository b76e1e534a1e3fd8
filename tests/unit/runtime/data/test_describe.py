"""Describing folders of sites."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from unit.runtime.data.sites import site

from fljob_runtime.data.describe import SiteDescription, describe_folder, label_distance, overlaps
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.sessions import SessionImport, import_sessions
from fljob_runtime.data.store import SiteTables, write_sites
from fljob_runtime.data.synthetic import SyntheticParameters, generate_sites
from fljob_runtime.schema import PADDING


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


def test_the_labels_of_drawn_negatives_are_those_of_an_epoch(tmp_path: Path) -> None:
    write_sites(tmp_path, {"site-0": site()})
    assert describe_folder(tmp_path)[0].label_counts == (8, 2)


def test_the_labels_of_classes_are_counted(tmp_path: Path) -> None:
    manifest, tables = site()
    labelled = replace(manifest, negatives_per_positive=0, num_classes=4)
    train = {**tables.train, "label": np.array([3.0, 1.0], np.float32)}
    write_sites(tmp_path, {"site-0": (labelled, SiteTables(train, tables.test))})
    described = describe_folder(tmp_path)[0]
    assert (described.label_counts, described.positive_rate) == ((0, 1, 0, 1), None)


def test_ids_of_held_out_examples_alone_are_not_counted(tmp_path: Path) -> None:
    write_sites(tmp_path, {"site-0": site(train=[(0, 0), (1, 0)])})
    assert describe_folder(tmp_path)[0].distinct["item"].tolist() == [0]


def test_the_padding_of_sequences_is_no_id(tmp_path: Path) -> None:
    manifest, _ = site()
    listed = replace(manifest, ids={}, num_site_ids={}, sequences={"item": (9, 3)}, negatives_per_positive=0)
    rows = np.array([[4, 2, PADDING], [4, PADDING, PADDING]])
    tables = SiteTables({"item": rows}, {"item": rows})
    write_sites(tmp_path, {"site-0": (replace(listed, num_classes=0), tables)})
    assert describe_folder(tmp_path)[0].distinct["item"].tolist() == [2, 4]


def test_ids_in_common_are_told_for_each_column(tmp_path: Path) -> None:
    write_sites(tmp_path, {"site-0": site(), "site-1": site(train=[(1, 1), (1, 2)])})
    found = {one.column: one.seen_by for one in overlaps(describe_folder(tmp_path))}
    assert found == {"user": (1, 1), "item": (2, 1)}


def test_labels_that_are_alike_are_not_apart(tmp_path: Path) -> None:
    write_sites(tmp_path, {"site-0": site(), "site-1": site()})
    assert label_distance(describe_folder(tmp_path)) == (0.0, 0.0)


def test_labels_that_only_one_of_two_equal_sites_has_are_half_apart() -> None:
    manifest, _ = site()
    sites = [SiteDescription(manifest, None, counts) for counts in ((6, 0, 0), (0, 2, 4))]
    assert label_distance(sites) == pytest.approx((0.5, 0.5))


def test_a_label_that_a_site_does_not_know_is_one_it_has_none_of() -> None:
    manifest, _ = site()
    sites = [SiteDescription(manifest, None, counts) for counts in ((4, 4), (4, 0, 4), ())]
    assert label_distance(sites) == pytest.approx((0.25, 0.25, 0.5))


def test_sites_without_labels_have_no_distance() -> None:
    assert label_distance([SiteDescription(site()[0], None)]) == ()


def test_what_has_no_labels_has_no_positive_rate(tmp_path: Path) -> None:
    source = tmp_path / "sessions.txt"
    source.write_text("1 2 3\n" * 10, encoding="utf-8")
    import_sessions(source, tmp_path / "out", SessionImport(num_sites=1))
    assert describe_folder(tmp_path / "out")[0].positive_rate is None


def test_a_damaged_site_is_told_rather_than_described(tmp_path: Path) -> None:
    write_sites(tmp_path, {"site-0": site()})
    (tmp_path / "site-0/test.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"test\.parquet: digest differs"):
        describe_folder(tmp_path)


@pytest.mark.parametrize("lacking", ["ids", "features"])
def test_sites_with_other_columns_are_not_described_together(tmp_path: Path, lacking: str) -> None:
    manifest, tables = site()
    price = {"price": np.zeros(2, np.float32)}
    whole = replace(manifest, features=("price",)), SiteTables({**tables.train, **price}, {**tables.test, **price})
    other = site()
    if lacking == "ids":
        train, test = ({name: c for name, c in t.items() if name != "item"} for t in (whole[1].train, whole[1].test))
        other = replace(whole[0], ids={"user": 2}, num_site_ids={"user": 2}), SiteTables(train, test)
    write_sites(tmp_path, {"site-0": whole, "site-1": whole, "site-2": other})
    with pytest.raises(DataError, match=r"site-2: has ids \['.*, but .*site-0 has ids \['item', 'user'\], numbers"):
        describe_folder(tmp_path)


def test_a_folder_without_sites_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a site's folder nor a folder of such"):
        describe_folder(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        describe_folder(tmp_path / "absent")
