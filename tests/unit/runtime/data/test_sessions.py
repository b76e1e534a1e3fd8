"""Sessions as sites: the usual preparation by hand, cuts, pieces, partitions, and the published cut of RSC15."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fljob_runtime.data.datasets import OpenRequest, open_dataset
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.examples import epoch_rng
from fljob_runtime.data.session_files import Sessions
from fljob_runtime.data.sessions import SessionImport, import_sessions, padded
from fljob_runtime.data.store import read_manifest, read_tables
from fljob_runtime.schema import PADDING, IdSequence

HOW = SessionImport(num_sites=1, longest=3, min_count=2)
A, B, C, N = 11, 12, 13, 14


def events(tmp_path: Path, sessions: list[tuple[float, list[int]]], name: str = "events.tsv") -> Path:
    """Write sessions (day of the end, items), an item a second."""
    lines = [
        f"{number}\t{item}\t{day * 86_400 - len(items) + at + 1}"
        for number, (day, items) in enumerate(sessions)
        for at, item in enumerate(items)
    ]
    path = tmp_path / name
    path.write_text("\n".join(["SessionId\tItemId\tTime", *lines]) + "\n", encoding="utf-8")
    return path


def lines(tmp_path: Path, sessions: list[list[int]], name: str = "lines.txt") -> Path:
    path = tmp_path / name
    path.write_text("".join(" ".join(map(str, session)) + "\n" for session in sessions), encoding="utf-8")
    return path


def held(out: Path, site: str = "site-0") -> tuple[list[list[int]], list[list[int]]]:
    """Return a site's sessions for training and for the test, without padding."""
    tables = read_tables(out / site, read_manifest(out / site))
    return tuple(  # type: ignore[return-value]
        [[item for item in row if item != PADDING] for row in part["items"].tolist()]
        for part in (tables.train, tables.test)
    )


def test_rare_items_and_short_sessions_go_and_the_last_day_is_the_test(tmp_path: Path) -> None:
    source = events(
        tmp_path,
        [
            (1.0, [A, B, C]),  # C comes once in sessions of two or more
            (0.5, [A, B]),
            (1.5, [B, A]),
            (1.6, [C]),
            (9.0, [A, N, N, B]),  # N is not known from training
            (8.1, [N, N, A]),
            (8.05, [B, B]),
            (7.9, [B, A]),
        ],
    )
    import_sessions(source, tmp_path / "out", HOW)
    assert held(tmp_path / "out") == ([[0, 1], [0, 1], [1, 0], [1, 0]], [[1, 1], [0, 1]])


def test_a_session_that_ends_a_day_before_the_last_one_is_a_test(tmp_path: Path) -> None:
    source = events(tmp_path, [(1.0, [A, B]), (2.0, [B, A]), (3.0, [A, B])])
    import_sessions(source, tmp_path / "out", HOW)
    assert held(tmp_path / "out") == ([[0, 1]], [[1, 0], [0, 1]])


def test_the_last_day_is_that_of_the_items_that_are_left(tmp_path: Path) -> None:
    seconds = [
        (1, A, 0),
        (1, B, 10),
        (2, B, 100),
        (2, A, 110),
        (3, A, 100_000),
        (3, B, 100_010),
        (3, C, 300_000),  # comes once
        (4, A, 150_000),
        (4, B, 150_010),
    ]
    lines = [f"{session}\t{item}\t{time}" for session, item, time in seconds]
    source = tmp_path / "events.tsv"
    source.write_text("\n".join(["SessionId\tItemId\tTime", *lines]) + "\n", encoding="utf-8")
    import_sessions(source, tmp_path / "out", HOW)
    assert held(tmp_path / "out") == ([[0, 1], [1, 0]], [[0, 1], [0, 1]])


@pytest.mark.parametrize(
    ("cut", "train", "test"), [("first-1/3", [[1, 2]], [[1, 2]]), ("last-1/3", [[5, 1]], [[1, 5]])]
)
def test_the_first_are_cut_of_all_sessions_the_last_of_those_for_training(
    tmp_path: Path, cut: str, train: list[list[int]], test: list[list[int]]
) -> None:
    source = events(tmp_path, [(1, [1, 2]), (3, [1, 2]), (4, [5, 1]), (9, [1, 5])])
    sessions = import_sessions(source, tmp_path / "out", replace(HOW, cut=cut, min_count=1))
    numbers = {item: number for number, item in enumerate(dict.fromkeys(train[0]))}
    renumbered = [[[numbers[item] for item in row] for row in rows] for rows in (train, test)]
    assert held(tmp_path / "out") == tuple(renumbered)
    assert f"cut {cut}" in sessions["site-0"].notes


def test_a_given_test_is_taken_as_it_is_but_for_unseen_items(tmp_path: Path) -> None:
    source, test = lines(tmp_path, [[5, 6, 5], [6, 7]]), lines(tmp_path, [[7, 9, 6], [9, 5]], "test.txt")
    import_sessions(source, tmp_path / "out", SessionImport(test=test, num_sites=1))
    assert held(tmp_path / "out") == ([[0, 1, 0], [1, 2]], [[2, 1]])


def test_without_times_the_last_tenth_is_the_test(tmp_path: Path) -> None:
    source = lines(tmp_path, [[1, 2]] * 18 + [[2, 1]] * 2)
    import_sessions(source, tmp_path / "out", SessionImport(num_sites=1))
    assert held(tmp_path / "out") == ([[0, 1]] * 18, [[1, 0]] * 2)


