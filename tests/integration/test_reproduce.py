"""`fljob reproduce` on generated data: every kind of row, the files it leaves, and going on where it stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LIMIT_S = 240


def reproduce(out: Path) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "fljob_cli",
        "reproduce",
        "dlrm-criteo",
        "--quick",
        "--out",
        str(out),
        "-o",
        "json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return value


def test_a_comparison_is_whole_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = reproduce(tmp_path)
    rows = {row["row"]: row for row in first["rows"]}
    assert list(rows) == ["pooled", "Sync", *(f"alone site-{index}" for index in range(4))]
    assert all(row["passes"][-1] > 0.5 for row in rows.values())
    assert rows["pooled"]["passes"][-1] > max(rows[f"alone site-{index}"]["passes"][-1] for index in range(4))
    assert "| Sync |" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "<polyline" in (tmp_path / "figure.svg").read_text(encoding="utf-8")
    (tmp_path / "cells/Sync-0/cell.json").unlink()
    again = reproduce(tmp_path)
    assert [row["passes"] for row in again["rows"]] == [row["passes"] for row in first["rows"]]
    kept = {run["row"]: run["wall_s"] for run in first["runs"]}
    assert {run["row"] for run in again["runs"] if run["wall_s"] != kept[run["row"]]} <= {"Sync", "alone"}
