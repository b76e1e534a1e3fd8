"""Tables of one's own: imported into sites, read back, and every fault named by file, line and column."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fljob_runtime.data.datasets import OpenRequest, open_dataset
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.store import read_manifest, read_tables
from fljob_runtime.data.tabular import TableImport, import_table
from fljob_runtime.registry import load

HEADER = "user,item,shop,price,click"
ROWS = [f"u{n % 5},{n % 3},{'Nord' if n % 2 else 'Süd'},{n}.5,{n % 2}" for n in range(40)]
PLAN = TableImport(label="click", ids=("user", "item"), features=("price",), num_sites=4)


def csv(tmp_path: Path, rows: list[str], name: str = "clicks.csv", header: str = HEADER) -> Path:
    path = tmp_path / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def everything(out: Path) -> list[tuple[int, int, float, float]]:
    """Return (user, item, price, label) of all rows of all sites, training and test."""
    rows = []
    for folder in sorted(out.iterdir()):
        tables = read_tables(folder, read_manifest(folder))
        for columns in (tables.train, tables.test):
            rows += list(zip(*(columns[name].tolist() for name in ("user", "item", "price", "label")), strict=True))
    return sorted(rows)


def test_no_row_is_lost_and_ids_are_numbered_as_they_appear(tmp_path: Path) -> None:
    sites = import_table(csv(tmp_path, ROWS), tmp_path / "out", PLAN)
    assert everything(tmp_path / "out") == sorted((n % 5, n % 3, n + 0.5, float(n % 2)) for n in range(40))
    assert [(s.num_train, s.num_test) for s in sites.values()] == [(9, 1)] * 4
    assert {(s.ids["user"], s.ids["item"]) for s in sites.values()} == {(5, 3)}


def test_a_site_is_a_dataset_whose_columns_a_model_can_read(tmp_path: Path) -> None:
    load()
    import_table(csv(tmp_path, ROWS), tmp_path / "out", PLAN)
    data = open_dataset("tabular", {}, OpenRequest("site-1", 1, 4, 0, tmp_path / "out" / "site-1"))
    epoch = data.epoch(np.random.default_rng(0))
    assert (data.schema.ids, dict(data.schema.features)) == ({"user": 5, "item": 3}, {"price": ()})
    assert (data.num_samples, len(epoch), len(data.held_out().examples)) == (9, 9, 1)
    assert {name: values.dtype.name for name, values in epoch.columns.items()} == {
        "user": "int64",
        "item": "int64",
        "price": "float32",
    }


def test_importing_again_changes_nothing(tmp_path: Path) -> None:
    source = csv(tmp_path, ROWS)
    first = import_table(source, tmp_path / "out", PLAN)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert import_table(source, tmp_path / "out", PLAN) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_another_seed_is_another_split(tmp_path: Path) -> None:
    source = csv(tmp_path, ROWS)
    first, other = (import_table(source, tmp_path / str(n), replace(PLAN, seed=n)) for n in (0, 1))
    assert first["site-0"].digests != other["site-0"].digests


def test_a_columns_values_name_the_sites(tmp_path: Path) -> None:
    plan = replace(PLAN, partition="column", column="shop")
    sites = import_table(csv(tmp_path, ROWS), tmp_path / "out", plan)
    assert {name: site.num_train + site.num_test for name, site in sites.items()} == {"site-sud": 20, "site-nord": 20}


def test_categories_of_pandas_name_the_sites_of_their_own_rows(tmp_path: Path) -> None:
    cells = [row.split(",") for row in ROWS]
    shops = pa.DictionaryArray.from_arrays([2 - n % 2 for n in range(40)], ["Ost", "Nord", "Süd"])
    columns = {"user": [c[0] for c in cells], "item": [int(c[1]) for c in cells], "shop": shops}
    columns |= {"price": [float(c[3]) for c in cells], "click": [float(c[4]) for c in cells]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    plan = replace(PLAN, partition="column", column="shop")
    sites = import_table(tmp_path / "a.parquet", tmp_path / "ours", plan)
    assert sites == import_table(csv(tmp_path, ROWS), tmp_path / "csv", plan)
    assert list(sites) == ["site-sud", "site-nord"]


def test_sites_of_an_older_import_keep_all_others_from_being_written(tmp_path: Path) -> None:
    import_table(csv(tmp_path, ROWS), tmp_path / "out", PLAN)
    for name in ("site-0", "site-2", "site-3"):
        shutil.rmtree(tmp_path / "out" / name)
    with pytest.raises(DataError, match="site-1: exists with other content"):
        import_table(csv(tmp_path, ROWS), tmp_path / "out", replace(PLAN, seed=1))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["site-1"]


def test_a_site_that_is_too_small_leaves_none_written(tmp_path: Path) -> None:
    rows = [*ROWS, "u1,1,West,0.5,1"]
    with pytest.raises(DataError, match=r"site-west: 1 rows cannot be split with --test-share 0\.1"):
        import_table(csv(tmp_path, rows), tmp_path / "out", replace(PLAN, partition="column", column="shop"))
    assert not (tmp_path / "out").exists()


def test_a_column_can_be_read_for_several_things(tmp_path: Path) -> None:
    plan = replace(PLAN, ids=("user", "item", "user"), unit="user", partition="dirichlet", column="item", num_sites=2)
    sites = import_table(csv(tmp_path, ROWS), tmp_path / "out", plan)
    assert sum(site.num_train + site.num_test for site in sites.values()) == 40


def test_rows_of_a_user_stay_together(tmp_path: Path) -> None:
    out = tmp_path / "out"
    import_table(csv(tmp_path, ROWS), out, replace(PLAN, num_sites=2, unit="user"))
    users = [
        {int(user) for columns in (tables.train, tables.test) for user in columns["user"]}
        for tables in (read_tables(out / name, read_manifest(out / name)) for name in ("site-0", "site-1"))
    ]
    assert users[0] | users[1] == set(range(5))
    assert not users[0] & users[1]


@pytest.mark.parametrize("partition", ["dirichlet", "quantity"])
def test_uneven_sites_have_all_rows_too(tmp_path: Path, partition: str) -> None:
    plan = replace(PLAN, num_sites=2, partition=partition, alpha=1.0, test_share=0.2)
    import_table(csv(tmp_path, ROWS), tmp_path / "out", plan)
    assert len(everything(tmp_path / "out")) == 40


def test_a_folder_of_files_of_several_kinds_is_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    csv(folder, ROWS[:20], "a.csv")
    csv(folder, [row.replace(",", "\t") for row in ROWS[20:30]], "b.tsv", HEADER.replace(",", "\t"))
    cells = [row.split(",") for row in ROWS[30:]]
    columns = {
        "user": [c[0] for c in cells],
        "item": [int(c[1]) for c in cells],
        "shop": [c[2] for c in cells],
        "price": [float(c[3]) for c in cells],
        "click": [float(c[4]) for c in cells],
    }
    pq.write_table(pa.table(columns), folder / "c.parquet")
    import_table(folder, tmp_path / "whole", PLAN)
    import_table(csv(tmp_path, ROWS), tmp_path / "one", PLAN)
    assert everything(tmp_path / "whole") == everything(tmp_path / "one")


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("2.5", "cheap", r"clicks\.csv: .*Row #4: .*invalid value 'cheap'"),
        ("2.5", "", r"clicks\.csv, line 3, column price: None: the value is missing"),
        ("2.5", "inf", r"clicks\.csv, line 3, column price: inf: not a finite number"),
        ("2.5", "1e39", r"clicks\.csv, line 3, column price: 1e\+39: not a finite number"),
        ("2.5,0", "2.5,2", r"clicks\.csv, line 3, column click: 2\.0: a label is 0 or 1"),
        ("2.5,0", "2.5", r"clicks\.csv: cannot be read: CSV parse error: .*Expected 5 columns, got 4"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, old: str, new: str, where: str) -> None:
    source = csv(tmp_path, [*ROWS[:2], ROWS[2].replace(old, new), *ROWS[3:]])
    with pytest.raises(DataError, match=where):
        import_table(source, tmp_path / "out", PLAN)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"label": "clicks"}, r"column clicks: no such column; there are \['user', 'item', 'shop', 'price', 'click'\]"),
        ({"ids": ("user", "price")}, r"cannot be both"),
        ({"ids": ("price",), "features": ()}, r"column price: type double; ids are whole numbers or text"),
        ({"ids": ()}, r"--ids: name at least one column"),
        ({"ids": ("label",)}, r"is a name of ours"),
        ({"partition": "zip"}, r"--partition: no partition 'zip'; there are column, equal, dirichlet, quantity"),
        ({"partition": "column"}, r"say with --column which one names the site"),
        (
            {"partition": "column", "column": "shop", "unit": "user"},
            r"--unit: with --partition column the column alone",
        ),
        ({"partition": "column", "column": "price"}, r"ids are whole numbers or text"),
        ({"test_share": 0.0}, r"--test-share: 0\.0 is not between 0 and 1"),
        ({"num_sites": 41}, r"40 units cannot be spread over 41 sites"),
        ({"num_sites": 20, "test_share": 0.01}, r"site-0: 2 rows cannot be split with --test-share 0\.01"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, object], where: str) -> None:
    with pytest.raises(DataError, match=where):
        import_table(csv(tmp_path, ROWS), tmp_path / "out", replace(PLAN, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "text"), [("a.csv", ""), ("a.csv", HEADER + "\n"), ("a.txt", "x"), ("a.parquet", "x")]
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=f"{name}|no rows"):
        import_table(path, tmp_path / "out", PLAN)


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file that ends in \.csv, \.tsv, \.parquet"):
        import_table(tmp_path, tmp_path / "out", PLAN)
