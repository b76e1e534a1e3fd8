"""Rows made by a command, and counting in words, from the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fljob_api.exit_codes import ExitCode
from fljob_cli.errors import CliError
from fljob_cli.main import app

LABELLED = ("--label", "click", "--ids", "user,item", "--sites", "2")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Write two files that are no tables: label, user and item in each line, without a header."""
    (tmp_path / "raw").mkdir()
    for part in range(2):
        lines = "".join(f"{n % 2} u{n % 7} {n % 5 + part}\n" for n in range(20))
        (tmp_path / "raw" / f"part-{part}").write_text(lines, encoding="utf-8")
    script = "import sys; print('click,user,item'); [print(*line.split(), sep=',') for line in sys.stdin]"
    (tmp_path / "make.py").write_text(script, encoding="utf-8")
    return tmp_path / "raw"


def invoked(*line: str | Path) -> str:
    return CliRunner().invoke(app, [*map(str, line)], catch_exceptions=False).output


def imported(source: Path, command: str) -> str:
    line = ("data", "import", "table", "--source", source, "--out", source.parent / "out", *LABELLED)
    return invoked(*line, "--pipe", command)


def test_a_command_makes_the_rows_of_each_file(source: Path) -> None:
    assert "40 rows in 2 sites" in imported(source, f"{sys.executable} {source.parent / 'make.py'}")


def test_a_command_that_fails_is_bad_data(source: Path) -> None:
    with pytest.raises(CliError, match="ended with code 4") as caught:
        imported(source, f"{sys.executable} -c 'raise SystemExit(4)'")
    assert caught.value.code is ExitCode.BAD_DATA


def test_words_are_the_ids_of_all_examples(source: Path) -> None:
    imported(source, f"{sys.executable} {source.parent / 'make.py'}")
    line = ("data", "describe", source.parent / "out")
    sites = json.loads(invoked(*line, "--output", "json"))["sites"]
    assert [(site["num_samples"], site["num_words"]) for site in sites] == [(18, 36), (18, 36)]
    shown = invoked(*line, "--count", "word")
    assert "words" in shown
    assert " 36 " in shown


def test_a_job_whose_manifest_has_a_command_is_refused_unless_allowed(source: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} {source.parent / 'make.py'}"
    parameters = {"label": "click", "ids": "item=10", "pipe": command}
    spec = {"model": {"name": "mlp"}, "dataset": {"name": "files", "parameters": parameters}, "rounds": 1}
    manifest = {"apiVersion": "fljob.dev/v1alpha1", "kind": "FLJob", "metadata": {"name": "piped"}}
    (tmp_path / "job.yaml").write_text(json.dumps(manifest | {"spec": spec | {"trainers": [{"name": "site-0"}]}}))
    line = ("train", tmp_path / "job.yaml", "--data", f"site-0={source}", "--run-dir", tmp_path / "run")
    with pytest.raises(CliError, match="a manifest may not run commands"):
        invoked(*line)
    assert "Succeeded" in invoked(*line, "--allow-pipe")
