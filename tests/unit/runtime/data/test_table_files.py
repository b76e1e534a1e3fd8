"""Tables as somebody has them: ids as they are spelled, folders of several files, and what is no table by its name."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fljob_runtime.data.errors import DataError
from fljob_runtime.data.pipes import Pipe
from fljob_runtime.data.table_files import SourceTable, read_file, read_source


def table(values: object) -> SourceTable:
    """Return a table of one column, `id`, as if it were of a file t."""
    whole = pa.table({"id": values})
    return SourceTable("t", whole, (("t", whole.num_rows),))


def ids(source: SourceTable, name: str = "id") -> tuple[list[int], int]:
    numbers, count = source.ids(name)
    return numbers.tolist(), count


def csv(path: Path, rows: list[str], header: str = "id,price") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def parquet(path: Path, values: object) -> Path:
    pq.write_table(pa.table({"id": values, "price": [0.5] * len(values)}), path)  # type: ignore[arg-type]
    return path


def categories(codes: list[int | None], values: list[str | None]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), values)


def test_ids_are_numbered_by_their_first_appearance_over_all_chunks() -> None:
    assert ids(table(pa.chunked_array([["b", "a"], ["c", "a", "b"]]))) == ([0, 1, 2, 1, 0], 3)


def test_a_dictionarys_order_and_what_it_has_beside_do_not_matter() -> None:
    source = table(categories([2, 1, 2, 3, 1], ["unused", "a", "b", "a"]))
    assert ids(source) == ([0, 1, 0, 1, 1], 2)
    assert source.spellings("id") == ["b", "a"]


@pytest.mark.parametrize(("codes", "values"), [([0, None], ["a"]), ([0, 1], ["a", None])])
def test_a_missing_value_of_a_dictionary_is_named(codes: list[int | None], values: list[str | None]) -> None:
    with pytest.raises(DataError, match=r"t, line 2, column id: None: the value is missing"):
        table(categories(codes, values)).ids("id")


def test_files_with_dictionaries_stand_beside_files_with_text(tmp_path: Path) -> None:
    csv(tmp_path / "a.csv", ["x,1", "y,2"])
    parquet(tmp_path / "b.parquet", categories([1, 0, 1], ["x", "z"]))
    assert ids(read_source(tmp_path, ["id"], ["price"])) == ([0, 1, 2, 0, 2], 3)


@pytest.mark.parametrize("values", [[[1], [2]], [{"a": 1}, {"a": 2}]], ids=["lists", "structs"])
def test_what_cannot_be_an_id_is_named_by_file_and_column(tmp_path: Path, values: list[object]) -> None:
    path = parquet(tmp_path / "a.parquet", values)
    with pytest.raises(
        DataError, match=r"a\.parquet, column id: type (list|struct)<.*>; ids are whole numbers or text"
    ):
        read_source(path, ["id"], ["price"]).ids("id")


def test_bytes_that_are_no_text_have_no_spelling(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", pa.array(["Zürich".encode("latin-1")] * 2))
    with pytest.raises(DataError, match=r"a\.parquet, column id: type binary does not become string"):
        read_source(path, ["id"], ["price"]).spellings("id")


@pytest.mark.parametrize(
    "spelled", [["007", "7"], ["0x1f", "31"], ["NA", "null"], ["+1", "1"], [str(1 << 64), "1"], ["true", "True"]]
)
def test_ids_of_csv_are_as_they_are_spelled(tmp_path: Path, spelled: list[str]) -> None:
    source = read_source(csv(tmp_path / "a.csv", [f"{text},1" for text in spelled]), ["id"], ["price"])
    assert source.spellings("id") == spelled
    assert ids(source) == ([0, 1], 2)


@pytest.mark.parametrize("rows", [["u1,1", ",2"], ["7,1", ",2"], ["u1,1", '"",2']], ids=["text", "number", "quoted"])
def test_an_empty_id_is_missing(tmp_path: Path, rows: list[str]) -> None:
    with pytest.raises(DataError, match=r"a\.csv, line 2, column id: None: the value is missing"):
        read_source(csv(tmp_path / "a.csv", rows), ["id"], ["price"])


def test_decimal_numbers_are_no_ids(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv, column id: type double; ids are whole numbers or text"):
        read_source(csv(tmp_path / "a.csv", ["1.0,1", "2.5,2"]), ["id"], ["price"])


def test_files_of_one_folder_may_have_numbers_and_text_which_are_text_then(tmp_path: Path) -> None:
    csv(tmp_path / "a.csv", ["7,1", "8,1"])
    csv(tmp_path / "b.csv", ["u1,1", "007,1", "7,1"])
    source = read_source(tmp_path, ["id"], ["price"])
    assert source.spellings("id") == ["7", "8", "u1", "007"]
    assert ids(source) == ([0, 1, 2, 3, 0], 4)


@pytest.mark.parametrize("kind", [pa.int64(), pa.int32(), pa.uint8()])
def test_numbers_of_csv_are_those_of_parquet_beside_it(tmp_path: Path, kind: pa.DataType) -> None:
    csv(tmp_path / "a.csv", ["7,1", "0,1"])
    parquet(tmp_path / "b.parquet", pa.array([8, 7], kind))
    assert ids(read_source(tmp_path, ["id"], ["price"])) == ([0, 1, 2, 0], 3)


@pytest.mark.parametrize("text", ["007", "u1", "-0", " 7"])
def test_another_spelling_beside_numbers_of_parquet_is_named(tmp_path: Path, text: str) -> None:
    csv(tmp_path / "a.csv", ["7,1", f"{text},1"])
    parquet(tmp_path / "b.parquet", [8, 7])
    with pytest.raises(DataError, match=rf"a\.csv, line 2, column id: '{text}': not a whole number"):
        read_source(tmp_path, ["id"], ["price"])


def test_a_number_too_great_for_parquet_beside_it_is_named(tmp_path: Path) -> None:
    csv(tmp_path / "a.csv", [f"{1 << 64},1"])
    parquet(tmp_path / "b.parquet", [8, 7])
    with pytest.raises(DataError, match=r"a\.csv, column id: type string does not become int64"):
        read_source(tmp_path, ["id"], ["price"])


def test_ids_that_are_numbered_already_are_numbers(tmp_path: Path) -> None:
    source = read_file(csv(tmp_path / "a.csv", ["007,1", "3,1"]), ["id"], ["price"])
    assert source.ids_below("id", 10).tolist() == [7, 3]


def test_a_file_without_rows_has_no_ids_and_no_numbers(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": pa.nulls(0), "price": pa.nulls(0)}), tmp_path / "b.parquet")
    for path in (csv(tmp_path / "a.csv", []), tmp_path / "b.parquet"):
        source = read_file(path, ["id"], ["price"])
        assert (source.ids_below("id", 10).dtype.name, source.ids_below("id", 10).size) == ("int64", 0)
        assert source.numbers("price").size == 0


@pytest.mark.parametrize("wanted", ["id", "price"])
def test_a_column_that_is_there_twice_is_named(tmp_path: Path, wanted: str) -> None:
    path = csv(tmp_path / "a.csv", ["1,2,3,4"], f"id,{wanted},price,other")
    with pytest.raises(DataError, match=rf"a\.csv, column {wanted}: is there 2 times"):
        read_source(path, ["id"], ["price"])
    assert read_source(csv(path, ["1,2,3,4"], "id,other,price,other"), ["id"], ["price"]).num_rows == 1


@pytest.mark.parametrize("name", ["b.csv.gz", "c.CSV", "README"])
def test_a_file_of_a_folder_that_is_not_read_is_named(tmp_path: Path, name: str) -> None:
    csv(tmp_path / "a.csv", ["7,1"])
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=rf"{name}: is not read, as its name does not end in \.csv, \.tsv, \.parquet"):
        read_source(tmp_path, ["id"], ["price"])


def test_hidden_files_and_marks_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    csv(tmp_path / "a.csv", ["7,1"])
    for name in ("_SUCCESS", ".DS_Store", "._a.csv"):
        (tmp_path / name).write_bytes(b"\x00\x05")
    assert read_source(tmp_path, ["id"], ["price"]).num_rows == 1


def test_marks_of_other_programs_are_not_given_to_a_command(tmp_path: Path) -> None:
    csv(tmp_path / "part-0", ["7,1"])
    (tmp_path / "_SUCCESS").touch()
    assert read_source(tmp_path, ["id"], ["price"], Pipe(("cat",))).num_rows == 1


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("id,price\nBern,1\nZürich,1\n", r"a\.csv: cannot be read: .*invalid UTF8"),
        ("größe,id,price\n1,2,3\n", r"a\.csv: cannot be read: .*utf-8"),
    ],
    ids=["a value", "a header"],
)
def test_what_is_not_utf_8_is_named(tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=where):
        read_source(tmp_path / "a.csv", ["id"], ["price"])
