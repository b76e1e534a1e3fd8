"""Registries: names are unique, unknown ones are met with what there is, parameters are checked with their path."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field

from fljob_runtime import registry
from fljob_runtime.registry import ParametersModel, RegistryError, RegistryKind, UnknownNameError


class Sizes(ParametersModel):
    user_count: int = Field(3, ge=1)


class First: ...


class Second: ...


@pytest.fixture(autouse=True)
def _own_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_TABLES", {kind: {} for kind in RegistryKind})
    registry.register(RegistryKind.MODEL, "first", Sizes)(First)


def test_a_registered_class_is_found_with_its_parameters() -> None:
    assert registry.find(RegistryKind.MODEL, "first") == (First, Sizes)


def test_an_unknown_name_lists_what_there_is_and_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"models: no 'frist'; did you mean 'first'\? \(there are: first\)"):
        registry.find(RegistryKind.MODEL, "frist")


def test_a_name_is_known_to_its_own_kind_only() -> None:
    with pytest.raises(UnknownNameError, match=r"datasets: no 'first'"):
        registry.find(RegistryKind.DATASET, "first")


def test_a_taken_name_is_refused() -> None:
    with pytest.raises(RegistryError, match=r"the name 'first' is taken by .*First"):
        registry.register(RegistryKind.MODEL, "first", Sizes)(Second)


def test_a_class_of_the_same_name_from_another_module_does_not_replace_a_registered_one() -> None:
    impostor = type("First", (), {"__module__": "elsewhere"})
    with pytest.raises(RegistryError, match=r"taken"):
        registry.register(RegistryKind.MODEL, "first", Sizes)(impostor)


def test_registering_the_same_class_again_is_no_fault() -> None:
    assert registry.register(RegistryKind.MODEL, "first", Sizes)(First) is First


def test_an_unknown_parameter_is_named_with_its_path_and_the_nearest() -> None:
    with pytest.raises(RegistryError, match=r"model.userCuont: unknown parameter; did you mean 'userCount'"):
        registry.parse_parameters("model", Sizes, {"userCuont": 4})


def test_every_fault_in_the_parameters_is_told() -> None:
    with pytest.raises(RegistryError, match=r"model.userCount: .*greater.*; model.odd: unknown parameter"):
        registry.parse_parameters("model", Sizes, {"userCount": 0, "odd": 1})


def test_the_catalog_is_the_json_schema_of_the_parameters() -> None:
    schema = registry.catalog()["models"]["first"]
    assert schema["properties"]["userCount"]["minimum"] == 1
    assert schema["additionalProperties"] is False


def test_a_module_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"imports: module 'no.such.module' cannot be imported"):
        registry.load(["no.such.module"])


def test_parameters_metrics_and_registry_do_without_torch() -> None:
    modules = ["registry", "parameters", "metrics.sums", "algorithms.fedavg"]
    imports = "; ".join(f"import fljob_runtime.{module}" for module in modules)
    subprocess.run(
        [sys.executable, "-c", f"{imports}; import sys; assert 'torch' not in sys.modules"], timeout=60, check=True
    )


def test_a_module_of_ones_own_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_written.py").write_text("made = 1 / 0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RegistryError, match="imports: module 'half_written' fails: ZeroDivisionError"):
        registry.load(["half_written"])
