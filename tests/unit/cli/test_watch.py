"""What `fljob train` is asked to look at, and what it cannot have."""

from __future__ import annotations

from pathlib import Path

import pytest

from fljob_cli.errors import CliError
from fljob_cli.watch import Wanted


def test_histograms_alone_are_refused_with_what_they_need() -> None:
    with pytest.raises(CliError, match=r"--histograms: are for TensorBoard; say where: --tensorboard DIR"):
        Wanted(histograms=2).check()


def test_nothing_asked_for_and_a_profile_need_nothing() -> None:
    Wanted().check()
    Wanted(profile=Path("profile")).check()
