"""What a run prints: lines of rounds when piped, and the words for waits."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from rich.console import Console

from fljob_api.progress import Progress, TrainerProgress, Waiting
from fljob_cli.display import Rounds, duration, header, row, size, waiting
from fljob_cli.record import Record, Round

NOW = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
PROGRESS = Progress(uid="u", incarnation=0)


def entry(number: int) -> Round:
    return Round(number, loss=0.5, auc=0.75, participants=9, dropped=1, seconds=1.25, bytes=2_500_000)


def printed(*records: Record, pooled: str | None = None) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=False)
    with Rounds(console, total=3, cohort=10, pooled=lambda _: pooled) as rounds:
        for record in records:
            rounds.show(record, PROGRESS)
    return out.getvalue()


def test_a_piped_table_has_a_header_and_a_line_per_round_without_colours() -> None:
    text = printed(Record("j", {}, rounds=(entry(1), entry(2))))
    assert text.splitlines() == [
        "    round     loss      AUC  trainers  dropped  seconds    traffic",
        "   1/3      0.5000   0.7500      9/10        1      1.2     2.5 MB",
        "   2/3      0.5000   0.7500      9/10        1      1.2     2.5 MB",
    ]


def test_models_of_other_tasks_show_their_own_metric() -> None:
    ranked = Round(1, loss=6.5, auc=None, participants=2, dropped=0, seconds=1.0, bytes=64, score=0.25)
    head, line = printed(Record("j", {}, rounds=(ranked,), headline="Recall@20")).splitlines()
    assert head.split()[:3] == ["round", "loss", "Recall@20"]
    assert line.split()[:3] == ["1/3", "6.5000", "0.2500"]
    assert len(head) == len(line)


def test_a_round_is_printed_once_however_often_it_is_reported() -> None:
    one = Record("j", {}, rounds=(entry(1),))
    assert printed(one, one).count("0.7500") == 1


def test_a_round_that_is_not_measured_yet_is_not_printed() -> None:
    assert printed(Record("j", {}, rounds=(Round(1, None, None, 2, 0, None, 0),))) == ""


def test_the_pooled_auc_stands_beside_when_it_is_compared() -> None:
    assert "   0.7500   0.8800  " in printed(Record("j", {}, rounds=(entry(1),)), pooled="0.8800")


def test_header_and_rows_are_equally_wide() -> None:
    assert len(header(True)) == len(row(entry(1), total=3, cohort=10, pooled="0.8800"))


def test_a_wait_says_for_what_how_long_and_how_long_at_most() -> None:
    wait = Waiting(name="updates: site-3", since="2026-01-01T12:00:00Z", deadline="2026-01-01T12:01:00Z")
    assert waiting(wait, NOW) == "waiting for updates for 30.0 s, at most 30.0 s more: site-3"


def test_a_terminal_shows_trainers_in_trouble_with_their_words() -> None:
    out = io.StringIO()
    lost = TrainerProgress(name="site-1", state="Lost", message="no heartbeat for 30 s")
    progress = Progress(uid="u", incarnation=0, trainers=[TrainerProgress(name="site-0"), lost])
    console = Console(file=out, force_terminal=True, width=80, color_system=None)
    with Rounds(console, total=3, cohort=2, pooled=lambda _: None) as rounds:
        rounds.show(Record("j", {}), progress)
    assert "site-1 lost: no heartbeat for 30 s" in out.getvalue()


def test_sizes_have_units_of_a_thousand() -> None:
    assert [size(999), size(1000), size(2_500_000), size(7e9)] == ["999 B", "1.0 kB", "2.5 MB", "7.0 GB"]


def test_durations_are_said_in_the_largest_fitting_unit() -> None:
    assert [duration(2.34), duration(125), duration(7260)] == ["2.3 s", "2 min 5 s", "2 h 1 min"]
