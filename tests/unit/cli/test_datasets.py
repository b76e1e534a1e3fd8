"""`fljob data` where a folder cannot be written or an option is out of its limits: words, not a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import pytest
from typer.testing import CliRunner

from fljob_api.exit_codes import ExitCode
from fljob_cli.commands import data
from fljob_cli.datasets import generate_pictures, generate_synthetic
from fljob_cli.errors import CliError
from fljob_cli.main import app
from fljob_runtime.data.synthetic import SyntheticParameters
from fljob_runtime.data.synthetic_pictures import SyntheticPicturesParameters
from fljob_runtime.registry import ParametersModel
from support.processes import exit_code_after_sigterm

GENERATE = ("data", "generate", "synthetic", "--sites", "2", "--users-per-site", "20", "--out")
# A file of more than 4 KiB fails as it does on a full disk, but for the number of the error
FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); import fljob_cli.main as m; m.main()"


@pytest.mark.parametrize(
    ("out", "where"), [("file", r"file: File exists"), ("file/sites", r"file/sites: Not a directory")]
)
def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path, out: str, where: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CliError, match=where) as caught:
        CliRunner().invoke(app, [*GENERATE, str(tmp_path / out)], catch_exceptions=False)
    assert (caught.value.code, "--out is a new or old folder" in caught.value.hint) == (ExitCode.BAD_CONFIG, True)


def test_a_full_disk_is_told_in_words_and_nothing_stays(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FULL, *GENERATE, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    first, second = ended.stderr.splitlines()
    assert (ended.returncode, "File too large" in first) == (ExitCode.BAD_CONFIG, True)
    assert first.startswith(f"error: {tmp_path}")
    assert "on a disk with room" in second
    assert list(tmp_path.iterdir()) == []


def test_an_option_out_of_its_limits_is_refused_as_wrong_usage(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["data", "generate", "pictures", "--side", "1025", "--out", str(tmp_path)])
    assert (result.exit_code, "Invalid value for '--side'" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("command", "parameters", "count"),
    [(data.synthetic, SyntheticParameters, 3), (data.pictures, SyntheticPicturesParameters, 4)],
)
def test_options_have_the_limits_of_the_parameters(
    command: Callable[..., None], parameters: type[ParametersModel], count: int
) -> None:
    fields = parameters.model_json_schema(by_alias=False)["properties"]
    hints = get_type_hints(command, include_extras=True)
    limits = {name: hints[name].__metadata__[0] for name in hints.keys() & fields.keys()}
    assert len(limits) == count
    expected = {name: (fields[name]["minimum"], fields[name]["maximum"]) for name in limits}
    assert {name: (option.min, option.max) for name, option in limits.items()} == expected


def test_a_parameter_out_of_its_limits_is_named_as_its_option(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="--users-per-site 0: Input should be greater than or equal to 1"):
        generate_synthetic(tmp_path, sites=1, seed=0, parameters={"users_per_site": 0})
    with pytest.raises(CliError, match="--side 1025: Input should be less than or equal to 1024"):
        generate_pictures(tmp_path, sites=1, seed=0, parameters={"side": 1025})


def test_a_command_of_an_import_ends_with_it(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("user,click\n", encoding="utf-8")
    mark = tmp_path / "pid"
    command = [
        "data",
        "import",
        "table",
        "--source",
        str(tmp_path / "rows"),
        "--out",
        str(tmp_path / "out"),
        "--label",
        "click",
    ]
    pipe = f"sh -c 'echo $$ > {mark}.new; mv {mark}.new {mark}; exec sleep 60'"
    program = [sys.executable, "-m", "fljob_cli", *command, "--ids", "user", "--pipe", pipe]
    code = exit_code_after_sigterm(program, "the command of the pipe", mark.exists)
    assert code == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
