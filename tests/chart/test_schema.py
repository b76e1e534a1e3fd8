"""values.schema.json refuses what the chart would otherwise drop without a word."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from chart.rendering import CHART, HelmError, Values, helm, render

pytestmark = pytest.mark.helm


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replica": 2}, "'replica' not allowed"),
        ({"monitoring": {"podMonitors": {}}}, "'podMonitors' not allowed"),
        ({"image": {"tag": "1"}}, "'tag' not allowed"),
        ({"replicas": 3}, "/replicas"),
        ({"replicas": 0}, "/replicas"),
        ({"replicas": "2"}, "/replicas"),
        ({"watchNamespaces": ["Team_A"]}, "/watchNamespaces/0"),
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
        ({"logLevel": "verbose"}, "/logLevel"),
        ({"monitoring": {"podMonitor": {"interval": "often"}}}, "/monitoring/podMonitor/interval"),
        ({"networkPolicy": {"apiServerPorts": []}}, "/networkPolicy/apiServerPorts"),
    ],
)
def test_a_bad_value_is_refused_by_its_place(values: Values, words: str) -> None:
    with pytest.raises(HelmError, match=words):
        render(values)


def test_every_value_is_in_the_schema_and_every_schema_field_has_a_value() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    del schema["properties"]["global"]  # helm's own
    assert set(_fields(schema, "")) == set(_keys(values, schema, ""))


def test_lint_is_clean() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))


def _fields(schema: Any, path: str) -> list[str]:
    if "properties" not in schema:
        return [path]
    return [field for name, part in schema["properties"].items() for field in _fields(part, f"{path}/{name}")]


def _keys(values: Any, schema: Any, path: str) -> list[str]:
    if "properties" not in schema:
        return [path]
    parts = schema["properties"]
    return [key for name, value in values.items() for key in _keys(value, parts.get(name, {}), f"{path}/{name}")]
