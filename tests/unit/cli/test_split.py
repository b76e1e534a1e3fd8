"""How sites differ, shown: as text, as JSON, as a page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner
from unit.runtime.data.sites import site

from fljob_cli.main import app
from fljob_cli.report import svg
from fljob_cli.report.data import render
from fljob_cli.split import blocks, grouped
from fljob_runtime.data.describe import SiteDescription, describe_folder, label_distance, overlaps
from fljob_runtime.data.overlap import overlap
from fljob_runtime.data.store import SiteTables, write_sites


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_sites(tmp_path / "sites", {"site-0": site(), "site-1": site(train=[(1, 1), (1, 2)])})
    return tmp_path / "sites"


def described(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["data", "describe", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_ids_in_common_are_shown(folder: Path) -> None:
    text = described(str(folder))
    assert "item: 3 ids, by how many of 2 sites have them" in text
    assert re.search(r"^ +2 +1 +33\.3%", text, re.MULTILINE)


def test_another_column_can_be_shown(folder: Path) -> None:
    assert "user: 2 ids" in described(str(folder), "--column", "user")


def test_a_column_that_is_not_there_is_an_error_with_those_that_are(folder: Path) -> None:
    result = CliRunner().invoke(app, ["data", "describe", str(folder), "--column", "itm"])
    assert (result.exit_code, "there are user, item" in str(result.exception)) == (1, True)


def test_json_holds_labels_checksums_and_overlaps(folder: Path) -> None:
    value = json.loads(described(str(folder), "--output", "json"))
    first = value["sites"][0]
    assert (first["label_counts"], first["label_distance"], set(first["checksums"])) == (
        [8, 2],
        0.0,
        {"user", "item", "label", "group"},
    )
    assert value["overlaps"][1] == {"column": "item", "seen_by": [2, 1], "shared": [[2, 1], [1, 2]]}


def test_the_report_is_a_page_that_needs_nothing_from_outside(folder: Path, tmp_path: Path) -> None:
    described(str(folder), "--report", str(tmp_path / "sites.html"))
    page = (tmp_path / "sites.html").read_text()
    assert re.findall(r"<script|<link|<img|https?://|url\(", page) == []
    assert page.count('class="heat"') == 2 * 2 * 2  # columns, sites by sites


def test_the_report_of_many_columns_shows_one(tmp_path: Path) -> None:
    manifest, tables = site()
    ids = dict.fromkeys("abcde", tables.train["item"])
    wide = replace(manifest, ids=dict.fromkeys(ids, 3), num_site_ids=dict.fromkeys(ids, 2))
    held_out = {key: tables.test[key] for key in ("label", "group")} | dict.fromkeys(ids, tables.test["item"])
    write_sites(tmp_path / "wide", {"site-0": (wide, SiteTables(ids, held_out))})
    described(str(tmp_path / "wide"), "--column", "c", "--report", str(tmp_path / "wide.html"))
    assert re.findall(r"<h2>(\w): ", (tmp_path / "wide.html").read_text()) == ["c"]


def test_a_report_that_cannot_be_written_is_an_error(folder: Path) -> None:
    result = CliRunner().invoke(app, ["data", "describe", str(folder), "--report", str(folder)])
    assert "--report" in str(result.exception)


def test_names_of_sites_cannot_inject_markup() -> None:
    manifest, _ = site()
    found = SiteDescription(replace(manifest, site="<b>x</b>"), None, (1, 2))
    assert "<b>x</b>" not in render([found], (0.0,), [overlap("item", [np.array([1])])])


def test_labels_of_classes_are_stacked(folder: Path) -> None:
    sites = describe_folder(folder)
    page = render(sites, label_distance(sites), overlaps(sites))
    assert page.count(", label 1: 2 (20.0%)") == 2


def test_many_sites_are_told_in_groups() -> None:
    assert list(grouped(range(1, 26)))[:2] == [("1-3", 6), ("4-6", 15)]


def test_few_sites_are_told_one_by_one() -> None:
    assert list(grouped((5, 0, 7))) == [("1", 5), ("2", 0), ("3", 7)]


def test_a_count_is_a_block_as_high_as_its_share_of_the_greatest() -> None:
    assert blocks((0, 1, 4, 8)) == "·▁▄█"


def test_a_stack_has_a_piece_for_each_label_that_is_there() -> None:
    assert svg.stacked([("a", (3, 0, 1))], label="l", styles=2).count("<rect") == 2


def test_the_longest_bar_takes_all_its_room() -> None:
    assert re.findall(r'width="([\d.]+)"', svg.named_bars([("a", 2), ("b", 1)], label="l", text=str)) == [
        "450.0",
        "225.0",
    ]


def test_a_heat_map_of_many_names_has_no_numbers() -> None:
    names = [f"s{n}" for n in range(15)]
    assert "%</text>" not in svg.heat(names, [[0.5] * 15] * 15, label="l")
