"""The dataset `files`: shares of a list of files, readers, and a command that only its user allows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fljob_runtime import registry
from fljob_runtime.data.datasets import OpenRequest, open_dataset
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.examples import SiteData
from fljob_runtime.data.files import share
from fljob_runtime.registry import RegistryError

PARAMETERS = {"label": "click", "ids": "user=100, item=50", "numbers": "price", "testShare": "0.2"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write ten files of ten rows each; the price is the number of the row."""
    for part in range(10):
        rows = [f"{n % 2},{n % 100},{n % 50},{n}" for n in range(part * 10, part * 10 + 10)]
        (tmp_path / f"part-{part}.csv").write_text("\n".join(["click,user,item,price", *rows, ""]), encoding="utf-8")
    return tmp_path


def opened(folder: Path, index: int = 0, sites: int = 1, *, allow_pipe: bool = False, **changes: Any) -> SiteData:
    registry.load()
    request = OpenRequest(f"site-{index}", index, sites, 3, folder, allow_pipe)
    return open_dataset("files", PARAMETERS | changes, request)


def prices(data: SiteData) -> list[float]:
    both = (data.epoch(np.random.default_rng(0)), data.held_out().examples)
    return sorted(np.concatenate([part.columns["price"] for part in both]).tolist())


@given(items=st.lists(st.integers(), max_size=30, unique=True), count=st.integers(1, 8))
def test_shares_together_are_the_whole_and_have_nothing_in_common(items: list[int], count: int) -> None:
    shares = [share(items, index, count) for index in range(count)]
    assert sorted(item for part in shares for item in part) == sorted(items)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("reader", ["Memory", "Queue"])
def test_sites_with_the_same_files_read_each_row_once(folder: Path, reader: str) -> None:
    sites = [opened(folder, index, 3, split="true", reader=reader) for index in range(3)]
    assert [site.num_samples for site in sites] == [32, 24, 24]
    assert sorted(price for site in sites for price in prices(site)) == list(range(100))


def test_only_files_of_the_name_are_read(folder: Path) -> None:
    (folder / "README").write_text("not a table", encoding="utf-8")
    assert prices(opened(folder, files="part-[01].csv")) == list(range(20))


def test_marks_of_other_programs_are_left_alone_unless_they_are_named(folder: Path) -> None:
    (folder / "_SUCCESS").touch()
    assert prices(opened(folder)) == list(range(100))
    with pytest.raises(DataError, match="_SUCCESS: cannot tell what it is"):
        opened(folder, files="_*")


def test_a_file_without_rows_is_no_fault_beside_others(folder: Path) -> None:
    (folder / "part-5.csv").write_text("click,user,item,price\n", encoding="utf-8")
    assert len(prices(opened(folder))) == 90


def test_a_manifests_command_is_not_run_unless_its_user_allows_it(folder: Path) -> None:
    with pytest.raises(
        DataError, match=r"parameters\.pipe: a manifest may not run commands: `fljob train --allow-pipe`"
    ):
        opened(folder, pipe=f"touch {folder / 'ran'}")
    assert not (folder / "ran").exists()


def test_a_command_that_is_allowed_makes_the_rows(folder: Path) -> None:
    (folder / "half.py").write_text("import sys; sys.stdout.writelines(list(sys.stdin)[:6])", encoding="utf-8")
    data = opened(folder, files="part-*", pipe=f"{sys.executable} {folder / 'half.py'}", allow_pipe=True)
    assert prices(data) == [part * 10 + row for part in range(10) for row in range(5)]


def test_what_a_command_makes_is_held_against_the_same_schema(folder: Path) -> None:
    text = "click,user,item,price\\n" + "1,2,3,4\\n" * 4 + "1,700,3,4\\n"
    with pytest.raises(
        DataError, match=r"part-0\.csv \| printf .*, line 5, column user: 700: the id is not in 0\.\.99"
    ):
        opened(folder, pipe=f"printf '{text}'", allow_pipe=True)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"files": "*.tsv"}, r"no file '\*\.tsv' for site-0"),
        ({"files": "../*"}, "leaves the site's folder"),
        ({"ids": "user"}, r"parameters\.ids: 'user': write each column once"),
        ({"ids": "user=9,user=9"}, r"parameters\.ids: 'user=9'"),
        ({"ids": "user=20"}, r"part-2\.csv, line 1, column user: 20: the id is not in 0\.\.19"),
        ({"numbers": "cost"}, r"part-0\.csv, column cost: no such column"),
    ],
)
def test_what_does_not_fit_is_named(folder: Path, changes: dict[str, Any], where: str) -> None:
    with pytest.raises(DataError, match=where):
        opened(folder, **changes)


def test_more_sites_than_files_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="for site-11; 10 files are shared by 12 sites"):
        opened(folder, 11, 12, split="true")


def test_unknown_readers_are_refused(folder: Path) -> None:
    with pytest.raises(RegistryError, match="reader"):
        opened(folder, reader="Disk")
