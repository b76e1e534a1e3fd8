"""Import of generated raw files beside pyarrow, which alone parses the same files and writes them as Parquet.

    python bench/imports.py [--criteo-rows 500000] [--ratings 1000000] [--repeats 5] [--folder DIR]

Criteo: a label, 13 counts and 26 categories of as many values as Kaggle's file has, seven sites by day. MovieLens:
`ratings.dat` of 6,040 users and 3,706 films, ten sites by zip code. In turn: import and pyarrow in this process, then
both as commands of their own. A ratio is pyarrow's time over ours, so 1 is as fast: of wall time, which is what counts
on an idle machine, and of CPU time, which a busy one changes little. Asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fljob_runtime.data.criteo import CATEGORIES, COUNTS, CriteoImport, import_criteo
from fljob_runtime.data.movielens import import_movielens

USERS, FILMS = 6040, 3706
# Different values of the columns C1 to C26 of Kaggle's train.txt, of 45,840,617 rows
VALUES = (1460, 583, 10_131_227, 2_202_608, 305, 24, 12_517, 633, 3, 93_145, 5683, 8_351_593, 3194)
VALUES += (27, 14_992, 5_461_306, 10, 5652, 2173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572)
CRITEO_TYPES = {"label": pa.int8()} | dict.fromkeys(COUNTS, pa.int64()) | dict.fromkeys(CATEGORIES, pa.string())
RATING_COLUMNS = ("user", "a", "item", "b", "rating", "c", "time")  # a, b, c: nothing between two colons


@dataclass(frozen=True)
class Case:
    """One format. ours, pyarrow: what is timed, of a folder for the output; command: ours as a command."""

    name: str
    rows: int
    ours: Callable[[Path], object]
    pyarrow: Callable[[Path], object]
    command: tuple[str, ...]


def heavy_tailed(rng: np.random.Generator, count: int, rows: int) -> NDArray[np.int64]:
    """Return numbers below `count`, the lower the more often: their logarithm is uniform."""
    return np.minimum(np.exp(rng.random(rows) * np.log(count + 1)).astype(np.int64) - 1, count - 1)


def write_criteo(path: Path, rows: int) -> None:
    """Write a file as Kaggle's: a quarter of the counts and a tenth of some categories are missing."""
    rng = np.random.default_rng(0)
    columns: dict[str, pa.Array] = {"label": pa.array((rng.random(rows) < 0.256).astype(np.int8))}
    for name in COUNTS:
        counts = heavy_tailed(rng, 5000, rows)
        columns[name] = pa.array(counts, mask=rng.random(rows) < 0.25)
    for place, (name, count) in enumerate(zip(CATEGORIES, VALUES, strict=True)):
        values, chosen = np.unique(heavy_tailed(rng, count, rows), return_inverse=True)
        names = [f"{(value + 1) * 2654435761 + place & 0xFFFFFFFF:08x}" for value in values.tolist()]
        columns[name] = pa.array(np.array(names)[chosen], mask=rng.random(rows) < (0.1 if place % 3 == 0 else 0.0))
    how = pa_csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    pa_csv.write_csv(pa.table(columns), path, how)


def write_movielens(folder: Path, rows: int) -> None:
    """Write ratings.dat and users.dat; no user has a film twice."""
    rng = np.random.default_rng(1)
    keys = np.sort(rng.choice(USERS * FILMS, max(rows, USERS) - USERS, replace=False))
    keys = np.union1d(keys, np.arange(USERS) * FILMS + rng.integers(0, FILMS, USERS))  # everybody has one
    users, films, stars = keys // FILMS + 1, keys % FILMS + 1, rng.integers(1, 6, len(keys))
    times = rng.integers(956_703_932, 1_046_454_590, len(keys))
    lines = (f"{u}::{f}::{s}::{t}\n" for u, f, s, t in zip(users, films, stars, times, strict=True))
    (folder / "ratings.dat").write_text("".join(lines), encoding="latin-1")
    people = (f"{user + 1}::F::25::7::{user % 10}{user:04}\n" for user in range(USERS))
    (folder / "users.dat").write_text("".join(people), encoding="latin-1")


def pyarrow_criteo(source: Path, out: Path) -> None:
    """Parse and write the rows as they are."""
    read = pa_csv.ReadOptions(column_names=list(CRITEO_TYPES))
    keep = pa_csv.ConvertOptions(column_types=CRITEO_TYPES, null_values=[""])
    table = pa_csv.read_csv(source, read, pa_csv.ParseOptions(delimiter="\t"), keep)
    pq.write_table(table, out / "rows.parquet", compression="zstd")


