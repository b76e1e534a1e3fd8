"""LEAF's JSON as sites of pictures: nothing is lost, and every fault is named by file, user and position."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.runtime.data.sites import site

from fljob_runtime.data.datasets import OpenRequest, open_dataset
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.pictures import LeafImport, import_leaf
from fljob_runtime.data.store import read_manifest, read_tables, write_sites
from fljob_runtime.registry import load

load()


def user(first: int, count: int, size: int = 4) -> dict[str, Any]:
    """Return pictures of `size` numbers, each all of one number from `first` on, which is a tenth of its class too."""
    return {"x": [[n / 10.0] * size for n in range(first, first + count)], "y": list(range(first, first + count))}


def leaf(folder: Path, data: dict[str, Any], name: str = "all_data_0.json", **changes: Any) -> Path:
    """Write a file of LEAF's; changes: parts of it to have instead."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = [len(samples["y"]) for samples in data.values()]
    content = {"users": list(data), "num_samples": counts, "user_data": data, **changes}
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def labels(out: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Return the classes of training and held out of each site, sorted."""
    found = {}
    for folder in sorted(out.iterdir()):
        tables = read_tables(folder, read_manifest(folder))
        found[folder.name] = (sorted(tables.train["label"].tolist()), sorted(tables.test["label"].tolist()))
    return found


def test_folders_train_and_test_say_what_is_held_out(tmp_path: Path) -> None:
    source = tmp_path / "leaf"
    leaf(source / "train", {"f0_1": user(0, 2)}, "a.json")
    leaf(source / "train", {"f1_2": user(2, 3)}, "b.json")
    leaf(source / "test", {"f1_2": user(5, 1), "f0_1": user(6, 2)})
    sites = import_leaf(source, tmp_path / "out", LeafImport(partition="user"))
    assert labels(tmp_path / "out") == {"site-f0-1": ([0.0, 1.0], [6.0, 7.0]), "site-f1-2": ([2.0, 3.0, 4.0], [5.0])}
    assert {(m.num_classes, m.ids["user"], m.num_site_ids["user"]) for m in sites.values()} == {(8, 2, 1)}


def test_flat_pictures_are_read_as_squares_with_their_numbers(tmp_path: Path) -> None:
    leaf(tmp_path / "leaf", {"a": {"x": [[1, 2, 3, 4], [5, 6, 7, 8.5]], "y": [1, 0]}})
    import_leaf(tmp_path / "leaf", tmp_path / "out", LeafImport(num_sites=1, test_share=0.5))
    data = open_dataset("pictures", {}, OpenRequest("site-0", 0, 1, 0, tmp_path / "out" / "site-0"))
    both = [data.epoch(np.random.default_rng(0)), data.held_out().examples]
    found = {float(part.labels[0]): part.columns["picture"].tolist() for part in both}
    assert found == {1.0: [[[1.0, 2.0], [3.0, 4.0]]], 0.0: [[[5.0, 6.0], [7.0, 8.5]]]}
    assert data.schema.features == {"picture": (2, 2)}


def test_pictures_with_rows_of_their_own_keep_their_shape(tmp_path: Path) -> None:
    leaf(tmp_path / "leaf", {"a": {"x": [[[1, 2, 3], [4, 5, 6]]] * 4, "y": [0, 1, 0, 1]}})
    sites = import_leaf(tmp_path / "leaf", tmp_path / "out", LeafImport(num_sites=1, test_share=0.5))
    assert sites["site-0"].shapes == {"picture": (2, 3)}


def test_users_stay_together_when_dealt_over_sites(tmp_path: Path) -> None:
    leaf(tmp_path / "leaf", {f"u{n}": user(10 * n, 10) for n in range(6)})
    sites = import_leaf(tmp_path / "leaf", tmp_path / "out", LeafImport(num_sites=3, test_share=0.2))
    assert {(m.num_train, m.num_test, m.num_site_ids["user"]) for m in sites.values()} == {(16, 4, 2)}
    found = [sorted(train + test) for train, test in labels(tmp_path / "out").values()]
    assert sorted(label for site_labels in found for label in site_labels) == [float(n) for n in range(60)]
    assert all(len({label // 10 for label in site_labels}) == 2 for site_labels in found)


def test_importing_again_changes_nothing(tmp_path: Path) -> None:
    leaf(tmp_path / "leaf", {f"u{n}": user(0, 10) for n in range(4)})
    first = import_leaf(tmp_path / "leaf", tmp_path / "out", LeafImport(num_sites=2))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert import_leaf(tmp_path / "leaf", tmp_path / "out", LeafImport(num_sites=2)) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_there_may_be_more_classes_than_labels_tell(tmp_path: Path) -> None:
    leaf(tmp_path / "leaf", {"a": user(0, 4)})
    sites = import_leaf(tmp_path / "leaf", tmp_path / "out", LeafImport(num_sites=1, test_share=0.5, classes=62))
    assert sites["site-0"].num_classes == 62


@pytest.mark.parametrize(
    ("samples", "where"),
    [
        ({"x": [[1.0] * 4, [1.0] * 3], "y": [0, 1]}, r"all_data_0\.json: user 'a', x\[1\]: 3 numbers; x\[0\] has 4"),
        ({"x": [[1.0, "2"], [1.0, 2.0]], "y": [0, 1]}, r"user 'a', x\[0\]\[1\]: not a number"),
        ({"x": [[1.0] * 4, [1e39] * 4], "y": [0, 1]}, r"user 'a', x\[1\]: a number that is not finite"),
        ({"x": [[1.0] * 4, [float("nan")] * 4], "y": [0, 1]}, r"user 'a', x\[1\]: a number that is not finite"),
        ({"x": [1.0, 2.0], "y": [0, 1]}, r"user 'a', x\[0\]: expected a list of numbers"),
        ({"x": ["i.jpg", "j.jpg"], "y": [0, 1]}, r"user 'a', x\[0\]: expected a list of numbers"),
        ({"x": [[1.0] * 4] * 3, "y": [0, 1]}, r"user 'a': 3 pictures in x, but 2 labels in y"),
        ({"x": [[1.0] * 4] * 2, "y": [0, 1.5]}, r"user 'a', y\[0\]: expected a class"),
        ({"x": [[1.0] * 4] * 2, "y": [0, "b"]}, r"user 'a', y\[1\]: expected a class"),
        ({"x": [[1.0] * 4] * 2, "y": [0, -1]}, r"user 'a', y\[1\]: class -1 is below 0"),
        ({"x": [[1.0] * 4] * 2, "y": [0, 1 << 24]}, r"user 'a', y\[1\]: class 16777216 is not below 16777216"),
        (
            {"x": [[1.0] * 4] * 2, "y": [(1 << 64) - 1] * 2},
            r"user 'a', y\[0\]: class 18446744073709551615 is",
        ),
        ({"x": [[]], "y": [0]}, r"user 'a', x\[0\]: a picture without a number"),
        ({"x": "text", "y": [0, 1]}, r"user 'a': x and y must be lists"),
        ({"z": [], "y": [0, 1]}, r"user 'a': no object with x and y"),
    ],
)
def test_faults_of_a_user_are_named(tmp_path: Path, samples: dict[str, Any], where: str) -> None:
    leaf(tmp_path / "leaf", {"a": samples})
    with pytest.raises(DataError, match=where):
        import_leaf(tmp_path / "leaf", tmp_path / "out", LeafImport(num_sites=1))


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"num_samples": [3]}, r"all_data_0\.json: user 'a': 2 samples; num_samples says 3"),
        ({"num_samples": [1, 1]}, "1 users, but 2 num_samples"),
        ({"users": ["b"]}, "users and user_data differ: a, b"),
        ({"users": "a"}, "expected lists users and num_samples"),
        ({"users": ["a", "a"], "num_samples": [2, 2]}, "user 'a': no object with x and y"),
    ],
)
def test_faults_of_a_file_are_named(tmp_path: Path, changes: dict[str, Any], where: str) -> None:
    leaf(tmp_path / "leaf", {"a": user(0, 2)}, **changes)
    with pytest.raises(DataError, match=where):
        import_leaf(tmp_path / "leaf", tmp_path / "out", LeafImport(num_sites=1))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[]", r"a\.json: no 'users': not a file of LEAF's"),
        ('{"users": [', r"a\.json: not JSON: .*char 11"),
        ('{"users": [], "users": []}', "the key 'users' is there twice"),
        ('{"users": [], "num_samples": [], "user_data": {}}', "no user has a picture"),
    ],
)
def test_what_is_not_leafs_is_refused(tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=where):
        import_leaf(tmp_path, tmp_path / "out", LeafImport(num_sites=1))


def test_a_user_in_two_files_is_refused(tmp_path: Path) -> None:
    leaf(tmp_path / "leaf", {"a": user(0, 2)}, "1.json")
    leaf(tmp_path / "leaf", {"a": user(0, 2)}, "2.json")
    with pytest.raises(DataError, match=r"2\.json: user 'a' is in 1\.json, too"):
        import_leaf(tmp_path / "leaf", tmp_path / "out", LeafImport(num_sites=1))


def test_pictures_of_another_shape_are_refused(tmp_path: Path) -> None:
    leaf(tmp_path / "leaf", {"a": user(0, 2), "b": user(0, 2, size=9)})
    with pytest.raises(DataError, match=r"user 'b': pictures of shape \(3, 3\); the first user's are \(2, 2\)"):
        import_leaf(tmp_path / "leaf", tmp_path / "out", LeafImport(num_sites=1))


@pytest.mark.parametrize(
    ("how", "where"),
    [
        (LeafImport(partition="zip"), "no partition 'zip'"),
        (LeafImport(test_share=1.0), "--test-share: 1.0 is not between 0 and 1"),
        (LeafImport(num_sites=1, classes=2), "--classes: 2 classes, but a label is 3"),
        (LeafImport(num_sites=2), "1 units cannot be spread over 2 sites"),
        (LeafImport(num_sites=1, test_share=0.1), "site-0 would have no picture held out"),
        (LeafImport(num_sites=1, test_share=0.95), "site-0 would have no picture train"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(tmp_path: Path, how: LeafImport, where: str) -> None:
    leaf(tmp_path / "leaf", {"a": user(0, 4)})
    with pytest.raises(DataError, match=where):
        import_leaf(tmp_path / "leaf", tmp_path / "out", how)


def test_a_wish_that_cannot_be_met_leaves_nothing_behind(tmp_path: Path) -> None:
    leaf(tmp_path / "leaf", {"a": user(0, 10), "b": user(0, 4)})
    shown: list[str] = []
    with pytest.raises(DataError, match="site-b would have no picture held out"):
        import_leaf(tmp_path / "leaf", tmp_path / "out", LeafImport(partition="user"), on_progress=shown.append)
    assert (shown, (tmp_path / "out").exists()) == (["a", "b"], False)  # users that were read, no site
    import_leaf(tmp_path / "leaf", tmp_path / "out", LeafImport(partition="user", test_share=0.25))
    assert set(labels(tmp_path / "out")) == {"site-a", "site-b"}


def test_users_whose_names_are_the_same_for_a_site_are_refused(tmp_path: Path) -> None:
    leaf(tmp_path / "leaf", {"a_1": user(0, 10), "a-1": user(0, 10)})
    with pytest.raises(DataError, match=r"\('site-a-1'\): take --partition equal"):
        import_leaf(tmp_path / "leaf", tmp_path / "out", LeafImport(partition="user"))


def test_a_folder_without_labels_is_no_pictures(tmp_path: Path) -> None:
    write_sites(tmp_path, {"site-0": site()})
    with pytest.raises(DataError, match="holds dataset 'movielens' without labels, not pictures data"):
        open_dataset("pictures", {}, OpenRequest("site-0", 0, 1, 0, tmp_path / "site-0"))


def test_a_folder_is_needed() -> None:
    with pytest.raises(DataError, match="the pictures dataset needs a folder"):
        open_dataset("pictures", {}, OpenRequest("site-0", 0, 1, 0, None))
