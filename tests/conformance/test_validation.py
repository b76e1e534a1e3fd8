"""The command line refuses what the API and the operator refuse, at the same path, from the YAML a person wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from contract.manifests import INVALID, Case, changed, full, minimal

from fljob_api.exit_codes import ExitCode
from fljob_cli.validate import check_files


def _verdict(manifest: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    path = folder / "fljob.yaml"
    path.write_text(yaml.safe_dump(manifest), encoding="utf-8")
    code = check_files([path], [], json_output=True)
    (verdict,) = json.loads(capsys.readouterr().out)["files"]
    return code, verdict


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case.name)
def test_fljob_validate_refuses_an_invalid_manifest_at_its_path(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, verdict = _verdict(changed(minimal(), case.changes), tmp_path, capsys)

    assert code == ExitCode.BAD_CONFIG
    assert [problem["path"] for problem in verdict["problems"]] == [case.path]


@pytest.mark.parametrize("manifest", [minimal(), full()], ids=["minimal", "full"])
def test_fljob_validate_accepts_a_valid_manifest(
    manifest: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, verdict = _verdict(manifest, tmp_path, capsys)

    assert (code, verdict["valid"]) == (ExitCode.DONE, True)
