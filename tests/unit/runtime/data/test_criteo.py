"""The Criteo challenge's rows: days, logarithms, categories, and faults by line and column."""

from __future__ import annotations

import lzma
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fljob_runtime.data.criteo import CATEGORIES, COUNTS, CriteoImport, import_criteo
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.store import read_manifest, read_tables

HOW = CriteoImport(test_share=0.2)


def row(number: int) -> str:
    """Return row `number`: I1 is the number, I2 missing, I3 below 0; C1 is even or odd, C2 at times missing."""
    counts = [str(number), "", "-2", *["1"] * 10]
    categories = [f"{number % 2:08x}", "" if number % 3 else "00ff", *(f"{number % n:08x}" for n in range(2, 26))]
    return "\t".join([str(int(number % 4 == 0)), *counts, *categories])


def train_txt(tmp_path: Path, rows: list[str]) -> Path:
    path = tmp_path / "train.txt"
    path.write_text("".join(f"{line}\n" for line in rows), encoding="utf-8")
    return path


def column(out: Path, site: str, name: str) -> list[float]:
    tables = read_tables(out / site, read_manifest(out / site))
    return sorted([*tables.train[name].tolist(), *tables.test[name].tolist()])


def test_the_file_in_seven_parts_is_seven_days(tmp_path: Path) -> None:
    out = tmp_path / "out"
    sites = import_criteo(train_txt(tmp_path, [row(n) for n in range(70)]), out, HOW)
    assert [(name, site.num_train, site.num_test) for name, site in sites.items()] == [
        (f"site-{day}", 8, 2) for day in range(7)
    ]
    assert column(out, "site-2", "i1") == pytest.approx(np.log1p(np.arange(20, 30)))


def test_what_is_missing_or_below_zero_is_the_logarithm_of_one(tmp_path: Path) -> None:
    import_criteo(train_txt(tmp_path, [row(n) for n in range(70)]), tmp_path / "out", HOW)
    assert set(column(tmp_path / "out", "site-0", "i2") + column(tmp_path / "out", "site-0", "i3")) == {0.0}


def test_categories_are_numbered_as_they_appear_what_is_missing_is_one_too(tmp_path: Path) -> None:
    sites = import_criteo(train_txt(tmp_path, [row(n) for n in range(70)]), tmp_path / "out", HOW)
    assert {name: sites["site-0"].ids[name] for name in ("c1", "c2", "c26")} == {"c1": 2, "c2": 2, "c26": 25}
    assert tuple(sites["site-0"].ids) == CATEGORIES
    assert sites["site-0"].features == COUNTS


@pytest.mark.parametrize("negatives", [1.0, 0.5])
def test_categories_are_numbered_over_all_blocks_of_a_file(tmp_path: Path, negatives: float) -> None:
    values = [f"{n * n % 1009:08x}" for n in range(9000)]
    lines = [f"{row(n).rpartition(chr(9))[0]}\t{value}" for n, value in enumerate(values)]  # of 2 MB
    how = replace(HOW, partition="equal", num_sites=1, test_share=0.5, negatives=negatives)
    site = import_criteo(train_txt(tmp_path, lines), tmp_path / "out", how)["site-0"]
    tables = read_tables(tmp_path / "out" / "site-0", site)
    numbers, found = (np.concatenate([part[name] for part in (tables.train, tables.test)]) for name in ("i1", "c26"))
    kept = dict(sorted(zip(np.expm1(numbers).round().astype(int).tolist(), found.tolist(), strict=True)))
    first = {value: place for place, value in enumerate(dict.fromkeys(values[n] for n in kept))}
    assert kept == {n: first[values[n]] for n in kept}
    assert site.ids["c26"] == len(first)


def test_rare_categories_become_one(tmp_path: Path) -> None:
    # c26 is number % 25: of 70 rows 20 values come three times, 5 twice
    sites = import_criteo(train_txt(tmp_path, [row(n) for n in range(70)]), tmp_path / "out", replace(HOW, min_count=3))
    assert sites["site-0"].ids["c26"] == 21
    assert sites["site-0"].ids["c1"] == 2


def test_ids_beyond_the_greatest_index_wrap_around(tmp_path: Path) -> None:
    out = tmp_path / "out"
    sites = import_criteo(train_txt(tmp_path, [row(n) for n in range(70)]), out, replace(HOW, max_index=10))
    assert sites["site-0"].ids["c26"] == 10
    assert max(column(out, "site-0", "c26")) == 9


def test_a_share_of_the_rows_without_a_click_is_kept(tmp_path: Path) -> None:
    source = train_txt(tmp_path, [row(n) for n in range(4000)])
    out = tmp_path / "out"
    import_criteo(source, out, replace(HOW, negatives=0.5))
    labels = np.concatenate([column(out, f"site-{day}", "label") for day in range(7)])
    assert labels.sum() == 1000
    assert 1350 < (labels == 0).sum() < 1650


@pytest.mark.parametrize("partition", ["equal", "dirichlet", "quantity"])
def test_sites_need_not_be_days(tmp_path: Path, partition: str) -> None:
    how = replace(HOW, partition=partition, num_sites=3, alpha=10.0)
    sites = import_criteo(train_txt(tmp_path, [row(n) for n in range(90)]), tmp_path / "out", how)
    assert list(sites) == ["site-0", "site-1", "site-2"]
    assert sum(site.num_train + site.num_test for site in sites.values()) == 90


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        (lambda line: line.replace("\t", ",", 1), r"train\.txt: cannot be read: .*Expected 40 columns, got 39"),
        (lambda line: f"2{line[1:]}", r"train\.txt, line 6, column label: 2: a label is 0 or 1"),
        (lambda line: line.replace("\t5\t", "\tfive\t", 1), r"Row #6: .*invalid value 'five'"),
        (lambda line: f"{line}\textra", r"Expected 40 columns, got 41"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, damage: object, where: str) -> None:
    assert callable(damage)
    lines = [row(n) for n in range(70)]
    with pytest.raises(DataError, match=where):
        import_criteo(train_txt(tmp_path, [*lines[:5], damage(lines[5]), *lines[6:]]), tmp_path / "out", HOW)


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.txt.xz"
    path.write_bytes(lzma.compress("\n".join(row(n) for n in range(70)).encode())[:-40])
    with pytest.raises(DataError, match=r"train\.txt\.xz: cannot be read"):
        import_criteo(path, tmp_path / "out", HOW)


@pytest.mark.parametrize(
    ("how", "where"),
    [
        (replace(HOW, partition="hour"), "no partition 'hour'; there are day, equal, dirichlet, quantity"),
        (replace(HOW, negatives=0.0), r"--negatives: 0\.0 is not in \(0, 1\]"),
        (replace(HOW, test_share=1.0), r"--test-share: 1\.0 is not between 0 and 1"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(tmp_path: Path, how: CriteoImport, where: str) -> None:
    with pytest.raises(DataError, match=where):
        import_criteo(train_txt(tmp_path, [row(n) for n in range(70)]), tmp_path / "out", how)


@pytest.mark.data
def test_every_column_of_real_rows_tells_something(tmp_path: Path) -> None:
    source = Path(os.environ["FLJOB_TEST_DATA"]) / "criteo" / "labelled_pool.txt.xz"
    sites = import_criteo(source, tmp_path, replace(HOW, partition="equal", num_sites=4))
    assert sum(site.num_train + site.num_test for site in sites.values()) == 15_026
    assert min(sites["site-0"].ids.values()) > 1
    labels = [label for name in sites for label in column(tmp_path, name, "label")]
    assert sum(labels) == 3_533