def pyarrow_movielens(source: Path, out: Path) -> None:
    """Parse the ratings by single colons, which leaves out what is between two of them, and write them."""
    types = dict.fromkeys(RATING_COLUMNS[::2], pa.int64())
    read = pa_csv.ReadOptions(column_names=list(RATING_COLUMNS))
    keep = pa_csv.ConvertOptions(column_types=types, include_columns=list(types))
    table = pa_csv.read_csv(source / "ratings.dat", read, pa_csv.ParseOptions(delimiter=":"), keep)
    pq.write_table(table, out / "rows.parquet", compression="zstd")


def cases(folder: Path, criteo_rows: int, ratings: int) -> Iterator[Case]:
    """Write the raw files and yield what is to be timed."""
    criteo, movielens = folder / "train.txt", folder / "ml-1m"
    movielens.mkdir(exist_ok=True)
    write_criteo(criteo, criteo_rows)
    yield Case(
        "criteo",
        criteo_rows,
        lambda out: import_criteo(criteo, out, CriteoImport()),
        lambda out: pyarrow_criteo(criteo, out),
        ("criteo", "--source", str(criteo)),
    )
    write_movielens(movielens, ratings)
    yield Case(
        "movielens",
        ratings,
        lambda out: import_movielens(movielens, out),
        lambda out: pyarrow_movielens(movielens, out),
        ("movielens", "--source", str(movielens)),
    )


def timed(case: Case) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Yield what is timed, by name, each of a folder for the output."""
    yield "in process", case.ours
    yield "pyarrow in process", case.pyarrow
    name, _, source = case.command
    ours = [sys.executable, "-m", "fljob_cli", "data", "import", *case.command, "--out"]
    bare = [sys.executable, __file__, "--only", name, source]
    yield "command", lambda out: subprocess.run([*ours, str(out)], check=True, stdout=subprocess.DEVNULL)
    yield "pyarrow command", lambda out: subprocess.run([*bare, str(out)], check=True)


def cpu_seconds() -> float:
    """Return CPU seconds of this process and of the ended ones that it started."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure(case: Case, folder: Path, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Return wall and CPU seconds of each repeat, in turn; the first one of each is not counted."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in timed(case)}
    for number in range(repeats + 1):
        ways = list(timed(case))
        for name, run in ways if number % 2 else reversed(ways):
            out = folder / "out"
            out.mkdir()
            began, cpu = time.perf_counter(), cpu_seconds()
            run(out)
            seconds = time.perf_counter() - began, cpu_seconds() - cpu
            shutil.rmtree(out)
            if number:
                found[name].append(seconds)
    return found


def show(name: str, found: dict[str, list[tuple[float, float]]]) -> dict[str, float]:
    """Print a line for each way and return the ratios."""
    medians = {way: [statistics.median(column) for column in zip(*times, strict=True)] for way, times in found.items()}
    ratios = {}
    for way in ("in process", "command"):
        ours, bare = medians[way], medians[f"pyarrow {way}"]
        ratios[way], ratios[f"{way}, CPU"] = bare[0] / ours[0], bare[1] / ours[1]
        print(
            f"{name:<10} {way:<11} {ours[0]:7.2f} s   pyarrow {bare[0]:7.2f} s   ratio {bare[0] / ours[0]:.2f}   "
            f"CPU {ours[1]:6.2f} s   pyarrow {bare[1]:6.2f} s   ratio {bare[1] / ours[1]:.2f}"
        )
    return ratios


def main() -> None:
    """Print a table and a JSON line."""
    if sys.argv[1:2] == ["--only"]:  # the peer as a process of its own
        name, source, out = sys.argv[2:]
        {"criteo": pyarrow_criteo, "movielens": pyarrow_movielens}[name](Path(source), Path(out))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("criteo-rows", 500_000), ("ratings", 1_000_000), ("repeats", 5)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--folder", type=Path, help="for scratch; else one of the system's")
    chosen = parser.parse_args()
    report: dict[str, object] = {}
    with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
        for case in cases(Path(scratch), chosen.criteo_rows, chosen.ratings):
            found = measure(case, Path(scratch), chosen.repeats)
            report[case.name] = {"rows": case.rows, "seconds": found, "ratios": show(case.name, found)}
    print(json.dumps({"cores": os.cpu_count(), "pyarrow": pa.__version__, **report}))


if __name__ == "__main__":
    main()
