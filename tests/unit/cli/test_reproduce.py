"""Comparisons: intervals by hand, tables of cells, and cells that are run once."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fljob_cli.errors import CliError
from fljob_cli.reproduce import show
from fljob_cli.reproduce.cells import Bench, Cell
from fljob_cli.reproduce.command import Request, reproduce
from fljob_cli.reproduce.data import Data, prepare
from fljob_cli.reproduce.paired import Difference, difference
from fljob_cli.reproduce.tables import ALL, GRU4REC_FEDAVG, NCF_CENTRAL, NCF_FL_PS, How, Row, Setup, Table

CELLS = [
    Cell("pooled", 0, "", [{"AUC": 0.7}, {"AUC": 0.8, "Loss": 0.4}], 2.0, 1.0, 0),
    Cell("pooled", 1, "", [{"AUC": 0.5}, {"AUC": 0.9, "Loss": 0.6}], 4.0, 3.0, 0),
    Cell("Sync", 0, "", [{"AUC": 0.6}, {"AUC": 0.7, "Loss": 0.5}], 9.0, 8.0, 2_000_000),
]


def test_the_interval_of_a_mean_by_hand() -> None:
    # three values with deviation 1: t of two degrees of freedom is 4.303
    assert show.half_width([1.0, 2.0, 3.0]) == pytest.approx(4.303 / math.sqrt(3))
    assert math.isnan(show.half_width([1.0]))


@pytest.mark.parametrize(("freedom", "quantile"), [(11, 2.20099), (15, 2.13145), (30, 2.04227), (120, 1.97993)])
def test_the_interval_of_many_values_is_as_in_the_tables(freedom: int, quantile: float) -> None:
    values = [float(number) for number in range(freedom + 1)]
    wanted = quantile * statistics.stdev(values) / math.sqrt(len(values))
    assert show.half_width(values) == pytest.approx(wanted, rel=2e-4)


def test_a_line_is_the_mean_over_seeds() -> None:
    pooled, sync = show.lines("AUC", CELLS)
    assert pooled.curve == pytest.approx([0.6, 0.85])
    assert (pooled.wall_s, pooled.seeds, pooled.last["Loss"]) == (3.0, 2, 0.5)
    assert (sync.name, sync.num_bytes) == ("Sync", 2_000_000)


def test_the_table_shows_passes_interval_and_cost() -> None:
    headings, body = show.rows("AUC", show.lines("AUC", CELLS))
    assert headings == ["", "AUC 1", "AUC 2", "± 95 %", "wall s", "CPU s", "MB"]
    assert body[1] == ["Sync", "0.6000", "0.7000", "-", "9", "8", "2.0"]


def test_of_many_passes_some_are_shown_and_the_best_one() -> None:
    curve = [0.1, 0.2, 0.9, 0.3, 0.4, 0.5, 0.6]
    cells = [Cell("pooled", 0, "", [{"AUC": value, "Loss": 1 - value} for value in curve], 1.0, 1.0, 0)]
    made = show.lines("AUC", cells)
    headings, body = show.rows("AUC", made)
    assert headings[1:7] == ["AUC 1", "AUC 2", "AUC 3", "AUC 4", "AUC 7", "± 95 %"]
    assert (headings[7], body[0][7]) == ("best pass", "0.9000")
    assert "| pooled | 0.9000 | 0.8000 | 0.1000 | 0.7000 | 0.4000 |" in show.markdown("AUC", made, ())


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
    assert str(Difference(-0.2, -0.3, -0.1)) == "-0.2000 [-0.3000, -0.1000] worse"


def test_an_unknown_comparison_is_refused_with_those_there_are() -> None:
    with pytest.raises(CliError, match="ncf-fl-ps"):
        reproduce(Request("ncf", None, None, quick=True, seeds=(), json_output=False))


def test_an_unknown_row_is_refused_with_those_there_are() -> None:
    request = Request("ncf-central", None, None, quick=True, seeds=(), json_output=False, rows=("pooled", "Ascync"))
    with pytest.raises(CliError, match="no row 'Ascync'; there are pooled, pooled, pre-trained, Sync, Async"):
        reproduce(request)


def test_a_seed_that_is_given_twice_is_refused() -> None:
    with pytest.raises(CliError, match="--seed 3 is given twice"):
        reproduce(Request("ncf-fl-ps", None, None, quick=True, seeds=(3, 0, 3), json_output=False))


def test_published_data_must_be_named() -> None:
    with pytest.raises(CliError, match="--source DIR"):
        prepare(NCF_FL_PS, NCF_FL_PS.full, Path("nowhere"), None)


def test_arguments_of_an_import_that_there_is_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="imports nothing here"):
        prepare(NCF_FL_PS, NCF_FL_PS.quick, tmp_path, None, "--partition none")
    with pytest.raises(CliError, match="No closing quotation"):
        prepare(NCF_FL_PS, NCF_FL_PS.full, tmp_path, tmp_path, "--partition 'zip")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Write a MovieLens of twenty users with zip codes."""
    folder = tmp_path / "ml-1m"
    folder.mkdir()
    lines = (f"{user}::{film}::5::{100 * user + film}\n" for user in range(1, 21) for film in range(1, 8))
    (folder / "ratings.dat").write_text("".join(lines))
    (folder / "users.dat").write_text("".join(f"{user}::F::25::7::{user % 4}0000\n" for user in range(1, 21)))
    return folder


