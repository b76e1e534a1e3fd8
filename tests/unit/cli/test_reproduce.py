"""Comparisons: intervals by hand, tables of cells, and cells that are run once."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fljob_api.validation import validate
from fljob_cli.errors import CliError
from fljob_cli.reproduce import show
from fljob_cli.reproduce.cells import Bench, Cell
from fljob_cli.reproduce.command import Request, reproduce
from fljob_cli.reproduce.paired import Difference, difference
from fljob_cli.reproduce.tables import ALL, GRU4REC_FEDAVG, NCF_FL_PS, How, Row, Setup, Table

CELLS = [
    Cell("pooled", 0, "", [{"AUC": 0.7}, {"AUC": 0.8, "Loss": 0.4}], 2.0, 1.0, 0),
    Cell("pooled", 1, "", [{"AUC": 0.5}, {"AUC": 0.9, "Loss": 0.6}], 4.0, 3.0, 0),
    Cell("Sync", 0, "", [{"AUC": 0.6}, {"AUC": 0.7, "Loss": 0.5}], 9.0, 8.0, 2_000_000),
]


def test_the_interval_of_a_mean_by_hand() -> None:
    # three values with deviation 1: t of two degrees of freedom is 4.303
    assert show.half_width([1.0, 2.0, 3.0]) == pytest.approx(4.303 / math.sqrt(3))
    assert math.isnan(show.half_width([1.0]))


def test_a_line_is_the_mean_over_seeds() -> None:
    pooled, sync = show.lines("AUC", CELLS)
    assert pooled.curve == pytest.approx([0.6, 0.85])
    assert (pooled.wall_s, pooled.seeds, pooled.last["Loss"]) == (3.0, 2, 0.5)
    assert (sync.name, sync.num_bytes) == ("Sync", 2_000_000)


def test_the_table_shows_passes_interval_and_cost() -> None:
    headings, body = show.rows("AUC", show.lines("AUC", CELLS))
    assert headings == ["", "AUC 1", "AUC 2", "± 95 %", "wall s", "CPU s", "MB"]
    assert body[1] == ["Sync", "0.6000", "0.7000", "-", "9", "8", "2.0"]


def test_the_figure_has_a_line_and_a_key_for_each_row() -> None:
    drawn = show.figure("AUC", show.lines("AUC", CELLS))
    assert drawn.count("<polyline") == 2 + 2  # the metric and the loss
    assert drawn.index(">AUC</text>") < drawn.index(">Loss</text>")
    assert ">Sync</text>" in drawn


def test_the_difference_of_two_aucs_by_hand() -> None:
    labels = [0.0, 0.0, 1.0, 1.0] * 50
    right = np.array([[0.1, 0.2, 0.8, 0.9] * 50, labels], np.float32).T  # AUC 1
    ties = np.array([[0.1, 0.5, 0.5, 0.9] * 50, labels], np.float32).T  # a quarter of all pairs are ties: 0.875
    found = difference([(ties, right)], draws=200)
    assert found.mean == pytest.approx(-0.125)
    assert -0.2 < found.low < -0.125 < found.high < -0.05


def test_a_model_is_as_good_as_itself_whatever_is_drawn() -> None:
    scores = np.array([[0.3, 0.1, 0.2, 0.9] * 20, [1.0, 0.0, 1.0, 0.0] * 20], np.float32).T
    doubled = scores * np.array([2.0, 1.0], np.float32)
    assert difference([(scores, doubled)] * 2, draws=50) == Difference(0.0, 0.0, 0.0)


def test_scores_of_other_examples_are_not_held_against_each_other() -> None:
    with pytest.raises(ValueError, match="other examples"):
        difference([(np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32))])


def test_the_table_shows_how_far_a_row_is_above_the_first() -> None:
    headings, body = show.rows("AUC", show.lines("AUC", CELLS, {"Sync": Difference(-0.2, -0.3, 0.1)}))
    assert headings[4] == "above pooled, paired 95 %"
    assert [cells[4] for cells in body] == ["-", "-0.2000 [-0.3000, +0.1000]"]


def test_an_unknown_comparison_is_refused_with_those_there_are() -> None:
    with pytest.raises(CliError, match="ncf-fl-ps"):
        reproduce(Request("ncf", None, None, quick=True, seeds=(), json_output=False))


def test_an_unknown_row_is_refused_with_those_there_are() -> None:
    request = Request("ncf-central", None, None, quick=True, seeds=(), json_output=False, rows=("pooled", "Ascync"))
    with pytest.raises(CliError, match="no row 'Ascync'; there are pooled, pooled, pre-trained, Sync, Async"):
        reproduce(request)


def test_published_data_must_be_named() -> None:
    with pytest.raises(CliError, match="--source DIR"):
        Bench(NCF_FL_PS, NCF_FL_PS.full, Path("nowhere")).prepare(None)


@pytest.mark.parametrize("table", ALL.values(), ids=ALL)
def test_every_row_of_every_table_is_a_valid_job(table: Table, tmp_path: Path) -> None:
    for setup in (table.quick, table.full):
        bench = Bench(table, setup, tmp_path)
        # What is cut by the data needs them.
        for row in (row for row in table.rows if row.how is not How.POPULATION and not (row.cut and bench.data)):
            assert validate(bench.manifest(row, 0, [f"site-{index}" for index in range(10)])) == ()


def test_a_round_of_a_pass_that_is_cut_trains_its_part(tmp_path: Path) -> None:
    bench = Bench(GRU4REC_FEDAVG, GRU4REC_FEDAVG.quick, tmp_path)
    row = next(row for row in GRU4REC_FEDAVG.rows if row.cut)
    spec = bench.manifest(row, 0, [f"site-{index}" for index in range(4)])["spec"]
    sessions, rounds = 500, 8  # of a site: the generator's default
    assert spec["rounds"] == rounds * GRU4REC_FEDAVG.quick.passes
    assert spec["strategy"]["innerSteps"] == max(1, round(sessions / spec["strategy"]["batchSize"] / rounds))


def test_a_row_alone_is_run_at_each_site() -> None:
    table = Table("t", "T", "S", (Row("alone", How.ALONE),), Setup({}, 1, (0,)), Setup({}, 1, (0,)))
    found = Bench(table, table.full, Path()).cells(["a", "b"], (0, 1))
    assert [(seed, site) for _, seed, site in found] == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]


def test_a_cell_that_is_done_is_not_run_again(tmp_path: Path) -> None:
    bench = Bench(NCF_FL_PS, NCF_FL_PS.quick, tmp_path)
    row = NCF_FL_PS.rows[0]
    manifest = bench.manifest(row, 7, ["site-0"])
    place = tmp_path / "cells" / "pooled-7"
    place.mkdir(parents=True)
    kept = vars(CELLS[0]) | {"seed": 7}
    (place / "cell.json").write_text(json.dumps({"manifest": manifest, "cell": kept}), encoding="utf-8")
    assert bench.run(row, 7, "", ["site-0"]).passes[-1]["AUC"] == 0.8
