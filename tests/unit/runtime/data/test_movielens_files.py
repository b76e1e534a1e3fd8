"""Reading MovieLens: numbering, the held-out item, negatives, and every refusal with file, line and column."""

from __future__ import annotations

import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from unit.runtime.data.movielens_folders import RATINGS, USERS, write_ml1m, write_ml100k, write_ncf

from fljob_runtime.data import movielens_files
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.movielens_files import NUM_NEGATIVES, draw_negatives, read_source


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
        (RATINGS + "1::30::1::1\n", r"ratings\.dat, line 1, column item: user 1 has item 30 twice, here first"),
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
        (USERS.replace("2::M", "²::M"), r"users\.dat, line 2: expected user"),
        (USERS.replace("2::M", "9" * 5000 + "::M"), r"users\.dat, line 2, column user: not a whole number"),
        (USERS.replace("02139", "*2139"), r"users\.dat, line 2, column zip code: '\*2139' begins with neither"),
    ],
    ids=["four parts", "no zip code", "superscript", "digits", "odd zip code"],
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
        ("ncf/ml-1m.test.negative", "\t50\t", "\tx\t", r"negative, line 1, column 49: not a whole number"),
        ("ncf/ml-1m.test.negative", "\t50\t", "\t-5\t", r"line 1, column 49: item -5 is not in 0\.\.1048575"),
        ("ncf/ml-1m.test.negative", "\t50\t", f"\t{10**12}\t", r"line 1, column 49: item 10{12} is not in 0\.\."),
        ("ncf/ml-1m.test.negative", "\t50\t", f"\t{10**20}\t", r"line 1, column 49: does not fit 64 bits"),
        ("ncf/ml-1m.test.rating", "1\t3\t4", "2\t3\t4", r"test\.rating, line 2, column user: users are not 0, 1, 2"),
        ("ncf/ml-1m.test.rating", "1\t3\t4", "1\t-3\t4", r"test\.rating, line 2, column item: item -3 is not in 0\.\."),
        ("ncf/ml-1m.train.rating", "1\t0\t3", "2\t0\t3", r"rating, line 3, column user: user 2 is not in 0\.\.1:"),
        ("ncf/ml-1m.train.rating", "1\t0\t3", "-1\t0\t3", r"rating, line 3, column user: user -1 is not in"),
        ("ncf/ml-1m.train.rating", "1\t0\t3", "\n1\t-2\t3", r"rating, line 4, column item: item -2 is not in"),
        ("ncf/ml-1m.train.rating", "1\t0\t3", f"1\t{10**12}\t3", r"line 3, column item: item 10{12} is not in"),
        ("ncf/ml-1m.train.rating", "1\t0\t3", "1\t3\t3", r"rating, line 3, column item: user 1 has item 3 twice"),
        ("ml-1m/users.dat", "2::M::56::16::02139\n", "", r"users\.dat: 1 users; the test file has 2"),
        ("ml-1m/users.dat", "2::M::56", "7::M::56", r"users\.dat: no line for user 2: users 0, 1, … of"),
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


def write_lists(folder: Path, train: str = "0 7 5\n3 5\n", test: str = "0 6 9\n3 7\n") -> Path:
    """Write LightGCN's files: user 0 has items 7, 5, 6 and 9, user 3 items 5 and 7."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.txt").write_text(train, encoding="latin-1")
    (folder / "test.txt").write_text(test, encoding="latin-1")
    return folder


def test_the_last_item_of_a_users_test_line_is_held_out_and_the_others_train(tmp_path: Path) -> None:
    data = read_source(write_lists(tmp_path), seed=0)
    # users 0 and 3 are 0 and 1; items 5, 6, 7 and 9 are 0 to 3
    assert data.test_items.tolist() == [3, 2]
    assert list(zip(data.users.tolist(), data.items.tolist(), strict=True)) == [(0, 2), (0, 0), (1, 0), (0, 1)]
    assert (data.num_users, data.num_items, data.zip_codes) == (2, 4, ())


def test_what_a_user_has_twice_counts_once_and_what_is_held_out_does_not_train(tmp_path: Path) -> None:
    data = read_source(write_lists(tmp_path, train="0 7 9 5 7\n3 5\n"), seed=0)
    assert data.test_items.tolist() == [3, 2]
    assert list(zip(data.users.tolist(), data.items.tolist(), strict=True)) == [(0, 2), (0, 0), (1, 0), (0, 1)]
    assert data.num_repeated == 2


def test_of_lists_negatives_are_drawn(tmp_path: Path) -> None:
    data = read_source(write_lists(tmp_path), seed=0)
    assert [sorted(set(row.tolist()) - {-1}) for row in data.negatives] == [[], [1, 3]]
    assert not data.published_negatives


@pytest.mark.parametrize(
    ("files", "where"),
    [
        ({"train": "0 7\n3 x\n"}, r"train\.txt, line 2, column 2: not a whole number"),
        ({"test": "0 6\n"}, r"test\.txt: no item of user 3, who is in train\.txt"),
        ({"train": "0\n"}, r"train\.txt: is empty"),
    ],
)
def test_malformed_lists_are_refused(tmp_path: Path, files: dict[str, str], where: str) -> None:
    with pytest.raises(DataError, match=where):
        read_source(write_lists(tmp_path, **files), seed=0)


def write_pinterest(folder: Path) -> Path:
    """Write NCF's Pinterest files without negatives: user 0 trains on items 0 and 1, user 1 on 2."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pinterest-20.train.rating").write_text("0\t0\t1\t0\n0\t1\t1\t0\n1\t2\t1\t0\n", encoding="latin-1")
    (folder / "pinterest-20.test.rating").write_text("0\t3\t1\t0\n1\t0\t1\t0\n", encoding="latin-1")
    return folder


