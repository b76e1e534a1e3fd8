"""What `fljob train` is asked to look at, what it cannot have, and what it says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner
from unit.runtime.training.tiny import trainer

from fljob_cli.display import plain_console
from fljob_cli.errors import CliError
from fljob_cli.main import app
from fljob_cli.watch import Wanted, Watch
from fljob_runtime.training.pooled import PooledTraining
from fljob_runtime.training.profiling import TRACE


def test_histograms_alone_are_refused_with_what_they_need() -> None:
    with pytest.raises(CliError, match=r"--histograms: are for TensorBoard; say where: --tensorboard DIR"):
        Wanted(histograms=2).check()


def test_nothing_asked_for_and_a_profile_need_nothing() -> None:
    Wanted().check()
    Wanted(profile=Path("profile")).check()


def test_mini_batches_of_no_profile_are_refused_with_what_they_need() -> None:
    with pytest.raises(CliError, match=r"--profile-batches: .*--profile DIR"):
        Wanted(profile_batches=50).check()
    Wanted(profile=Path("profile"), profile_batches=50).check()


def watched(folder: Path) -> None:
    """Train an epoch with a profile of one mini-batch."""
    training = PooledTraining(trainer("MLP"))
    watch = Watch(Wanted(profile=folder, profile_batches=1), training, plain_console())
    with watch.epoch() as step:
        training.run_epoch(on_step=step)


def test_the_folder_of_a_profile_is_told_as_it_is_called(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watched(tmp_path / "p[bold]:car:")
    assert f"1 mini-batches profiled: {tmp_path / 'p[bold]:car:'}\n" in capsys.readouterr().out


def test_a_profile_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / TRACE).mkdir()
    with pytest.raises(CliError, match=r"--profile .*trace\.json: .*; choose another folder"):
        watched(tmp_path)
    assert "profiled" not in capsys.readouterr().out


@pytest.mark.parametrize(("command", "extra"), [("train", "[tensorboard]"), ("model export", "[onnx]")])
def test_help_names_the_extra_that_is_needed(command: str, extra: str) -> None:
    shown = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"}).stdout
    assert f"fljob-runtime{extra}" in shown.replace("\n", "")
