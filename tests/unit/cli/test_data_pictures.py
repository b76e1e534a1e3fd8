"""Pictures from the command line: generated, imported from LEAF's JSON, and what is wrong with it said."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from fljob_api.exit_codes import ExitCode
from fljob_cli.errors import CliError
from fljob_cli.main import app
from fljob_runtime.data.store import read_manifest


def test_generated_pictures_are_described_by_their_classes(tmp_path: Path) -> None:
    size = ("--classes", "3", "--samples-per-site", "20", "--side", "7")
    made = CliRunner().invoke(app, ["data", "generate", "pictures", "--sites", "2", *size, "--out", str(tmp_path)])
    assert (made.exit_code, "2 sites under" in made.stdout) == (0, True)
    described = CliRunner().invoke(app, ["data", "describe", str(tmp_path)])
    assert "dataset pictures: no ids in all sites; numbers: picture; 3 classes" in described.stdout


def test_users_of_leafs_files_become_sites(tmp_path: Path) -> None:
    users = {name: {"x": [[0.5] * 9] * 10, "y": [0, 1] * 5} for name in ("f0_1", "f0_2")}
    content = {"users": list(users), "num_samples": [10, 10], "user_data": users}
    (tmp_path / "all_data_0.json").write_text(json.dumps(content), encoding="utf-8")
    options = ("--partition", "user", "--classes", "62", "--test-share", "0.2", "--out", str(tmp_path / "out"))
    result = CliRunner().invoke(app, ["data", "import", "leaf", "--source", str(tmp_path), *options])
    assert (result.exit_code, "20 rows in 2 sites" in result.stdout) == (0, True)
    manifest = read_manifest(tmp_path / "out" / "site-f0-1")
    assert (manifest.num_train, manifest.num_test, manifest.num_classes) == (8, 2, 62)


def test_a_folder_without_leafs_files_is_bad_data(tmp_path: Path) -> None:
    options = ("--source", str(tmp_path), "--out", str(tmp_path / "out"))
    result = CliRunner().invoke(app, ["data", "import", "leaf", *options])
    assert isinstance(result.exception, CliError)
    assert (result.exception.code, "no .json file of LEAF's" in str(result.exception)) == (ExitCode.BAD_DATA, True)
