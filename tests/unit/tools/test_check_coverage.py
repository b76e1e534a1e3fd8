"""Coverage counts lines and branches below a path."""

from __future__ import annotations

from typing import Any

from check_coverage import covered


def _file(lines: int, of_lines: int, branches: int, of_branches: int) -> dict[str, Any]:
    return {
        "summary": {
            "covered_lines": lines,
            "num_statements": of_lines,
            "covered_branches": branches,
            "num_branches": of_branches,
        }
    }


def test_lines_and_branches_below_the_path_count_together() -> None:
    report = {"files": {"a/b.py": _file(6, 8, 1, 2), "a/c.py": _file(2, 8, 0, 2), "d.py": _file(0, 9, 0, 9)}}

    assert covered(report, "a") == 45.0


def test_nothing_to_cover_is_covered() -> None:
    assert covered({"files": {}}, "a") == 100.0
