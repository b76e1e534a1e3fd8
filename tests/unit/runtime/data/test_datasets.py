"""Opening data by the name of a dataset."""

from __future__ import annotations

import pytest

from fljob_runtime import registry
from fljob_runtime.data.datasets import OpenRequest, open_dataset
from fljob_runtime.registry import ParametersModel, RegistryError, RegistryKind, UnknownNameError

REQUEST = OpenRequest("site-0", 0, 2, 0, None)


@pytest.fixture(autouse=True)
def _built_in() -> None:
    registry.load()


def test_a_dataset_is_opened_with_its_parameters_as_text() -> None:
    data = open_dataset("synthetic", {"usersPerSite": "3", "items": "5", "samplesPerUser": "7"}, REQUEST)
    assert (data.schema.ids, data.num_samples) == ({"user": 6, "item": 5}, 21)


def test_an_unknown_dataset_is_met_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'movielens'"):
        open_dataset("movieLense", {}, REQUEST)


def test_an_unknown_parameter_is_named_with_its_path() -> None:
    with pytest.raises(
        RegistryError, match=r"spec\.dataset\.parameters\.item: unknown parameter; did you mean 'items'"
    ):
        open_dataset("synthetic", {"item": 3}, REQUEST)


def test_a_class_that_is_no_dataset_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd:
        def __init__(self, parameters: ParametersModel, request: OpenRequest) -> None: ...

    monkeypatch.setitem(registry._TABLES[RegistryKind.DATASET], "odd", (Odd, ParametersModel))
    with pytest.raises(TypeError, match="Odd must derive from SiteData"):
        open_dataset("odd", {}, REQUEST)