def test_data_are_what_was_imported_and_the_words_say_so(tmp_path: Path, published: Path) -> None:
    out = tmp_path / "out"
    made = prepare(NCF_FL_PS, NCF_FL_PS.full, out, published, "--partition equal --sites 3")
    assert (made.sites, made.folder) == (("site-0", "site-1", "site-2"), out / "data")
    assert made.importing == ("movielens", "--partition", "equal", "--sites", "3")
    (out / "data/.site-3-left").mkdir()
    (out / "data/site-9").mkdir()  # of whatever else
    assert prepare(NCF_FL_PS, NCF_FL_PS.full, out, None) == made
    assert prepare(NCF_FL_PS, NCF_FL_PS.full, out, published, "--partition equal --sites 3") == made
    with pytest.raises(CliError, match=r"was imported with `movielens --partition equal --sites 3`, not .* zip"):
        prepare(NCF_FL_PS, NCF_FL_PS.full, out, published)
    with pytest.raises(CliError, match="not `movielens --partition none`"):
        prepare(NCF_FL_PS, NCF_FL_PS.full, out, None, "--partition none")


def test_an_import_that_fails_leaves_no_data(tmp_path: Path, published: Path) -> None:
    (published / "users.dat").write_text("")
    with pytest.raises(CliError, match="no line for user 1"):
        prepare(NCF_FL_PS, NCF_FL_PS.full, tmp_path / "out", published)
    assert list((tmp_path / "out").iterdir()) == []


def test_data_that_were_changed_or_never_whole_are_refused(tmp_path: Path, published: Path) -> None:
    out = tmp_path / "out"
    prepare(NCF_FL_PS, NCF_FL_PS.full, out, published)
    manifest = out / "data/site-1/manifest.json"
    manifest.write_text(manifest.read_text().replace("movielens", "movielens2"))
    with pytest.raises(CliError, match="changed since it was imported"):
        prepare(NCF_FL_PS, NCF_FL_PS.full, out, None)
    (out / "data/import.json").unlink()
    with pytest.raises(CliError, match="not the data of a comparison"):
        prepare(NCF_FL_PS, NCF_FL_PS.full, out, published)


def test_a_population_is_of_the_file_that_it_was_read_from(tmp_path: Path) -> None:
    table = ALL["pfedrec"]
    source = tmp_path / "ml-100k"
    source.mkdir()
    with pytest.raises(CliError, match=r"needs u\.data"):
        prepare(table, table.full, tmp_path / "out", None)
    (source / "u.data").write_text("1\t2\t3\t4\n")
    first = prepare(table, table.full, tmp_path / "out", source)
    assert prepare(table, table.full, tmp_path / "out", None) == first
    (source / "u.data").write_text("1\t2\t3\t5\n")
    assert prepare(table, table.full, tmp_path / "out", source).digest != first.digest


