"""Reading MovieLens: numbering, the held-out item, negatives, and every refusal with file, line and column."""

from __future__ import annotations

import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from unit.runtime.data.movielens_folders import RATINGS, USERS, write_ml1m, write_ml100k, write_ncf

from fljob_runtime.data.errors import DataError
from fljob_runtime.data.movielens_files import NUM_NEGATIVES, read_source


def test_the_latest_rating_is_held_out_and_the_later_line_when_times_tie(tmp_path: Path) -> None:
    data = read_source(write_ml1m(tmp_path), seed=0)
    assert data.test_items.tolist() == [0, 1, 2]
    assert list(zip(data.users.tolist(), data.items.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 2), (2, 3)]


def test_films_are_numbered_by_first_appearance(tmp_path: Path) -> None:
    data = read_source(write_ml1m(tmp_path, ratings="1::900::5::1\n1::7::5::2\n2::7::5::1\n2::8::5::2\n"), seed=0)
    assert data.num_items == 3
    assert (data.items.tolist(), data.test_items.tolist()) == ([0, 1], [1, 2])


def test_drawn_negatives_are_items_the_user_never_rated(tmp_path: Path) -> None:
    data = read_source(write_ml1m(tmp_path), seed=0)
    # user 1 rated all but film 40 (3), user 2 all but 30 and 40 (0, 3), user 3 all but 30 and 10 (0, 1)
    assert [sorted(set(row.tolist()) - {-1}) for row in data.negatives] == [[3], [0, 3], [0, 1]]
    assert not data.published_negatives


def test_drawn_negatives_are_a_function_of_the_seed(tmp_path: Path) -> None:
    films = "".join(f"{user}::{film}::5::{film}\n" for user in (1, 2, 3) for film in range(user * 70, user * 70 + 60))
    folder = write_ml1m(tmp_path, ratings=films)
    first, again, other = (read_source(folder, seed).negatives for seed in (1, 1, 2))
    assert first.shape == (3, NUM_NEGATIVES)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_ml100k_reads_as_the_same_data(tmp_path: Path) -> None:
    data = read_source(write_ml100k(tmp_path / "u"), seed=0)
    same = read_source(write_ml1m(tmp_path / "m"), seed=0)
    assert np.array_equal(data.items, same.items)
    assert data.zip_codes == ("48067", "02139", "V3N4P")


@pytest.mark.parametrize(("write", "folder"), [(write_ml1m, "ml-1m"), (write_ml100k, "ml-100k")])
def test_a_root_with_the_publishers_folder_in_it_will_do(
    tmp_path: Path, write: Callable[[Path], Path], folder: str
) -> None:
    write(tmp_path / folder)
    assert len(read_source(tmp_path, seed=0).users) == 4


def test_compressed_files_are_read(tmp_path: Path) -> None:
    folder = write_ml1m(tmp_path)
    (folder / "ratings.dat").rename(folder / "plain")
    (folder / "ratings.dat.xz").write_bytes(lzma.compress((folder / "plain").read_bytes()))
    assert len(read_source(folder, seed=0).users) == 4


def test_a_published_negative_that_is_the_users_own_test_item_is_dropped(tmp_path: Path) -> None:
    data = read_source(write_ncf(tmp_path), seed=0)
    assert data.published_negatives
    assert data.negatives[0].tolist() == list(range(3, 102))
    assert data.negatives[1].tolist() == [-1, *range(4, 102)]
    assert data.num_items == 102


def test_a_folder_without_movielens_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looked for ratings\.dat and users\.dat .*, u\.data and u\.user .*\.xz"):
        read_source(tmp_path, seed=0)


