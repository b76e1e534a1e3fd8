"""The quick way to read whole numbers says the same as the slow one, or nothing."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest

from fljob_runtime.data.whole_numbers import plain_columns


def rows(tmp_path: Path, text: str, separator: str | None, count: int = 3) -> list[list[int]] | None:
    (tmp_path / "numbers").write_text(text, encoding="latin-1")
    found = plain_columns(tmp_path / "numbers", separator, count)
    return None if found is None else np.stack(found, 1).tolist()


@pytest.mark.parametrize("separator", ["\t", "|"])
def test_the_first_columns_are_read_and_the_others_passed_over(tmp_path: Path, separator: str) -> None:
    text = "1::-20::3::any\n\n4::5::6::thing\n".replace("::", separator)
    assert rows(tmp_path, text, separator) == [[1, -20, 3], [4, 5, 6]]


def test_pairs_separate_wherever_a_file_is_cut_into_blocks(tmp_path: Path) -> None:
    wanted = [[number, number % 7, 3] for number in range(300_000)]  # more than 3 MiB
    lines = [f"{first}::{second}::{third}\n" for first, second, third in wanted]
    assert rows(tmp_path, "".join(lines), "::") == wanted
    lines[150_000] = lines[150_000].replace("::", ":0:", 1)
    assert rows(tmp_path, "".join(lines), "::") is None


def test_tabs_are_what_usually_separates_where_any_space_may(tmp_path: Path) -> None:
    assert rows(tmp_path, "1\t2\t3\r\n4\t5\t6", None) == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("compressed", [lzma.compress, gzip.compress])
def test_compressed_files_are_read(tmp_path: Path, compressed: object) -> None:
    assert callable(compressed)
    path = tmp_path / ("numbers.xz" if compressed is lzma.compress else "numbers.gz")
    path.write_bytes(compressed(b"1\t2\n3\t4\n"))
    found = plain_columns(path, "\t", 2)
    assert found is not None
    assert [column.to_pylist() for column in found] == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1::2\n",
        "1::2::3\n1::2\n",
        "1::2::\n",
        "1::2::0x1f\n",
        "1::2::NA\n",
        '1::2::"3"\n',
        "1::2::3.0\n",
        "1:7:2::3\n",
        "1:7:2::3\n1::2:::\n",
        "1::2::3::4\n",
        "\xef\xbb\xbf1::2::3\n",
        f"1::2::{1 << 63}\n",
        "1::2::3\n  \n",
    ],
)
def test_anything_unusual_is_left_to_the_slow_way(tmp_path: Path, text: str) -> None:
    assert rows(tmp_path, text, "::") is None


def test_a_truncated_archive_is_left_to_the_slow_way(tmp_path: Path) -> None:
    whole = lzma.compress(b"1\t2\n" * 1000)
    (tmp_path / "numbers.xz").write_bytes(whole[:-20])
    assert plain_columns(tmp_path / "numbers.xz", "\t", 2) is None