TEN = Data(tuple(f"site-{index}" for index in range(10)))


@pytest.mark.parametrize("table", ALL.values(), ids=ALL)
def test_every_row_of_every_table_is_a_valid_job(table: Table, tmp_path: Path) -> None:
    for setup in (table.quick, table.full):
        # What is cut by the data needs them.
        rows = [row for row in table.rows if not (row.cut and setup.importing)]
        Bench(replace(table, rows=rows), setup, tmp_path, TEN).check((0,))


def test_a_row_that_the_sites_do_not_allow_is_refused_before_others_run(tmp_path: Path) -> None:
    few = Data(("site-0", "site-1"))
    with pytest.raises(CliError, match="row Buffered"):
        Bench(NCF_FL_PS, NCF_FL_PS.quick, tmp_path, few).check((0,))


def test_a_round_of_a_pass_that_is_cut_trains_its_part(tmp_path: Path) -> None:
    bench = Bench(GRU4REC_FEDAVG, GRU4REC_FEDAVG.quick, tmp_path, Data(TEN.sites[:4]))
    row = next(row for row in GRU4REC_FEDAVG.rows if row.cut)
    spec = bench.manifest(row, 0)["spec"]
    sessions, rounds = 500, 8  # of a site: the generator's default
    assert spec["rounds"] == rounds * GRU4REC_FEDAVG.quick.passes
    assert spec["strategy"]["innerSteps"] == max(1, round(sessions / spec["strategy"]["batchSize"] / rounds))


def test_a_row_alone_is_run_at_each_site() -> None:
    table = Table("t", "T", "S", (Row("alone", How.ALONE),), Setup({}, 1, (0,)), Setup({}, 1, (0,)))
    found = Bench(table, table.full, Path(), Data(("a", "b"))).cells((0, 1))
    assert [(seed, site) for _, seed, site in found] == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]


def place_of(bench: Bench, row: Row) -> Path:
    return bench._place(row, 7, bench._key(row, 7, ""))


def done(bench: Bench, row: Row) -> Path:
    """Put a cell there as if it had been run."""
    place = place_of(bench, row)
    place.mkdir(parents=True)
    (place / "cell.json").write_text(json.dumps({"cell": vars(CELLS[0]) | {"seed": 7}}), encoding="utf-8")
    return place


def test_a_cell_that_is_done_is_not_run_again_wherever_it_lies(tmp_path: Path) -> None:
    row = NCF_FL_PS.rows[0]
    done(Bench(NCF_FL_PS, NCF_FL_PS.quick, tmp_path / "a", TEN), row)
    (tmp_path / "a").rename(tmp_path / "b")
    assert Bench(NCF_FL_PS, NCF_FL_PS.quick, tmp_path / "b", TEN).run(row, 7).passes[-1]["AUC"] == 0.8


def test_cells_of_other_data_forms_and_settings_lie_beside_each_other(tmp_path: Path) -> None:
    first, trained = NCF_FL_PS.rows[0], NCF_CENTRAL.rows[1]
    other_first = replace(trained, before=(replace(trained.before[0], settings={}), *trained.before[1:]))
    places = {
        place_of(bench, row)
        for bench in (
            Bench(NCF_FL_PS, NCF_FL_PS.quick, tmp_path, TEN),
            Bench(NCF_FL_PS, NCF_FL_PS.full, tmp_path, TEN),
            Bench(NCF_FL_PS, NCF_FL_PS.quick, tmp_path, replace(TEN, digest="other")),
            Bench(NCF_CENTRAL, NCF_CENTRAL.quick, tmp_path, TEN),
        )
        for row in (first, replace(first, settings={"optimizer.learningRate": "0.25"}), trained, other_first)
    }
    assert len(places) == 16
