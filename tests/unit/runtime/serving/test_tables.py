"""Files of examples in each format are the same examples; results come back row by row."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as papq
import pytest

from fljob_runtime.serving.feeds import Feed, FeedError
from fljob_runtime.serving.served import Exported
from fljob_runtime.serving.tables import TableError, read_rows, results, write_rows

FEEDS = (Feed("user", (), 10), Feed("items", (3,), 9, sequence=True))
FILES = {
    "in.csv": "user,items,other\n1,1 2,x\n3,4,y\n",
    "in.jsonl": '{"user": 1, "items": [1, 2]}\n{"user": 3, "items": [4], "other": null}\n',
}


def write_file(folder: Path, name: str) -> Path:
    path = folder / name
    if name.endswith("parquet"):
        papq.write_table(pa.table({"user": [1, 3], "items": [[1, 2], [4]]}), path)
    else:
        path.write_text(FILES[name])
    return path


@pytest.mark.parametrize("name", [*FILES, "in.parquet"])
def test_examples_are_read_from_each_format(tmp_path: Path, name: str) -> None:
    columns = read_rows(write_file(tmp_path, name), FEEDS)
    assert columns["user"].tolist() == [1, 3]
    assert columns["items"].tolist() == [[1, 2, -1], [4, -1, -1]]


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no column price; the file has user, items, other"):
        read_rows(write_file(tmp_path, "in.csv"), (Feed("price"),))


def twice(path: Path, name: str) -> Path:
    """Write columns user, `name`, items of one row."""
    if path.suffix == ".csv":
        path.write_text(f"user,{name},items,other\n1,2,3,4\n")
    else:
        papq.write_table(pa.table([[1], [2], [[3]], [4]], names=["user", name, "items", "other"]), path)
    return path


@pytest.mark.parametrize("name", ["in.csv", "in.parquet"])
def test_a_column_that_is_there_twice_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(TableError, match="cannot be read: column user is there 2 times"):
        read_rows(twice(tmp_path / name, "user"), FEEDS)
    assert read_rows(twice(tmp_path / name, "other"), FEEDS)["user"].tolist() == [1]


@pytest.mark.parametrize("name", ["in.csv", "in.parquet"])
def test_columns_that_a_model_does_not_read_may_be_of_any_type(tmp_path: Path, name: str) -> None:
    if name == "in.csv":
        (tmp_path / name).write_text("user,at\n1,2024-01-01 00:00:00.000000001\n")
    else:
        times = pa.array([1_700_000_000_000_000_001], pa.timestamp("ns"))
        papq.write_table(pa.table({"user": [1], "at": times}), tmp_path / name)
    assert read_rows(tmp_path / name, FEEDS[:1])["user"].tolist() == [1]


def test_a_value_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="column user: id 3 is not from 0 to 2"):
        read_rows(write_file(tmp_path, "in.csv"), (Feed("user", (), 3),))


@pytest.mark.parametrize("name", ["in.xlsx", "in"])
def test_other_formats_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TableError, match="must end in"):
        read_rows(tmp_path / name, FEEDS)


def test_a_next_item_is_told_by_its_best_items(tmp_path: Path) -> None:
    scores = np.array([[0.1, 0.9, 0.5], [3.0, 1.0, 2.0]], np.float32)
    model = Exported({}, FEEDS[:1], "scores", lambda _: scores)
    found = results(model, {"user": np.array([1, 2])}, top=2)
    assert found["items"] == [[1, 2], [0, 2]]
    write_rows(tmp_path / "out.csv", {"items": found["items"]})
    assert (tmp_path / "out.csv").read_text() == '"items"\n"1 2"\n"0 2"\n'


def test_the_best_items_of_many_rows_are_found_a_part_after_the_other() -> None:
    sizes: list[int] = []

    def run(columns: list[np.ndarray]) -> np.ndarray:
        sizes.append(len(columns[0]))
        scores: np.ndarray = -np.abs(columns[0][:, None] - np.arange(10, dtype=np.float32))
        return scores

    model = Exported({}, FEEDS[:1], "scores", run, width=1 << 21)
    found = results(model, {"user": np.array([4, 0, 9])}, top=2)
    assert found == {"items": [[4, 3], [0, 1], [9, 8]], "scores": [[0, -1], [0, -1], [0, -1]]}
    assert sizes == [1, 1, 1]


@pytest.mark.parametrize("target", ["scores", "probability"])
def test_a_row_whose_output_is_not_finite_is_named(target: str) -> None:
    model = Exported({}, FEEDS[:1], target, lambda c: np.where(c[0] == 9, np.nan, c[0])[:, None], width=1 << 21)
    with pytest.raises(FeedError, match="row 2: the model's output is not finite"):
        results(model, {"user": np.array([4, 0, 9])}, top=1)


def test_results_are_lines_of_json(tmp_path: Path) -> None:
    write_rows(tmp_path / "out.jsonl", {"probability": [0.5, 0.25]})
    assert (tmp_path / "out.jsonl").read_text() == '{"probability": 0.5}\n{"probability": 0.25}\n'


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_results_are_written_whole_or_not_at_all(tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"out.{kind}"
    write_rows(out, {"probability": [0.5, 0.25]})
    before = out.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # fails as on a full disk
    try:
        with pytest.raises(TableError, match=rf"out\.{kind} cannot be written: .*File too large"):
            write_rows(out, {"probability": [n / 7 for n in range(100_000)]})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [(path, path.read_bytes()) for path in tmp_path.iterdir()] == [(out, before)]