def test_ncfs_pinterest_without_its_negatives_draws_them(tmp_path: Path) -> None:
    data = read_source(write_pinterest(tmp_path), seed=0)
    assert (data.test_items.tolist(), data.items.tolist(), data.published_negatives) == ([3, 0], [0, 1, 2], False)
    assert [sorted(set(row.tolist()) - {-1}) for row in data.negatives] == [[2], [1, 3]]


def test_ncfs_pinterest_with_its_negatives_takes_them(tmp_path: Path) -> None:
    folder = write_pinterest(tmp_path / "ncf")
    items = "\t".join(str(item) for item in range(3, 102))
    (folder / "pinterest-20.test.negative").write_text(f"(0,3)\t{items}\n(1,0)\t{items}\n", encoding="latin-1")
    data = read_source(tmp_path, seed=0)
    assert data.negatives[0].tolist() == [-1, *range(4, 102)]
    assert (data.num_items, data.zip_codes, data.published_negatives) == (102, (), True)


def test_a_held_out_item_below_0_is_refused_where_negatives_are_drawn_too(tmp_path: Path) -> None:
    test = write_pinterest(tmp_path) / "pinterest-20.test.rating"
    test.write_text("0\t-5\t1\n1\t0\t1\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"test\.rating, line 1, column item: item -5 is not in 0\.\."):
        read_source(tmp_path, seed=0)


def test_item_ids_go_up_to_ten_times_the_interactions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movielens_files, "_FEW_ITEMS", 20)
    train = write_pinterest(tmp_path) / "pinterest-20.train.rating"  # of 3 interactions; 2 are held out
    train.write_text(train.read_text(encoding="latin-1").replace("1\t2\t", "1\t49\t"), encoding="latin-1")
    assert read_source(tmp_path, seed=0).num_items == 50
    train.write_text(train.read_text(encoding="latin-1").replace("1\t49\t", "1\t50\t"), encoding="latin-1")
    with pytest.raises(DataError, match=r"line 3, column item: item 50 is not in 0\.\.49: items are numbered from 0"):
        read_source(tmp_path, seed=0)


def test_movielens_without_its_published_negatives_is_refused(tmp_path: Path) -> None:
    root = write_ncf(tmp_path)
    (root / "ncf" / "ml-1m.test.negative").unlink()
    with pytest.raises(DataError, match=r"ml-1m\.test\.negative: missing"):
        read_source(root, seed=0)


@pytest.mark.parametrize(("num_items", "most"), [(400, 60), (150, 80), (60, 60)])
def test_negatives_are_different_items_that_a_user_did_not_rate_as_many_as_there_are(num_items: int, most: int) -> None:
    rng, users = np.random.default_rng(0), 40
    rated = [rng.choice(num_items, rng.integers(0, most + 1), replace=False) for _ in range(users)]
    pairs = np.concatenate([np.stack([np.full(len(items), user), items], 1) for user, items in enumerate(rated)])
    pairs = rng.permutation(pairs)
    drawn, num_repeated = draw_negatives(pairs[:, 0], pairs[:, 1], users, num_items, 3)
    assert num_repeated == 0
    for user, items in enumerate(rated):
        got = drawn[user][drawn[user] >= 0]
        assert len(got) == min(99, num_items - len(items)) == len(set(got.tolist()))
        assert not set(got.tolist()) & set(items.tolist())
    twice = np.concatenate([pairs, pairs[:7]])
    again, num_repeated = draw_negatives(twice[:, 0], twice[:, 1], users, num_items, 3)
    assert np.array_equal(drawn, again)
    assert num_repeated == 7
    other, _ = draw_negatives(pairs[:, 0], pairs[:, 1], users, num_items, 4)
    assert np.array_equal(drawn, other) is (num_items < 99)  # there is nothing to choose


def test_every_item_is_a_negative_equally_often() -> None:
    nothing = np.empty(0, np.int64)
    counts = np.bincount(draw_negatives(nothing, nothing, 4000, 400, 0)[0].ravel(), minlength=400)
    expected = 4000 * 99 / 400
    deviation = (expected * (1 - 99 / 400)) ** 0.5
    assert 0.85 < counts.std() / deviation < 1.15
