"""A site's folder: written whole or not at all, and read with every fault named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from unit.runtime.data.sites import site

from fljob_runtime.data.errors import DataError
from fljob_runtime.data.store import Site, SiteManifest, SiteTables, make_sites, read_manifest, read_tables, write_sites

GOOD: Mapping[str, Sequence[Any]] = {"user": [0, 1], "item": [0, 2]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_sites(tmp_path, {"site-0": site()})
    return tmp_path / "site-0"


def rewrite(folder: Path, name: str, columns: Mapping[str, Any]) -> None:
    """Replace a file, and its digest in the manifest, so that nothing but its content is wrong."""
    pq.write_table(pa.table(dict(columns)), folder / name)
    change(folder, "digests", {**read_manifest(folder).digests, name: digest(folder / name)})


def change(folder: Path, key: str, value: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps({**manifest, key: value}), encoding="utf-8")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_was_written_is_read_back(folder: Path) -> None:
    tables = read_tables(folder, read_manifest(folder))
    assert tables.train["item"].tolist() == [0, 2]
    assert tables.test["label"].tolist() == [1.0, 0.0]
    assert tables.test["label"].dtype == np.float32


def test_the_manifest_has_the_digest_of_each_file(folder: Path) -> None:
    names = ("train.parquet", "test.parquet")
    assert read_manifest(folder).digests == {name: digest(folder / name) for name in names}


def test_the_manifest_has_a_checksum_of_each_column(folder: Path) -> None:
    rows = b"".join(np.array(values, "<i8").tobytes() for values in ([0, 1], [0, 0]))  # of training, then held out
    checksums = read_manifest(folder).checksums
    assert (set(checksums), checksums["user"]) == ({"user", "item", "label", "group"}, xxhash.xxh3_64(rows).hexdigest())


def test_nothing_half_written_stays_when_writing_fails(tmp_path: Path) -> None:
    manifest, tables = site()
    torn = SiteTables({**tables.train, "item": np.zeros(7, np.int64)}, tables.test)
    with pytest.raises(pa.ArrowInvalid):
        write_sites(tmp_path, {"site-0": (manifest, torn)})
    assert list(tmp_path.iterdir()) == []


def test_a_site_with_other_content_keeps_all_others_from_being_written(folder: Path) -> None:
    other = site(train=[(0, 0), (1, 0)])
    with pytest.raises(DataError, match="site-0: exists with other content"):
        write_sites(folder.parent, {"site-a": site(), "site-0": other, "site-z": site()})
    assert list(folder.parent.iterdir()) == [folder]


def test_sites_that_are_there_are_left_alone_and_others_come_beside_them(folder: Path) -> None:
    before = folder.stat().st_mtime_ns
    write_sites(folder.parent, {"site-0": site(), "site-1": site()})
    assert sorted(path.name for path in folder.parent.iterdir()) == ["site-0", "site-1"]
    assert folder.stat().st_mtime_ns == before


def test_sites_are_taken_back_when_one_cannot_be_put_into_its_place(tmp_path: Path) -> None:
    (tmp_path / "site-1").symlink_to("nowhere")
    with pytest.raises(NotADirectoryError):
        write_sites(tmp_path, {"site-0": site(), "site-1": site()})
    assert [path.name for path in tmp_path.iterdir()] == ["site-1"]


def test_sites_can_be_made_in_turn_each_after_the_one_before_was_written(tmp_path: Path) -> None:
    written: list[int] = []

    def make(_: str) -> Site:
        written.append(len(list(tmp_path.glob(".sites-*/*/manifest.json"))))
        return site()

    make_sites(tmp_path, ["site-0", "site-1", "site-2"], make, most=1)
    assert written == [0, 1, 2]


def test_a_damaged_site_is_not_taken_for_the_same(folder: Path) -> None:
    (folder / "train.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="exists with other content"):
        write_sites(folder.parent, {"site-0": site()})


def test_a_site_with_a_missing_file_is_not_taken_for_the_same(folder: Path) -> None:
    (folder / "test.parquet").unlink()
    with pytest.raises(DataError, match="exists with other content"):
        write_sites(folder.parent, {"site-0": site()})


def test_a_folder_without_a_manifest_is_no_site(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no manifest\.json: not a site's folder; make it with `fljob data import`"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        ("num_train", "many", "num_train: .*integer"),
        ("ids", {"user": 2, "item": None}, r"ids\.item: .*integer"),
        ("digests", [], "digests: "),
        ("schema_version", 99, "schema version 99; this program reads 2: import again"),
    ],
)
def test_a_mistyped_manifest_is_refused(folder: Path, key: str, value: Any, where: str) -> None:
    change(folder, key, value)
    with pytest.raises(DataError, match=where):
        read_manifest(folder)


@pytest.mark.parametrize("text", ["", "[]", '{"dataset": "movielens"}'])
def test_what_is_no_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="not a site's manifest"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("columns", "where"),
    [
        ({"user": [0, 1]}, r"train\.parquet, column item: no such column; there are \['user'\]"),
        ({"user": [0, 1], "film": [0, 2]}, r"column item: no such column"),
        ({**GOOD, "item": [0, None]}, r"column item: 1 values are missing"),
        ({**GOOD, "item": [0.0, float("nan")]}, r"column item: type double; expected int64"),
        ({**GOOD, "item": ["0", "2"]}, r"column item: type string; expected int64"),
        ({**GOOD, "item": [0, 3]}, r"train\.parquet, line 2, column item: id 3 is not in 0\.\.2"),
        ({**GOOD, "user": [-1, 1]}, r"line 1, column user: id -1 is not in 0\.\.1"),
        ({"user": [0], "item": [0]}, r"train\.parquet: 1 rows; the manifest says 2"),
    ],
)
def test_malformed_positives_are_refused(folder: Path, columns: Mapping[str, Any], where: str) -> None:
    rewrite(folder, "train.parquet", columns)
    with pytest.raises(DataError, match=where):
        read_tables(folder, read_manifest(folder))


@pytest.mark.parametrize(
    ("label", "where"),
    [
        ([1.0, 0.5], r"line 2, column label: label 0\.5 is neither 0 nor 1"),
        ([float("nan"), 0.0], r"line 1, column label: label nan is neither 0 nor 1"),
        (["1", "0"], r"column label: type string; expected float32"),
    ],
)
def test_malformed_labels_are_refused(folder: Path, label: list[Any], where: str) -> None:
    rewrite(folder, "test.parquet", {"user": [0, 0], "item": [1, 2], "group": [0, 0], "label": label})
    with pytest.raises(DataError, match=where):
        read_tables(folder, read_manifest(folder))


@pytest.mark.parametrize(
    ("price", "where"),
    [
        ([1.0, float("nan")], r"train\.parquet, line 2, column price: price nan is not finite"),
        ([float("inf"), 1.0], r"line 1, column price: price inf is not finite"),
        (["1", "2"], r"column price: type string; expected float32"),
        ([1.0, None], r"column price: 1 values are missing"),
    ],
)
def test_malformed_numbers_are_refused(folder: Path, price: list[Any], where: str) -> None:
    change(folder, "features", ["price"])
    rewrite(folder, "train.parquet", {**GOOD, "price": price})
    with pytest.raises(DataError, match=where):
        read_tables(folder, read_manifest(folder))


def test_columns_of_numbers_are_read_as_float32(folder: Path) -> None:
    change(folder, "features", ["price"])
    test = {"user": [0, 0], "item": [1, 2], "group": [0, 0], "label": [1.0, 0.0]}
    rewrite(folder, "train.parquet", {**GOOD, "price": [1, 2]})
    rewrite(folder, "test.parquet", {**test, "price": [0.5, 1.5]})
    manifest = read_manifest(folder)
    tables = read_tables(folder, manifest)
    assert manifest.schema.feature_shape("price") == ()
    assert tables.train["price"].dtype == np.float32
    assert tables.test["price"].tolist() == [0.5, 1.5]


def test_labels_of_training_are_asked_for_where_there_are_no_positives_alone(folder: Path) -> None:
    manifest = replace(read_manifest(folder), negatives_per_positive=0)
    with pytest.raises(DataError, match=r"train\.parquet, column label: no such column"):
        read_tables(folder, manifest)


def test_a_truncated_file_is_refused(folder: Path) -> None:
    path = folder / "train.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="digest differs from the manifest's: the file is truncated or was changed"):
        read_tables(folder, read_manifest(folder))


def test_what_is_no_parquet_is_refused(folder: Path) -> None:
    (folder / "train.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"train\.parquet: cannot be read"):
        read_tables(folder, read_manifest(folder), verify=False)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "test.parquet").unlink()
    with pytest.raises(DataError, match=r"test\.parquet: cannot be read"):
        read_tables(folder, read_manifest(folder))


def sequences() -> tuple[SiteManifest, SiteTables]:
    """Return a site with sequences, pictures and three classes."""
    columns: dict[str, Any] = {
        "items": np.array([[3, 4, 1], [2, -1, -1]], np.int64),
        "picture": np.arange(8, dtype=np.float32).reshape(2, 2, 2),
        "label": np.array([2.0, 0.0], np.float32),
    }
    manifest = replace(
        site()[0],
        ids={},
        num_site_ids={},
        num_train=2,
        num_test=2,
        negatives_per_positive=0,
        features=("picture",),
        shapes={"picture": (2, 2)},
        sequences={"items": (5, 3)},
        num_classes=3,
    )
    return manifest, SiteTables(columns, {**columns, "group": np.full(2, -1, np.int64)})


def test_sequences_and_shaped_numbers_are_read_back(tmp_path: Path) -> None:
    manifest, tables = sequences()
    write_sites(tmp_path, {"site-0": (manifest, tables)})
    found = read_tables(tmp_path / "site-0", read_manifest(tmp_path / "site-0")).train
    assert {name: values.tolist() for name, values in found.items()} == {
        name: values.tolist() for name, values in tables.train.items()
    }


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("items", [[1, 2, 3, 4], [1]], "line 1, column items: a sequence of 4 ids"),
        ("items", [[1], [5]], "id 5 is not in 0..4"),
        ("items", [1, 2], "expected lists of int64"),
        ("picture", [[1.0], [2.0]], "expected 4 float32 in each"),
        ("label", [3.0, 0.0], "label 3.0 is not one of 0..2"),
        ("label", [0.5, 0.0], "label 0.5 is not one of 0..2"),
    ],
)
def test_faults_in_sequences_pictures_and_classes_are_named(
    tmp_path: Path, column: str, values: list[Any], message: str
) -> None:
    manifest, tables = sequences()
    write_sites(tmp_path, {"site-0": (manifest, tables)})
    pixels = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(8, np.float32)), 4)
    rewrite(
        tmp_path / "site-0",
        "train.parquet",
        {"items": [[1], [2]], "picture": pixels, "label": [1.0, 2.0], column: values},
    )
    with pytest.raises(DataError, match=message):
        read_tables(tmp_path / "site-0", read_manifest(tmp_path / "site-0"))
