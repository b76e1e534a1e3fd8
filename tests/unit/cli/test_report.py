"""The report: curves where numbers are, gaps where none are, nothing fetched from outside."""

from __future__ import annotations

import re

import pytest

from fljob_cli.record import Record, Round, SiteRound
from fljob_cli.report import svg
from fljob_cli.report.page import render

MANIFEST = {
    "spec": {"model": {"name": "ncf"}, "dataset": {"name": "synthetic"}, "rounds": 3, "trainers": [{"name": "a"}]}
}


def entry(number: int, auc: float | None = 0.75) -> Round:
    return Round(number, loss=0.5, auc=auc, participants=1, dropped=0, seconds=1.0, bytes=1000)


def page(**changes: object) -> str:
    return render(Record("movies", MANIFEST, **{"rounds": (entry(1), entry(2, 0.8)), **changes}))  # type: ignore[arg-type]


def test_an_axis_begins_and_ends_at_round_numbers() -> None:
    assert svg.axis([0.71, 0.79], 0, 100).ticks == (0.7, 0.72, 0.74, 0.76, 0.78, 0.8)


def test_a_point_lies_where_its_value_is_on_the_axis() -> None:
    assert svg.axis([0.0, 1.0], 200, 0).at(0.25) == pytest.approx(150)


def test_an_axis_of_one_value_is_not_empty() -> None:
    scale = svg.axis([0.5], 0, 100)
    assert scale.low < 0.5 < scale.high


def test_a_missing_value_breaks_the_line_in_two() -> None:
    points = [(1.0, 0.1), (2.0, None), (3.0, 0.3)]
    assert svg.lines([svg.Series("s", "federated", points)], label="l").count("<polyline") == 2


def test_no_values_make_no_chart() -> None:
    assert svg.lines([svg.Series("s", "federated", [(1.0, None)])], label="l") == ""


def test_the_page_needs_nothing_from_outside() -> None:
    assert re.findall(r"<script|<link|<img|https?://|url\(", page()) == []


def test_the_page_draws_a_point_per_measured_round() -> None:
    assert page().count("federated, round") == 4


def test_the_pooled_curve_stands_beside_when_there_is_one() -> None:
    assert page(pooled=(0.7, 0.85)).count("pooled, round") == 2


def test_a_model_that_has_no_auc_shows_its_headline_metric() -> None:
    rounds = tuple(Round(n, 0.5, None, 1, 0, 1.0, 100, score=0.1 * n) for n in (1, 2))
    text = page(rounds=rounds, headline="Accuracy", pooled=(0.3, 0.4))
    assert "<h2>Accuracy on held-out data" in text
    assert "<th>Accuracy</th><th>pooled Accuracy</th>" in text
    assert "<td>0.2000</td><td>0.4000</td><td>-0.2000</td>" in text
    assert text.count("federated, round") == 4


def test_the_gap_to_pooled_is_told_per_round() -> None:
    assert "<td>-0.0500</td>" in page(pooled=(0.7, 0.85))


def test_a_failed_run_says_why_and_what_to_do() -> None:
    text = page(state="Failed", exit_code=22, message="Diverged: loss is nan in round 2")
    assert "lower spec.optimizer.learningRate" in text


def test_names_from_the_manifest_cannot_inject_markup() -> None:
    assert "<b>x</b>" not in page(message="<b>x</b>")


def test_the_slowest_site_is_counted_per_round() -> None:
    fast = tuple(SiteRound(r, None, None, 1.0, 10) for r in (1, 2))
    slow = (SiteRound(1, None, None, 2.0, 10), SiteRound(2, None, None, 0.5, 10))
    counts = re.findall(r"<td>(\d rounds?)</td></tr>", page(sites={"fast": fast, "slow": slow}))
    assert counts == ["1 round", "1 round"]


def test_a_run_without_a_round_still_makes_a_page() -> None:
    assert "No round was measured." in page(rounds=())
