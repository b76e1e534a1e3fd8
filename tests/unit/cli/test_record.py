"""The record of a run: what it gathers from progress, its JSON form, reading it back."""

from __future__ import annotations

from pathlib import Path

import pytest

from fljob_api.progress import Progress, RoundSummary, TrainerProgress, Training
from fljob_cli.errors import CliError
from fljob_cli.record import Record, Round, SiteRound, read, write

MANIFEST = {"spec": {"rounds": 3, "trainers": [{"name": "site-0"}]}}


def summary(number: int, auc: str = "0.75") -> RoundSummary:
    return RoundSummary(round=number, loss="0.5", auc=auc, participants=2, dropped=1, seconds="1.5", bytes=64)


def progress(*rounds: RoundSummary, trainers: tuple[TrainerProgress, ...] = ()) -> Progress:
    training = Training(recent_rounds=list(rounds))
    return Progress(uid="u", incarnation=0, training=training, trainers=list(trainers))


def test_rounds_are_gathered_over_reports_that_hold_only_the_recent_ones() -> None:
    record = Record("movies", MANIFEST).with_progress(progress(summary(1), summary(2)))
    record = record.with_progress(progress(summary(3)))
    assert [entry.round for entry in record.rounds] == [1, 2, 3]


def test_a_round_told_again_replaces_what_was_known() -> None:
    record = Record("movies", MANIFEST).with_progress(progress(summary(1, auc="")))
    record = record.with_progress(progress(summary(1, auc="0.8")))
    assert [entry.auc for entry in record.rounds] == [0.8]


def test_the_headline_metric_comes_with_its_name() -> None:
    ranked = RoundSummary(round=1, loss="6.5", score="0.25", participants=2)
    training = Training(recent_rounds=[ranked], headline="Recall@20")
    record = Record("clicks", MANIFEST).with_progress(Progress(uid="u", incarnation=0, training=training))
    assert (record.headline, record.rounds[0].shown, record.rounds[0].auc) == ("Recall@20", 0.25, None)
    assert record.to_json()["headline"] == "Recall@20"


def test_a_sites_rounds_are_kept_in_order() -> None:
    first = TrainerProgress(name="site-0", round=1, samples=10, auc="0.6")
    second = TrainerProgress(name="site-0", round=2, samples=10, auc="0.7")
    record = Record("movies", MANIFEST)
    for trainer in (first, second, first):
        record = record.with_progress(progress(trainers=(trainer,)))
    assert [(part.round, part.auc) for part in record.sites["site-0"]] == [(1, 0.6), (2, 0.7)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("trainers to join (0 of 2): site-0, site-1", "trainers to join"),
        ("updates of round 3: site-0", "updates of a round"),
        ("the coordinator", "the coordinator"),
    ],
)
def test_waits_of_one_kind_are_added_up(name: str, kind: str) -> None:
    record = Record("movies", MANIFEST).with_wait(name, 1.0).with_wait(name, 0.5)
    assert record.waits == {kind: 1.5}


def test_the_json_form_has_the_promised_keys_per_round() -> None:
    record = Record("movies", MANIFEST, state="Succeeded").with_progress(progress(summary(0), summary(1)))
    assert record.to_json() == {
        "job": "movies",
        "state": "Succeeded",
        "headline": "AUC",
        "rounds": [
            {
                "round": 1,
                "loss": 0.5,
                "auc": 0.75,
                "participants": 2,
                "dropped": 1,
                "seconds": 1.5,
                "bytes": 64,
                "score": None,
            }
        ],
        "model": None,
    }


def test_the_json_form_holds_the_pooled_auc_when_it_was_asked_for() -> None:
    assert Record("movies", MANIFEST, pooled=(0.7, 0.8)).to_json()["pooled"] == {"auc": [0.7, 0.8]}


def test_a_record_read_back_is_the_one_written(tmp_path: Path) -> None:
    record = Record(
        "movies",
        MANIFEST,
        rounds=(Round(1, 0.5, None, 2, 0, 1.5, 64),),
        sites={"site-0": (SiteRound(1, None, 0.7, 1.0, 10),)},
        waits={"quorum": 1.5},
        pooled=(0.7,),
    )
    write(record, tmp_path)
    assert read(tmp_path) == record


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="not the folder of a run"):
        read(tmp_path)


def test_a_torn_record_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"job": "mov')
    with pytest.raises(CliError, match=r"run\.json: cannot be read"):
        read(tmp_path)
