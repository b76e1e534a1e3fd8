"""Generated files are what their sources say now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from generate import stale

from fljob_api.exit_codes import ExitCode

ROOT = Path(__file__).parents[2]


def test_no_generated_file_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    assert stale() == []


def test_the_page_of_exit_codes_lists_every_code() -> None:
    page = ROOT / "docs/reference/exit-codes.md"

    assert all(f"| {int(code)} |" in page.read_text(encoding="utf-8") for code in ExitCode)


def test_the_catalog_has_every_kind_of_name() -> None:
    catalog = json.loads((ROOT / "api/src/fljob_api/catalog.json").read_text(encoding="utf-8"))

    kinds = {"models", "datasets", "optimizers", "selectors", "serverOptimizers", "strategies", "compressors"}
    assert set(catalog) == kinds
