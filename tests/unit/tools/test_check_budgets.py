"""Sizes are counted as a reader counts them."""

from __future__ import annotations

from pathlib import Path

import pytest
from check_budgets import findings


def _function(lines: int) -> str:
    return "def f() -> None:\n" + "    pass\n" * (lines - 1)


@pytest.mark.parametrize(("lines", "hard"), [(40, []), (41, [False]), (60, [False]), (61, [True])])
def test_a_function_is_measured_from_its_first_line_to_its_last(lines: int, hard: list[bool]) -> None:
    assert [finding.hard for finding in findings(Path("m.py"), _function(lines))] == hard


@pytest.mark.parametrize(("lines", "hard"), [(400, []), (401, [False]), (600, [False]), (601, [True])])
def test_a_file_is_measured_by_its_lines(lines: int, hard: list[bool]) -> None:
    assert [finding.hard for finding in findings(Path("m.py"), "x = 1\n" * lines)] == hard


def test_a_method_and_an_async_function_count_too() -> None:
    text = "class C:\n    async def f(self) -> None:\n" + "        pass\n" * 60

    assert [str(finding) for finding in findings(Path("m.py"), text)] == [
        "m.py:2 f: 61 lines (past the hard limit)",
    ]
