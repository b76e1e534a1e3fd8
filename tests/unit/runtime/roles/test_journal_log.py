"""The journal in a store that cannot append."""

from __future__ import annotations

from pathlib import Path

import pytest

from fljob_runtime.checkpoints.remote import Patience, Remote
from fljob_runtime.errors import UnreachableError
from fljob_runtime.messages import AcceptedUpdate
from fljob_runtime.roles.journal import Journal, JournalError
from fljob_runtime.roles.journal_log import SegmentLog
from fljob_runtime.rounds.values import CohortChosen, ListAccepted, RoundCommitted
from support.processes import free_port

COHORT = CohortChosen(0, ("a",), ("a", "b"), "layout")
ACCEPTED = ListAccepted(0, (AcceptedUpdate("a", 1, ()),), (), 10, {})
COMMITTED = RoundCommitted(0, 0.5, True)


def opened(root: Path, uid: str = "u") -> Journal:
    return Journal(SegmentLog(Remote(f"file://{root}/store", root / "spool"), "u/journal"), uid=uid)


def files(root: Path) -> list[Path]:
    return sorted((root / "store" / "u" / "journal").iterdir())


def written(root: Path) -> None:
    journal = opened(root)
    for record in (COHORT, ACCEPTED, COMMITTED):
        journal.append(record)
    journal.close()


def test_records_come_back_from_three_files(tmp_path: Path) -> None:
    written(tmp_path)
    assert [path.name for path in files(tmp_path)] == ["00000001.jsonl", "00000002.jsonl", "00000003.jsonl"]
    assert opened(tmp_path).history.committed == 0


def test_records_that_need_not_last_wait_for_one_that_must(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.append(COHORT)
    assert len(files(tmp_path)) == 1
    journal.append(ACCEPTED)
    assert len(files(tmp_path)) == 2
    journal.append(COMMITTED)  # lost with the process: nobody was told anything that depends on it
    history = opened(tmp_path).history
    assert (history.cohort, history.accepted, history.committed) == (COHORT, ACCEPTED, -1)


def test_writing_goes_on_where_it_ended(tmp_path: Path) -> None:
    written(tmp_path)
    journal = opened(tmp_path)
    journal.append(CohortChosen(1, ("a",), ("a",), "layout"))
    journal.append(ListAccepted(1, (), (), 10, {}))
    assert files(tmp_path)[-1].name == "00000004.jsonl"
    accepted = opened(tmp_path).history.accepted
    assert accepted is not None
    assert accepted.round == 1


def test_a_missing_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    written(tmp_path)
    files(tmp_path)[1].unlink()
    with pytest.raises(JournalError, match=r"file://.*/u/journal/00000002.jsonl: missing; restore it"):
        opened(tmp_path)


def test_a_torn_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    written(tmp_path)
    content = files(tmp_path)[1].read_bytes()
    files(tmp_path)[1].write_bytes(content[: content.rfind(b"\n", 0, -1) + 1])
    with pytest.raises(JournalError, match=r"00000002.jsonl: torn, changed or not the one that followed"):
        opened(tmp_path)


def test_a_file_of_another_history_is_an_error(tmp_path: Path) -> None:
    written(tmp_path)
    written(tmp_path / "other")
    other = opened(tmp_path / "other")
    other.append(COHORT)
    other.append(ListAccepted(1, (), (), 10, {}))
    files(tmp_path)[2].write_bytes(files(tmp_path / "other")[1].read_bytes())
    with pytest.raises(JournalError, match=r"00000003\.jsonl: torn, changed"):
        opened(tmp_path)


def test_another_jobs_journal_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(JournalError, match="belongs to job u, not yours"):
        opened(tmp_path, uid="yours")


def test_damage_that_the_digest_does_not_show_names_file_and_line(tmp_path: Path) -> None:
    log = SegmentLog(Remote(f"file://{tmp_path}/store", tmp_path / "spool"), "u/journal")
    log.read()
    log.append(b'{"kind":"Begin","format":1,"uid":"u"}\n', durable=True)
    log.append(b"rubbish\n", durable=True)
    with pytest.raises(JournalError, match=r"00000002\.jsonl, line 2: damaged"):
        opened(tmp_path)


def test_a_store_that_is_away_is_no_journal_of_nothing(tmp_path: Path) -> None:
    hasty = Patience(small_s=0.3, large_s=0.3, pauses_s=())
    away = Remote(f"ftp://127.0.0.1:{free_port()}/a", tmp_path / "spool", hasty)
    with pytest.raises(UnreachableError):
        Journal(SegmentLog(away, "u/journal"), uid="u")