@pytest.mark.parametrize(
    ("ratings", "where"),
    [
        ("1::30::5\n", r"ratings\.dat, line 1: 3 columns; expected user, item, rating, timestamp"),
        ("1::30::5::1\n1::ten::5::2\n", r"ratings\.dat, line 2, column item: not a whole number"),
        ("1::30::5::--5\n", r"ratings\.dat, line 1, column timestamp: not a whole number"),
        ("1::30::nan::1\n", r"ratings\.dat, line 1, column rating: not a whole number"),
        (f"1::30::5::{1 << 63}\n", r"ratings\.dat, line 1, column timestamp: does not fit 64 bits"),
        ("\n", r"ratings\.dat: is empty"),
        (RATINGS + "1::30::1::1\n", r"ratings\.dat: user 1 has item 30 twice"),
        (RATINGS + "9::30::1::1\n", r"users\.dat: no line for user 9"),
    ],
)
def test_malformed_ratings_are_refused(tmp_path: Path, ratings: str, where: str) -> None:
    with pytest.raises(DataError, match=where):
        read_source(write_ml1m(tmp_path, ratings=ratings), seed=0)


@pytest.mark.parametrize(
    ("users", "where"),
    [
        ("1::F::1::10\n", r"users\.dat, line 1: expected user"),
        (USERS.replace("48067", ""), r"users\.dat, line 1: expected user"),
        (USERS.replace("02139", "*2139"), r"users\.dat, line 2, column zip code: '\*2139' begins with neither"),
    ],
)
def test_malformed_users_are_refused(tmp_path: Path, users: str, where: str) -> None:
    with pytest.raises(DataError, match=where):
        read_source(write_ml1m(tmp_path, users=users), seed=0)


def test_missing_users_are_named(tmp_path: Path) -> None:
    (write_ml1m(tmp_path) / "users.dat").unlink()
    with pytest.raises(DataError, match=r"users\.dat: missing"):
        read_source(tmp_path, seed=0)


def test_a_truncated_compressed_file_is_refused(tmp_path: Path) -> None:
    folder = write_ml1m(tmp_path)
    whole = lzma.compress((folder / "ratings.dat").read_bytes())
    (folder / "ratings.dat").unlink()
    (folder / "ratings.dat.xz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"ratings\.dat\.xz: cannot be read to its end"):
        read_source(folder, seed=0)


@pytest.mark.parametrize(
    ("name", "old", "new", "where"),
    [
        ("ncf/ml-1m.test.negative", "(1,3)", "(1,4)", r"negative, line 2: expected the pair of user 1"),
        ("ncf/ml-1m.test.negative", "\t101\n(1", "\n(1", r"negative, line 1: expected the pair of user 0 and 99 items"),
        ("ncf/ml-1m.test.negative", "\t50\t", "\tx\t", r"negative, line 1: not a whole number"),
        ("ncf/ml-1m.test.negative", "\t50\t", "\t-5\t", r"negative: .*an id below 0"),
        ("ncf/ml-1m.test.rating", "1\t3\t4", "2\t3\t4", r"test\.rating, column user: users are not 0, 1, 2"),
        ("ncf/ml-1m.train.rating", "1\t0\t3", "2\t0\t3", r"train\.rating: a user or item id is out of range"),
        ("ncf/ml-1m.train.rating", "1\t0\t3", "1\t3\t3", r"train\.rating: user 1 has item 3 twice"),
        ("ml-1m/users.dat", "2::M::56::16::02139\n", "", r"users\.dat: 1 users; the test file has 2"),
    ],
)
def test_malformed_ncf_files_are_refused(tmp_path: Path, name: str, old: str, new: str, where: str) -> None:
    path = write_ncf(tmp_path) / name
    text = path.read_text(encoding="latin-1")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="latin-1")
    with pytest.raises(DataError, match=where):
        read_source(tmp_path, seed=0)


def test_a_truncated_file_of_negatives_is_refused(tmp_path: Path) -> None:
    path = write_ncf(tmp_path) / "ncf/ml-1m.test.negative"
    path.write_text(path.read_text(encoding="latin-1").splitlines()[0] + "\n", encoding="latin-1")
    with pytest.raises(DataError, match="fewer than 2 lines"):
        read_source(tmp_path, seed=0)
