"""Which rounds an evaluation takes, what it says of those that are not kept, and its table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fljob_cli.errors import CliError
from fljob_cli.evaluate import Evaluated, choose, table
from fljob_runtime.metrics.sums import MetricSums

RUN = Path("run")


@pytest.mark.parametrize(
    ("wanted", "rounds"),
    [("", [8]), ("5", [5]), ("5..6", [5, 6]), ("6..", [6, 8]), ("..5", [2, 5]), ("..", [2, 5, 6, 8])],
)
def test_rounds_are_chosen_among_those_kept(wanted: str, rounds: list[int]) -> None:
    assert choose(wanted, [2, 5, 6, 8], RUN) == rounds


def test_a_range_with_rounds_that_are_not_kept_says_which_are() -> None:
    with pytest.raises(CliError, match=r"--rounds 3..6: not kept: 3, 4; kept are 2, 5, 6, 8"):
        choose("3..6", [2, 5, 6, 8], RUN)


def test_a_round_that_is_not_kept_says_which_are() -> None:
    with pytest.raises(CliError, match=r"not kept: 7; kept are 2, 8"):
        choose("7", [2, 8], RUN)


def test_a_range_of_a_billion_rounds_is_not_written_out() -> None:
    with pytest.raises(CliError, match=r"not kept: 1, 3, 4, 5, 6, 7, 9, 10 …; kept are 2, 8"):
        choose("1..999999999", [2, 8], RUN)


def test_an_open_range_beyond_the_last_round_is_refused() -> None:
    with pytest.raises(CliError, match="not kept"):
        choose("9..", [2, 8], RUN)


@pytest.mark.parametrize("wanted", ["x", "3-8", "3...8", "-1"])
def test_what_is_no_range_is_refused(wanted: str) -> None:
    with pytest.raises(CliError, match=r"write 3..8"):
        choose(wanted, [3], RUN)


def test_a_folder_without_a_round_is_refused() -> None:
    with pytest.raises(CliError, match="no round is kept"):
        choose("", [], RUN)


def evaluated(number: int, *logits: float) -> Evaluated:
    """Return a round of one site, whose examples are clicks and others by turns."""
    labels = np.arange(len(logits), dtype=np.float32) % 2
    return Evaluated.of(number, {"site-0": MetricSums.of(np.array(logits, np.float32), labels)})


@pytest.mark.parametrize("numbers", [(2, 3), (3, 2)])
def test_each_value_is_under_its_heading_in_every_round(numbers: tuple[int, int]) -> None:
    of = {2: evaluated(2, -2.0, -1.0, -3.0, -2.0), 3: evaluated(3, 1.0, 2.0, -1.0, -2.0)}  # 2 predicts no click
    head, *lines = table([of[number] for number in numbers])
    names = head.split()[3:]
    assert names.index("Accuracy") < names.index("Precision") < names.index("Recall") < names.index("AveragePrecision")
    for line in lines:
        number, _, samples, *cells = line.split()
        wanted = of[int(number)].whole.metrics
        assert (samples, len(line)) == ("4", len(head))
        assert dict(zip(names, cells, strict=True)) == {
            name: f"{wanted[name]:.4f}" if name in wanted else "-" for name in names
        }
    assert "Precision" not in of[2].whole.metrics
