"""Files of sessions: what each kind says, and faults by line and column."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from fljob_runtime.data.errors import DataError
from fljob_runtime.data.session_files import Sessions, read_sessions

CLICKS = (
    "7,2014-04-07T00:00:10.500Z,30,0\n"
    "5,2014-04-07T00:00:02.000Z,20,S\n"
    "5,2014-04-07T00:00:01.000Z,10,0\n"
    "6,2014-04-07T00:00:05.000Z,20,12345678\n"
)
EVENTS = "SessionId\tItemId\tTime\n7\t30\t10.5\n5\t20\t2\n5\t10\t1\n6\t20\t5\n"


def written(tmp_path: Path, text: str, name: str = "sessions.txt") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def lists(sessions: Sessions) -> list[list[int]]:
    return [sessions.items[a:b].tolist() for a, b in zip(sessions.starts[:-1], sessions.starts[1:], strict=True)]


@pytest.mark.parametrize(("text", "start"), [(CLICKS, 1_396_828_800.0), (EVENTS, 0.0)])
def test_events_are_put_in_the_order_of_time_and_sessions_by_their_ends(
    tmp_path: Path, text: str, start: float
) -> None:
    sessions = read_sessions(written(tmp_path, text))
    assert lists(sessions) == [[10, 20], [20], [30]]
    assert sessions.ends is not None
    assert (sessions.ends - start).tolist() == [2.0, 5.0, 10.5]


def test_a_session_ends_with_the_last_item_it_has_left(tmp_path: Path) -> None:
    text = "SessionId\tItemId\tTime\n1\t10\t1\n1\t20\t2\n1\t30\t9\n2\t10\t4\n2\t20\t5\n3\t30\t6\n3\t10\t7\n"
    sessions = read_sessions(written(tmp_path, text))
    assert lists(sessions) == [[10, 20], [30, 10], [10, 20, 30]]
    left = sessions.without(sessions.items == 30)
    assert lists(left) == [[10, 20], [10, 20]]
    assert left.ends is not None
    assert left.ends.tolist() == [2.0, 5.0]  # the first one was the last before


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    assert lists(read_sessions(written(tmp_path, "Time\tX\tItemId\tSessionId\n2\ta\t9\t1\n1\tb\t8\t1\n"))) == [[8, 9]]


def test_a_line_can_be_a_session(tmp_path: Path) -> None:
    sessions = read_sessions(written(tmp_path, "3 1 3 \n\n2 4\n"))
    assert lists(sessions) == [[3, 1, 3], [2, 4]]
    assert sessions.ends is None


def test_prefixes_of_one_session_are_that_session_once(tmp_path: Path) -> None:
    pairs = "1 2 3\t4\n1 2\t3\n1\t2\n1\t2\n5 6\t7\n"
    assert lists(read_sessions(written(tmp_path, pairs))) == [[1, 2, 3, 4], [1, 2], [5, 6, 7]]


def test_compressed_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "sessions.xz"
    path.write_bytes(lzma.compress(b"1 2\n3 4\n"))
    assert lists(read_sessions(path)) == [[1, 2], [3, 4]]


@pytest.mark.parametrize("text", [b"1 2\n" * 5000, CLICKS.encode() * 500])
def test_a_truncated_archive_is_an_error(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "sessions.xz"
    whole = lzma.compress(text)
    path.write_bytes(whole[: len(whole) - 20])
    with pytest.raises(DataError, match=r"sessions\.xz: cannot be read"):
        read_sessions(path)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("1 2\n3 x 4\n", r"sessions\.txt, line 2, column 2: 'x' is not the number of an item"),
        ("1 2\n3 -4\n", r"line 2, column 2: '-4' is not the number"),
        (f"1 2\n3 {1 << 63}\n", r"line 2, column 2: '9223372036854775808' is not"),
        ("1 2\t3\n1\t\n", r"line 2, column 2: '' is not the number"),
        (CLICKS.replace(",20,S", ",x,S"), r"column #2: .*Row #2: .*invalid value 'x'"),
        (CLICKS.replace("00:00:02.000Z", "noon"), r"column #1: .*Row #2: .*invalid value '2014-04-07Tnoon'"),
        (CLICKS.replace(",20,S", ",,S"), r"sessions\.txt, line 2, column ItemId: the value is missing"),
        (EVENTS.replace("\t20\t", "\t\t"), r"sessions\.txt, line 3, column ItemId: the value is missing"),
        (CLICKS.replace(",20,S", ",20"), r"Row #2: Expected 4 columns, got 3"),
        (EVENTS.replace("Time", "When"), r"column Time: no such column; there are \['SessionId', 'ItemId', 'When'\]"),
        (EVENTS.replace("\t1\n", "\tx\n"), r"Row #4: .*invalid value 'x'"),
        (EVENTS.replace("\t1\n", "\tnan\n"), r"column Time: nan: a time is a finite number"),
        ("SessionId\tItemId\tTime\n", r"sessions\.txt: no rows|Empty CSV"),
        ("", r"line 1: is empty"),
        ("\x80\x03]q", r"sessions\.txt, line 1, column 1: .* is not the number"),
    ],
)
def test_a_fault_is_named_by_file_line_and_column(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(DataError, match=where):
        read_sessions(written(tmp_path, text))


def test_a_number_of_more_digits_than_python_reads_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sessions\.txt, line 2, column 2: '9{5000}' is not the number of an item"):
        read_sessions(written(tmp_path, f"1 2\n3 {'9' * 5000}\n"))


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "test.txt"
    path.write_bytes(b"\x80\x04\x95")
    with pytest.raises(DataError, match="is a pickle, which is not read"):
        read_sessions(path)
