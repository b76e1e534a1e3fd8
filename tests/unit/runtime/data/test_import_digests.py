"""Imports give the values they always gave: digests made by the first version, which read line by line.

MovieLens's are of the version that draws negatives many users at a time; all else is as the first one had it. They are
digests of checksums, taken anew when those became XXH3, of values that had the old ones until then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from fljob_runtime.data.criteo import CriteoImport, import_criteo
from fljob_runtime.data.movielens import import_movielens
from fljob_runtime.data.store import SiteManifest
from fljob_runtime.data.tabular import TableImport, import_table

UNEVEN = CriteoImport(partition="dirichlet", num_sites=3, min_count=4, max_index=50, negatives=0.5, seed=2)


def digest(sites: Mapping[str, SiteManifest]) -> str:
    """Return one digest of all columns' values at all sites, whose encoding as Parquet does not matter."""
    told = {name: [dict(site.checksums), dict(site.ids), dict(site.num_site_ids)] for name, site in sites.items()}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def criteo_file(path: Path) -> Path:
    """Write 2,000 rows: numbers and texts by arithmetic, some missing, some below 0."""
    lines = []
    for row in range(2000):
        counts = ["" if (row + n) % 5 == 0 else str(row * n % 97 - 2) for n in range(13)]
        categories = ["" if (row * n) % 11 == 1 else f"{row * row * (n + 3) % (40 * n + 7):08x}" for n in range(26)]
        lines.append("\t".join([str(int(row % 3 == 0)), *counts, *categories]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def movielens_folder(folder: Path) -> Path:
    """Write 60 users' ratings of 300 films, up to 59 each, with equal times among a user's latest."""
    folder.mkdir()
    lines = [
        f"{user + 1}::{(user * 37 + place * 7) % 300 + 1}::{place % 5 + 1}::{900 + (place * 13 + user) % 29}"
        for user in range(60)
        for place in range(2 + user)
    ]
    (folder / "ratings.dat").write_text("\n".join(lines) + "\n", encoding="latin-1")
    people = "".join(f"{user + 1}::M::25::4::{user % 7}0210\n" for user in range(60))
    (folder / "users.dat").write_text(people, encoding="latin-1")
    return folder


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (CriteoImport(), "186794be2da7cda6"),
        (UNEVEN, "22fbae2470d87891"),
    ],
)
def test_criteo(tmp_path: Path, how: CriteoImport, expected: str) -> None:
    assert digest(import_criteo(criteo_file(tmp_path / "train.txt"), tmp_path / "out", how)) == expected


@pytest.mark.parametrize(("partition", "expected"), [("zip", "fbba13f245f9d9d5"), ("equal", "3f6ced8513049026")])
def test_movielens(tmp_path: Path, partition: str, expected: str) -> None:
    source = movielens_folder(tmp_path / "ml-1m")
    assert digest(import_movielens(source, tmp_path / "out", partition=partition, seed=3).sites) == expected


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    rows = [f"{row % 2},u{row * 17 % 101},{row * row % 53},{row / 8}" for row in range(1000)]
    (tmp_path / "clicks.csv").write_text("\n".join(["click,user,item,price", *rows]) + "\n", encoding="utf-8")
    plan = TableImport("click", ("user", "item"), ("price",), partition="quantity", num_sites=4, unit="user", seed=5)
    assert digest(import_table(tmp_path / "clicks.csv", tmp_path / "out", plan)) == "4781aa0eb99de303"