def test_longer_sessions_become_pieces_that_overlap_by_one() -> None:
    sessions = Sessions(np.arange(13), np.array([0, 7, 11, 13]))
    assert padded(sessions, 4).tolist() == [
        [0, 1, 2, 3],
        [3, 4, 5, 6],
        [7, 8, 9, 10],
        [11, 12, PADDING, PADDING],
    ]
    assert padded(Sessions(np.arange(5), np.array([0, 5])), 4).tolist() == [[0, 1, 2, 3], [3, 4, PADDING, PADDING]]


def test_the_numbers_are_in_the_manifest(tmp_path: Path) -> None:
    source, test = lines(tmp_path, [[5, 6, 5, 6], [6, 7]]), lines(tmp_path, [[7, 6]], "test.txt")
    site = import_sessions(source, tmp_path / "out", SessionImport(test=test, num_sites=1, longest=3))["site-0"]
    assert (site.sequences, site.num_train, site.num_test, site.num_classes) == ({"items": (3, 3)}, 3, 1, 0)
    assert site.num_site_ids == {"items": 3}
    assert "2 sessions with 6 clicks on 3 items, test 1 with 2; 1 of more than 3 items are in pieces" in site.notes


def test_a_site_has_days_one_after_another(tmp_path: Path) -> None:
    source = events(tmp_path, [(0.5, [1, 2]), (1.5, [1, 2]), (2.5, [2, 1]), (3.5, [2, 1]), (9, [1, 2]), (9, [2, 1])])
    import_sessions(source, tmp_path / "out", replace(HOW, num_sites=2, partition="day"))
    assert [held(tmp_path / "out", f"site-{n}")[0] for n in (0, 1)] == [[[0, 1], [0, 1]], [[1, 0], [1, 0]]]


@pytest.mark.parametrize(("partition", "even"), [("equal", True), ("quantity", False)])
def test_sites_have_all_sessions_once(tmp_path: Path, partition: str, even: bool) -> None:
    source, test = (
        lines(tmp_path, [[n, 100] for n in range(90)]),
        lines(tmp_path, [[n, 100] for n in range(9)], "t.txt"),
    )
    how = SessionImport(test=test, num_sites=3, partition=partition, alpha=0.5, seed=3)
    sites = import_sessions(source, tmp_path / "out", how)
    trained = [row[0] for name in sites for row in held(tmp_path / "out", name)[0]]
    assert len(set(trained)) == len(trained) == 90
    assert [site.num_test for site in sites.values()] == [3, 3, 3]
    assert ({site.num_train for site in sites.values()} == {30}) is even


def test_the_same_import_again_changes_nothing(tmp_path: Path) -> None:
    source = lines(tmp_path, [[1, 2]] * 40)
    first = import_sessions(source, tmp_path / "out", SessionImport())
    assert import_sessions(source, tmp_path / "out", SessionImport()) == first


def test_an_epoch_has_all_sessions_and_no_labels_to_learn(tmp_path: Path) -> None:
    import_sessions(lines(tmp_path, [[1, 2], [2, 3], [3, 1], [1, 3]]), tmp_path / "out", SessionImport(num_sites=1))
    data = open_dataset("sessions", {}, OpenRequest("site-0", 0, 1, 0, tmp_path / "out/site-0"))
    assert data.schema.sequence("items") == IdSequence(3, 20)
    assert sorted(data.epoch(epoch_rng(0, "site-0", 0)).columns["items"][:, :2].tolist()) == [[0, 1], [1, 2], [2, 0]]
    assert len(data.held_out().examples) == 1


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"partition": "zip"}, r"--partition: no partition 'zip'; there are equal, day, quantity"),
        ({"cut": "1/64"}, r"--cut: '1/64' is neither first-1/N nor last-1/N"),
        ({"longest": 1}, r"--longest: 1: a session has at least 2 items"),
        ({"partition": "day"}, r"--partition day: .*lines\.txt tells no times"),
        ({"num_sites": 30}, r"20 units cannot be spread over 30 sites|units cannot be spread over 30"),
        ({"min_count": 1000}, r"0 training and 0 test sessions are left of 20"),
    ],
)
def test_an_import_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, object], where: str) -> None:
    how = replace(SessionImport(num_sites=1), **changes)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=where):
        import_sessions(lines(tmp_path, [[1, 2]] * 20), tmp_path / "out", how)
    assert not (tmp_path / "out").exists()


def test_fewer_days_than_sites_are_refused(tmp_path: Path) -> None:
    source = events(tmp_path, [(0.5, [1, 2]), (1.5, [1, 2]), (9, [1, 2]), (9, [2, 1]), (9, [2, 1])])
    with pytest.raises(DataError, match="2 days cannot be spread over 3 sites"):
        import_sessions(source, tmp_path / "out", replace(HOW, num_sites=3, partition="day"))


@pytest.mark.data
def test_the_published_cut_of_rsc15_has_its_numbers(tmp_path: Path) -> None:
    folder = Path(os.environ["FLJOB_TEST_DATA"]) / "rsc15" / "yoochoose1_64"
    how = SessionImport(test=folder / "test_pairs.plain.xz")
    sites = import_sessions(folder / "train_sessions.plain.xz", tmp_path, how)
    assert "116,167 sessions with 486,026 clicks on 17,376 items, test 15,233 with 70,633" in sites["site-0"].notes
    rows = [row for name in sites for row in held(tmp_path, name)[0]]
    assert sum(len(row) - 1 for row in rows) == 369_859  # the prefixes that SR-GNN reports


@pytest.mark.data
def test_published_clicks_are_prepared(tmp_path: Path) -> None:
    source = Path(os.environ["FLJOB_TEST_DATA"]) / "rsc15" / "sample_yoochoose_raw.dat"
    sites = import_sessions(source, tmp_path, SessionImport(num_sites=2))
    assert "158 sessions with 515 clicks on 90 items, test 25 with 76" in sites["site-0"].notes
