"""Dumps of examples and parameters: what is in them, how many stay, and what is refused beforehand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner
from unit.runtime.training.tiny import trainer

from fljob_api.dump import DumpSpec
from fljob_api.exit_codes import ExitCode
from fljob_cli.errors import CliError
from fljob_cli.faults import data_faults
from fljob_cli.main import app
from fljob_runtime.data.dumped import find_dumps, first_examples, tensor_shapes
from fljob_runtime.data.errors import DataError
from fljob_runtime.schema import SchemaError
from fljob_runtime.training.dumps import Dumps, check

ALL = DumpSpec(fields=["user", "item", "label", "output", "prediction"], parameters=["item_embedding", "output"])


def dumped(folder: Path, spec: DumpSpec = ALL, number: int = 1) -> Path:
    Dumps(spec, folder, "site-0").write(number, trainer("GMF"))
    return folder / "dumps" / str(number)


def test_examples_are_the_held_out_ones_with_what_the_model_says(tmp_path: Path) -> None:
    columns = pq.read_table(dumped(tmp_path) / "examples.parquet").to_pydict()
    assert list(columns) == ["user", "item", "label", "output", "prediction"]
    assert (columns["user"], columns["item"], columns["label"]) == ([1, 1, 1, 2, 2], [5, 6, 7, 6, 5], [1, 0, 0, 1, 0])
    assert columns["prediction"] == pytest.approx([1 / (1 + np.exp(-output)) for output in columns["output"]])
    assert len(set(columns["output"])) > 1


def test_of_tables_the_rows_that_the_evaluation_reads_are_there_by_their_ids(tmp_path: Path) -> None:
    tensors = load_file(dumped(tmp_path) / "parameters.safetensors")
    table = dict(trainer("GMF").model.named_parameters())["item_embedding.gmf.weight"].detach().numpy()
    assert tensors["item_embedding.gmf.weight.ids"].tolist() == [5, 6, 7]
    assert np.array_equal(tensors["item_embedding.gmf.weight"], table[5:8])
    assert {name for name in tensors if name.startswith("output")}
    assert not {name for name in tensors if name.startswith("user")}


def test_no_more_examples_than_asked_for(tmp_path: Path) -> None:
    folder = dumped(tmp_path, DumpSpec(fields=["item"], max_examples=2))
    assert pq.read_table(folder / "examples.parquet").to_pydict() == {"item": [5, 6]}


def test_only_some_rounds_are_dumped_and_the_newest_stay(tmp_path: Path) -> None:
    spec, local = DumpSpec(fields=["item"], every_rounds=2, keep=2), trainer("GMF")
    for number in range(1, 11):
        Dumps(spec, tmp_path, "site-0").write(number, local)
    assert sorted(path.name for path in (tmp_path / "dumps").iterdir()) == ["10", "8"]


def test_a_job_leaves_the_dumps_of_another_job_alone(tmp_path: Path) -> None:
    spec, local = DumpSpec(fields=["item"], keep=2), trainer("GMF")
    for job, numbers in {"a": (8, 9, 10), "b": (1, 2, 3)}.items():
        for number in numbers:
            Dumps(spec, tmp_path, "site-0", job_uid=job).write(number, local)
    found = [(dump.job, dump.number, path.relative_to(tmp_path).as_posix()) for path, dump in find_dumps(tmp_path)]
    assert found == [("a", 9, "dumps/a/9"), ("a", 10, "dumps/a/10"), ("b", 2, "dumps/b/2"), ("b", 3, "dumps/b/3")]


def test_a_job_that_goes_back_deletes_what_did_not_count(tmp_path: Path) -> None:
    spec, local = DumpSpec(fields=["item"], keep=3), trainer("GMF")
    for number in (7, 8, 9, 10, 8):
        Dumps(spec, tmp_path, "site-0").write(number, local)
    # 7 went when 10 was written.
    assert [dump.number for _, dump in find_dumps(tmp_path)] == [8]


def test_what_a_killed_writer_left_is_no_dump_and_goes_with_the_next(tmp_path: Path) -> None:
    left = dumped(tmp_path).parent / ".dump-x"
    shutil.copytree(left.parent / "1", left / "3")
    assert [dump.number for _, dump in find_dumps(tmp_path)] == [1]
    dumped(tmp_path, number=2)
    assert not left.exists()


def test_dumps_below_a_hidden_folder_are_found(tmp_path: Path) -> None:
    dumped(tmp_path / ".runs")
    assert len(find_dumps(tmp_path / ".runs")) == 1


def test_a_round_that_is_evaluated_again_replaces_its_dump(tmp_path: Path) -> None:
    dumped(tmp_path, DumpSpec(fields=["user"]))
    folder = dumped(tmp_path, DumpSpec(fields=["item"]))
    assert pq.read_schema(folder / "examples.parquet").names == ["item"]


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        (DumpSpec(fields=["film"]), r"fields: no field 'film'; there are user, item, label, prediction"),
        (DumpSpec(parameters=["item"]), r"parameters: no parameter 'item'; there are user_embedding"),
    ],
)
def test_what_is_not_there_is_refused(spec: DumpSpec, where: str) -> None:
    with pytest.raises(CliError, match=where) as refused, data_faults():
        check(spec, trainer("GMF"))
    assert refused.value.code is ExitCode.BAD_CONFIG
    assert "another shape" not in refused.value.hint


def test_parameters_above_the_limit_are_refused() -> None:
    spec = DumpSpec(parameters=["item_embedding"]).model_copy(update={"max_mebibytes": 0})
    with pytest.raises(SchemaError, match=r"0 MiB, more than maxMebibytes \(0\)"):
        check(spec, trainer("GMF"))


def test_dumps_are_found_below_a_run_and_read(tmp_path: Path) -> None:
    dumped(tmp_path / "storage" / "site-0", number=3)
    ((folder, dump),) = find_dumps(tmp_path)
    assert (dump.site, dump.number, dump.num_examples) == ("site-0", 3, 5)
    assert first_examples(folder, dump, 2)[1]["item"] == 6
    assert tensor_shapes(folder, dump)["item_embedding.gmf.weight"] == [3, 2]


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [("dump.json", "{}", "describes no dump"), ("dump.json", "[", "describes no dump")],
)
def test_a_damaged_description_is_named(tmp_path: Path, name: str, content: str, where: str) -> None:
    (dumped(tmp_path) / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=rf"{name}: {where}"):
        find_dumps(tmp_path)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    dumped(tmp_path)
    ((folder, dump),) = find_dumps(tmp_path)
    for name in ("examples.parquet", "parameters.safetensors"):
        (folder / name).write_bytes(b"\xff" * 9)
    with pytest.raises(DataError, match=r"examples\.parquet: cannot be read"):
        first_examples(folder, dump, 1)
    with pytest.raises(DataError, match=r"parameters\.safetensors: no safetensors file"):
        tensor_shapes(folder, dump)


@pytest.mark.parametrize("name", ["examples.parquet", "parameters.safetensors"])
@pytest.mark.parametrize("rows", ["0", "2"])
def test_a_missing_file_is_named(tmp_path: Path, name: str, rows: str) -> None:
    (dumped(tmp_path) / name).unlink()
    with pytest.raises(CliError, match=rf"{name}: is missing") as refused:
        CliRunner().invoke(app, ["data", "dump", str(tmp_path), "--rows", rows], catch_exceptions=False)
    assert refused.value.code is ExitCode.BAD_DATA


def test_what_was_not_asked_for_is_not_missing(tmp_path: Path) -> None:
    dumped(tmp_path, DumpSpec(fields=[], parameters=["output"]))
    dumped(tmp_path, DumpSpec(fields=["item"]), number=2)
    shown = CliRunner().invoke(app, ["data", "dump", str(tmp_path), "--rows", "1"], catch_exceptions=False)
    assert shown.exit_code == 0


def test_a_folder_without_dumps_says_what_makes_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no dumps .*; spec\.dump makes a job write them"):
        find_dumps(tmp_path)


def test_the_command_line_shows_examples_and_shapes(tmp_path: Path) -> None:
    dumped(tmp_path)
    line = ["data", "dump", str(tmp_path), "--rows", "2"]
    shown = CliRunner().invoke(app, line, catch_exceptions=False).stdout
    assert "site-0 1: 5 examples" in shown
    assert "item_embedding.gmf.weight  3 x 2" in shown
    told = json.loads(CliRunner().invoke(app, [*line, "--output", "json"], catch_exceptions=False).stdout)
    assert [row["item"] for row in told["examples"]] == [5, 6]


def test_the_command_line_tells_jobs_apart_where_there_are_several(tmp_path: Path) -> None:
    spec, local = DumpSpec(fields=["item"]), trainer("GMF")
    for job in ("a", "b"):
        Dumps(spec, tmp_path, "site-0", job_uid=job).write(1, local)
    shown = CliRunner().invoke(app, ["data", "dump", str(tmp_path)], catch_exceptions=False).stdout
    assert "site-0 1 of job a: 5 examples" in shown
    assert "site-0 1 of job b: 5 examples" in shown


def test_a_dump_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    dumped(tmp_path)
    with pytest.raises(CliError, match="no such dump; there are site-0 1"):
        CliRunner().invoke(app, ["data", "dump", str(tmp_path), "--round", "2"], catch_exceptions=False)
