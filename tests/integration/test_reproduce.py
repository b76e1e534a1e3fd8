"""`fljob reproduce` on generated data: every kind of row, the files it leaves, and going on where it stopped."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fljob_cli.reproduce import command
from fljob_cli.reproduce.tables import How, Row, Setup, Table
from support.processes import exit_code_after_sigterm, processes_of, wait_until

_DATA = {"name": "synthetic", "parameters": {"usersPerSite": 40, "samplesPerUser": 200, "testPerUser": 50}}
_SMALL = Setup(
    spec={"model": {"name": "mf"}, "dataset": _DATA, "optimizer": {"name": "Adam", "learningRate": "0.02"}},
    passes=2,
    seeds=(0,),
    sites=2,
)
TABLE = Table(
    "small", "Small", "here", (Row("pooled", How.POOLED), Row("Sync"), Row("alone", How.ALONE)), _SMALL, _SMALL
)


def reproduce(out: Path, capsys: pytest.CaptureFixture[str], *rows: str) -> dict[str, Any]:
    command.reproduce(command.Request("small", None, out, quick=True, seeds=(), json_output=True, rows=rows))
    value: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return value


def test_a_comparison_is_whole_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "ALL", {"small": TABLE})
    first = reproduce(tmp_path, capsys)
    rows = {row["row"]: row for row in first["rows"]}
    assert list(rows) == ["pooled", "Sync", "alone site-0", "alone site-1"]
    assert all(row["passes"][-1] > 0.5 for row in rows.values())
    assert rows["pooled"]["passes"][-1] > max(rows[f"alone site-{index}"]["passes"][-1] for index in range(2))
    assert "| Sync |" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "<polyline" in (tmp_path / "figure.svg").read_text(encoding="utf-8")
    for row in ("Sync", "pooled"):
        next(tmp_path.glob(f"cells/{row}-0-*/cell.json")).unlink()
    again = reproduce(tmp_path, capsys)
    assert [row["passes"] for row in again["rows"]] == [row["passes"] for row in first["rows"]]
    walls = [{run["row"] + run["site"]: run["wall_s"] for run in made["runs"]} for made in (first, again)]
    assert {name for name, wall in walls[1].items() if wall != walls[0][name]} == {"Sync", "pooled"}
    only = reproduce(tmp_path, capsys, "Sync")
    assert [row["row"] for row in only["rows"]] == ["Sync"]


@pytest.mark.parametrize("row", ["pooled", "Sync"])
def test_what_a_comparison_runs_ends_with_it(tmp_path: Path, row: str) -> None:
    command = ["reproduce", "ncf-fl-ps", "--quick", "--row", row, "--seed", "0", "--out", str(tmp_path)]
    program, many = [sys.executable, "-m", "fljob_cli", *command], 1 if row == "pooled" else 3
    code = exit_code_after_sigterm(program, "processes of a cell", lambda: len(processes_of(tmp_path)) > many)
    assert code == 143
    wait_until("the end of its trainers", lambda: not processes_of(tmp_path), 10.0)  # by the kernel, a moment later
