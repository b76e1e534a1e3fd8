"""Making models by name: initial values are a function of the seed; tables and dense parameters are told apart."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from fljob_runtime import registry
from fljob_runtime.models.base import Batch, RecommenderModel, make_model
from fljob_runtime.parameters import Kind, LayoutError, ModelError, ParamSpec
from fljob_runtime.registry import ParametersModel, RegistryError, RegistryKind, UnknownNameError
from fljob_runtime.schema import IdSequence, Schema, SchemaError

SCHEMA = Schema({"user": 5, "item": 7})


class Own(RecommenderModel):
    """A user's own model, as short as one can be."""

    TABLES: ClassVar = {"bias.weight": "item", "absent.weight": "user"}

    def __init__(self, _: ParametersModel, schema: Schema, generator: torch.Generator) -> None:
        super().__init__()
        self.bias = nn.Embedding(schema.num_ids("item"), 1)
        self.offset = nn.Parameter(torch.randn(2, generator=generator))

    def logits(self, batch: Batch) -> Tensor:
        return torch.add(self.bias(batch["item"]).squeeze(1), self.offset[batch["user"] % 2])


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.load()
    monkeypatch.setitem(registry._TABLES[RegistryKind.MODEL], "own", (Own, ParametersModel))


def values(seed: int) -> bytes:
    model = make_model("ncf", {"layers": "8,4"}, SCHEMA, seed)
    return b"".join(value.detach().numpy().tobytes() for value in model.parameters())


def test_initial_values_are_a_function_of_the_seed() -> None:
    assert values(3) == values(3)
    assert values(3) != values(4)


def test_initial_values_do_not_depend_on_the_global_generator() -> None:
    torch.manual_seed(1)
    first = values(3)
    torch.manual_seed(2)
    assert values(3) == first


def test_making_a_model_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    values(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_layout_tells_tables_from_dense_parameters() -> None:
    layout = make_model("own", {}, SCHEMA, 0).layout()
    assert set(layout.specs) == {ParamSpec("bias.weight", (7, 1), Kind.ROWS), ParamSpec("offset", (2,), Kind.DENSE)}


def test_an_unknown_model_is_met_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="models: no 'ncff'; did you mean 'ncf'"):
        make_model("ncff", {}, SCHEMA, 0)


def test_an_unknown_parameter_is_named_with_its_path() -> None:
    with pytest.raises(
        RegistryError, match=r"spec\.model\.parameters\.layer: unknown parameter; did you mean 'layers'"
    ):
        make_model("ncf", {"layer": "8"}, SCHEMA, 0)


def test_data_without_a_column_that_the_model_reads_are_refused() -> None:
    with pytest.raises(SchemaError, match="reads ids 'user'"):
        make_model("ncf", {}, Schema({"item": 7}), 0)


def test_a_class_that_is_no_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd:
        def __init__(self, parameters: ParametersModel, schema: Schema, generator: torch.Generator) -> None: ...

    monkeypatch.setitem(registry._TABLES[RegistryKind.MODEL], "odd", (Odd, ParametersModel))
    with pytest.raises(TypeError, match="Odd must derive from RecommenderModel"):
        make_model("odd", {}, SCHEMA, 0)


def test_a_name_that_an_algorithm_could_keep_something_under_is_refused() -> None:
    model = make_model("own", {}, SCHEMA, 0)
    model.register_parameter("offset@c", nn.Parameter(torch.zeros(2)))
    with pytest.raises(LayoutError, match=r"\['offset@c'\]: a name may not have '@' in it"):
        model.layout()


def test_that_data_have_no_clicks_is_said_before_what_else_does_not_fit() -> None:
    sessions = Schema({}, sequences={"items": IdSequence(7, 4)}, num_classes=0)
    for name in ("dlrm", "mlp", "ncf"):
        with pytest.raises(SchemaError, match=f"model '{name}' learns labels 0 and 1; the dataset has no labels"):
            make_model(name, {}, sessions, 0)


@pytest.mark.parametrize("name", ["type", "items", "children", "float", "training", "a.b", ""])
@pytest.mark.parametrize(("model", "parameters"), [("fm", {}), ("deepfm", {}), ("mlp", {"wide": True}), ("dlrm", {})])
def test_a_column_whose_name_torch_cannot_have_is_refused_by_name(
    name: str, model: str, parameters: dict[str, bool]
) -> None:
    with pytest.raises(SchemaError, match=f"column '{name}' cannot name a table.*; rename the column in the data"):
        make_model(model, parameters, Schema({"user": 5, name: 7}), 0)


def test_a_model_that_names_nothing_by_columns_takes_any_names() -> None:
    schema = Schema({"user": 5, "item": 7, "type": 3, "a.b": 2})
    assert set(make_model("ncf", {"mode": "GMF"}, schema, 0).tables().values()) == {"user", "item"}


def test_a_model_of_clicks_refuses_data_with_other_labels() -> None:
    with pytest.raises(SchemaError, match="10 classes"):
        make_model("ncf", {}, Schema({"user": 5, "item": 7}, num_classes=10), 0)


class _Counts(Own):
    def __init__(self, parameters: ParametersModel, schema: Schema, generator: torch.Generator) -> None:
        super().__init__(parameters, schema, generator)
        self.register_buffer("seen", torch.zeros(1))


class _Misnamed(Own):
    TABLES: ClassVar = {"bais.weight": "item"}


class _Elsewhere(Own):
    TABLES: ClassVar = {"bias.weight": "film"}


class _Fails(Own):
    def __init__(self, parameters: ParametersModel, schema: Schema, generator: torch.Generator) -> None:
        super().__init__(parameters, schema, generator)
        self.other = nn.Embedding(schema.num_ids("item"), "8")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (_Counts, "keeps seen beside its parameters"),
        (_Misnamed, "its parameters are"),
        (_Elsewhere, "the data have"),
        (_Fails, "TypeError"),
    ],
)
def test_a_model_that_could_not_be_trained_as_it_is_is_refused(
    model: type[Own], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._TABLES[RegistryKind.MODEL], "own", (model, ParametersModel))
    with pytest.raises(ModelError, match=f"model 'own'.*{words}"):
        make_model("own", {}, SCHEMA, 0)
