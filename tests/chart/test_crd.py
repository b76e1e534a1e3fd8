"""The chart's CRD is that of crds/, kept on uninstall; the chart's generated files are current."""

from __future__ import annotations

from pathlib import Path

import generate_chart
import pytest
import yaml
from chart.rendering import render

ROOT = Path(__file__).parents[2]
KEEP = {"helm.sh/resource-policy": "keep"}


@pytest.mark.helm
def test_crd_is_the_generated_one_and_kept() -> None:
    crd = render().only("CustomResourceDefinition")
    assert crd["metadata"].pop("annotations") == KEEP
    assert crd == yaml.safe_load((ROOT / "crds/fljob.dev_fljobs.yaml").read_text())


@pytest.mark.helm
def test_crd_can_be_left_out() -> None:
    assert render({"crds": {"install": False}}).all("CustomResourceDefinition") == []


def test_crd_is_a_template_since_helm_never_upgrades_a_crds_folder() -> None:
    assert not (ROOT / "charts/fljob/crds").exists()


@pytest.mark.parametrize("path", sorted(generate_chart.files(ROOT)), ids=lambda p: p.name)
def test_generated_file_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generate_chart.files(ROOT)[path], "run `make generate`"


def test_no_generated_folder_holds_a_file_that_is_not_generated() -> None:
    chart = ROOT / "charts/fljob/files"
    there = {*(chart / "dashboards").iterdir(), *(chart / "rbac").iterdir()}
    assert there <= set(generate_chart.files(ROOT))
