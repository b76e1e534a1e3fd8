from __future__ import annotations

from pathlib import Path

import pytest

from fljob_api.exit_codes import ExitCode
from fljob_runtime.messages import AcceptedUpdate, Outcome, Receipt
from fljob_runtime.roles.journal import Journal, JournalError
from fljob_runtime.roles.journal_log import FileLog
from fljob_runtime.rounds.values import (
    CohortChosen,
    Finished,
    ListAccepted,
    Record,
    Rewound,
    RoundCommitted,
    RoundDurable,
    RoundEvaluated,
    TrainerFailed,
    TrainerMended,
)

UPDATE = AcceptedUpdate("a", 1, (Receipt(0, "d0", 8), Receipt(1, "d1", 9)), round=3)
ROUND_ZERO: list[Record] = [
    CohortChosen(0, ("a",), ("a", "b"), "layout"),
    ListAccepted(0, (UPDATE,), (), 10, {}),
    RoundCommitted(0, 0.5, True),
]
ROUND_ONE: list[Record] = [
    CohortChosen(1, ("a", "b"), ("a", "b"), "layout"),
    ListAccepted(1, (UPDATE,), ("b",), 10, {"Loss": 0.123456789012345}, num_bytes=77),
    RoundCommitted(1, 0.25, False),
    RoundEvaluated(1, {"AUC": 0.6}),
]


def written(path: Path, *records: Record, uid: str = "u") -> Path:
    journal = Journal(FileLog(path), uid=uid)
    for record in records:
        journal.append(record)
    journal.close()
    return path


def reopened(path: Path, uid: str = "u") -> Journal:
    journal = Journal(FileLog(path), uid=uid)
    journal.close()
    return journal


def test_commits_come_back_as_they_were(tmp_path: Path) -> None:
    path = written(tmp_path / "j", *ROUND_ZERO, *ROUND_ONE)
    last = reopened(path).history.commits[1]
    assert last.num_bytes == 77
    assert (last.accepted, last.dropped, last.train_metrics, last.metrics, last.durable, last.seconds) == (
        (UPDATE,),
        ("b",),
        {"Loss": 0.123456789012345},
        {"AUC": 0.6},
        False,
        0.25,
    )


def test_a_version_that_became_durable_later_comes_back_so(tmp_path: Path) -> None:
    history = reopened(written(tmp_path / "j", *ROUND_ZERO, *ROUND_ONE, RoundDurable(1))).history
    assert history.durable == [0, 1]


def test_trainers_that_failed_for_good_come_back_as_failed(tmp_path: Path) -> None:
    failures: list[Record] = [TrainerFailed(name, ExitCode.BAD_DATA, "torn") for name in ("a", "b")]
    history = reopened(written(tmp_path / "j", *ROUND_ZERO, *failures, TrainerMended("a"))).history
    assert history.failed == {"b": failures[1]}


def test_the_round_under_way_comes_back(tmp_path: Path) -> None:
    history = reopened(written(tmp_path / "j", *ROUND_ZERO, *ROUND_ONE[:2])).history
    assert history.cohort == ROUND_ONE[0]
    assert history.accepted == ROUND_ONE[1]


def test_rewinds_and_ends_are_read(tmp_path: Path) -> None:
    end = Finished(Outcome.PAUSED, "Suspended", "words", ExitCode.STOPPED, 1)
    history = reopened(written(tmp_path / "j", *ROUND_ZERO, *ROUND_ONE, Rewound(0), end)).history
    assert history.committed == 0


@pytest.mark.parametrize("cut", [1, 7, 20])
def test_a_torn_last_line_is_dropped_and_writing_goes_on(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path / "j", *ROUND_ZERO, *ROUND_ONE)
    path.write_bytes(path.read_bytes()[:-cut])
    written(path, RoundEvaluated(1, {"AUC": 0.7}))
    assert reopened(path).history.commits[1].metrics == {"AUC": 0.7}


def test_damage_in_the_middle_is_an_error_with_the_line(tmp_path: Path) -> None:
    path = written(tmp_path / "j", *ROUND_ZERO)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"rubbish\n", *lines[2:]]))
    with pytest.raises(JournalError, match="line 2: damaged"):
        Journal(FileLog(path), uid="u")


def test_a_missing_line_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "j", *ROUND_ZERO, *ROUND_ONE)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3] + lines[4:]))
    with pytest.raises(JournalError, match="cannot follow"):
        Journal(FileLog(path), uid="u")


def test_another_jobs_journal_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "j", uid="mine")
    with pytest.raises(JournalError, match="belongs to job mine"):
        Journal(FileLog(path), uid="yours")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match=str(tmp_path / "file" / "j")):
        Journal(FileLog(tmp_path / "file" / "j"), uid="u")
