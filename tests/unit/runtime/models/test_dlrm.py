"""DLRM: the published widths, numbers by hand, and data without numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fljob_runtime import registry
from fljob_runtime.models.base import make_model
from fljob_runtime.models.dlrm import Dlrm
from fljob_runtime.models.tasks import Clicks
from fljob_runtime.parameters import Kind
from fljob_runtime.registry import RegistryError
from fljob_runtime.schema import PADDING, IdSequence, Schema, SchemaError

registry.load()
KAGGLE = Schema({f"c{n}": 10 for n in range(26)}, {f"i{n}": () for n in range(13)})
SMALL = Schema({"user": 2, "item": 3}, {"price": ()})


def made(schema: Schema, **parameters: Any) -> Dlrm:
    model = make_model("dlrm", parameters, schema, 0)
    assert isinstance(model, Dlrm)
    return model


def fill(model: Dlrm, values: dict[str, Any]) -> None:
    """Set parameters by name, all others to zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.as_tensor(values.get(name, 0.0)))


def test_the_published_shape_has_351_products_and_367_inputs_of_the_top() -> None:
    model = made(KAGGLE, embeddingDim="16", bottom="512,256,64", top="512,256")
    assert model.pairs is not None
    assert model.pairs.shape == (27 * 26 // 2,)
    assert model.top.layers[0].weight.shape == (512, 367)


@pytest.mark.parametrize(
    ("parameters", "width"),
    [({"interaction": "Cat"}, 27 * 16), ({"interactItself": "true"}, 27 * 28 // 2 + 16)],
)
def test_other_interactions_have_their_width(parameters: dict[str, str], width: int) -> None:
    assert made(KAGGLE, **parameters).top.layers[0].weight.shape == (64, width)


def test_products_are_those_of_all_pairs_behind_the_numbers_vector() -> None:
    model = made(SMALL, embeddingDim="2", bottom="1", top="1")
    values = {
        "bottom.layers.0.weight": [[2.0]],
        "bottom.layers.1.weight": [[1.0], [0.5]],
        "embeddings.user.weight": [[0.0, 0.0], [3.0, 4.0]],
        "embeddings.item.weight": [[5.0, 6.0], [0.0, 0.0], [0.0, 0.0]],
    }
    fill(model, values)
    batch = {"user": torch.tensor([1]), "item": torch.tensor([0]), "price": torch.tensor([3.0])}
    # the numbers' vector is (6, 3); (3, 4)·(6, 3) = 30, (5, 6)·(6, 3) = 48, (5, 6)·(3, 4) = 39
    assert model.interactions(batch).tolist() == [[6.0, 3.0, 30.0, 48.0, 39.0]]


def test_the_score_is_what_the_top_makes_of_it() -> None:
    model = made(SMALL, embeddingDim="1", bottom="1", top="2", interaction="Cat")
    values = {
        "embeddings.user.weight": [[2.0], [0.0]],
        "embeddings.item.weight": [[0.0], [3.0], [0.0]],
        "top.layers.0.weight": [[0.0, 1.0, 1.0], [0.0, -1.0, 0.0]],
        "output.weight": [[10.0, 100.0]],
        "output.bias": [0.5],
    }
    fill(model, values)
    batch = {"user": torch.tensor([0]), "item": torch.tensor([1]), "price": torch.tensor([1.0])}
    assert model.logits(batch).tolist() == [50.5]


def test_data_without_numbers_have_no_bottom() -> None:
    model = made(Schema({"user": 2, "item": 3}), embeddingDim="4")
    assert not [name for name, _ in model.named_parameters() if name.startswith("bottom")]
    assert model.top.layers[0].weight.shape == (64, 1)
    assert model.logits({"user": torch.tensor([0, 1]), "item": torch.tensor([2, 2])}).shape == (2,)


def test_each_column_of_ids_has_a_table_and_the_rest_is_dense() -> None:
    rows = {spec.name for spec in made(SMALL).layout().specs if spec.kind is Kind.ROWS}
    assert rows == {"embeddings.user.weight", "embeddings.item.weight"}


def whole(model: Dlrm, **columns: Any) -> dict[str, torch.Tensor]:
    """Return a batch of the data's columns and those that the model derives."""
    batch = {name: np.array(values) for name, values in columns.items()}
    return {name: torch.from_numpy(values) for name, values in {**batch, **model.derived(batch)}.items()}


def tables_of(model: Dlrm) -> dict[str, tuple[int, ...]]:
    return {spec.name: spec.shape for spec in model.layout().specs if spec.kind is Kind.ROWS}


def test_tables_beyond_the_threshold_go_by_quotients_and_remainders() -> None:
    model = made(Schema({"user": 10, "item": 11}), embeddings="QuotientRemainder", threshold="10", embeddingDim="6")
    assert tables_of(model) == {
        "embeddings.user.weight": (10, 6),
        "embeddings.item.quotient.weight": (3, 6),
        "embeddings.item.remainder.weight": (4, 6),
    }
    assert model.tables()["embeddings.item.remainder.weight"] == "item%4"
    assert model.logits(whole(model, user=[0, 9], item=[10, 3])).shape == (2,)


def test_halves_of_concat_need_an_even_width() -> None:
    with pytest.raises(RegistryError, match="must be even, not 5"):
        made(SMALL, embeddings="QuotientRemainder", operation="Concat", embeddingDim="5")


def test_without_collisions_the_score_is_that_of_plain_tables() -> None:
    schema, parameters = Schema({"user": 2, "item": 3}), {"embeddingDim": "4"}
    plain = made(schema, **parameters)
    model = made(schema, embeddings="QuotientRemainder", collisions="1", threshold="0", **parameters)
    values = {name.replace("quotient.", ""): value for name, value in model.state_dict().items()}
    plain.load_state_dict({name: value for name, value in values.items() if "remainder" not in name})
    with torch.no_grad():
        for name in ("user", "item"):
            model.get_parameter(f"embeddings.{name}.remainder.weight").fill_(1.0)
    columns = {"user": [0, 1, 1], "item": [2, 0, 1]}
    assert torch.equal(model.logits(whole(model, **columns)), plain.logits(whole(plain, **columns)))


def test_mixed_dimensions_narrow_the_larger_tables_alone() -> None:
    schema = Schema({"day": 5, "user": 20, "item": 500})
    parameters = {"embeddings": "MixedDimension", "temperature": "0.5", "threshold": "10", "embeddingDim": "8"}
    model = made(schema, **parameters)
    assert tables_of(model) == {
        "embeddings.day.weight": (5, 8),
        "embeddings.user.table.weight": (20, 4),
        "embeddings.item.table.weight": (500, 1),
    }
    assert model.get_parameter("embeddings.item.projection.weight").shape == (8, 1)


def test_a_table_of_one_row_does_not_narrow_the_others() -> None:
    parameters = {"embeddings": "MixedDimension", "temperature": "0.5", "threshold": "10", "embeddingDim": "8"}
    wide, keyed = (made(Schema({"any": rows, "day": 5, "user": 20}), **parameters) for rows in (5, 1))
    assert tables_of(keyed) == {**tables_of(wide), "embeddings.any.weight": (1, 8)}


def test_mixed_dimensions_of_no_temperature_are_plain_tables() -> None:
    schema = Schema({"day": 5, "user": 500})
    model = made(schema, embeddings="MixedDimension", temperature="0", threshold="0")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), made(schema).parameters(), strict=True))


@pytest.mark.parametrize("way", ["QuotientRemainder", "MixedDimension"])
def test_ids_without_an_end_have_plain_tables_only(way: str) -> None:
    with pytest.raises(SchemaError, match="ids of 'user' are any numbers; set its parameter embeddings to Plain"):
        made(Schema({"user": 2}, any_ids=frozenset({"user"})), embeddings=way)


BAGS = Schema({"user": 1}, sequences={"seen": IdSequence(3, 3)})


@pytest.mark.parametrize(
    ("pooling", "vectors"), [("Sum", [5.0, 0.0]), ("Mean", [2.5, 0.0]), ("Learned", [1.0 * 3.0 + 4.0 * 0.5, 0.0])]
)
def test_a_bag_is_pooled_without_its_padding(pooling: str, vectors: list[float]) -> None:
    model = made(BAGS, embeddingDim="1", interaction="Cat", pooling=pooling)
    values = {"embeddings.seen.weight": [[1.0], [4.0], [9.0]], "pooling.seen.weight": [[2.0], [-0.5], [7.0]]}
    fill(model, values)
    batch = whole(model, user=[0, 0], seen=[[0, 1, PADDING], [PADDING] * 3])
    assert model.interactions(batch)[:, 1].tolist() == vectors


def test_learned_weights_are_a_table_of_the_bag_and_one_at_first() -> None:
    learned, summed = (made(BAGS, pooling=pooling) for pooling in ("Learned", "Sum"))
    assert learned.tables()["pooling.seen.weight"] == "seen"
    learned.load_state_dict({**learned.state_dict(), **summed.state_dict()})
    columns = {"user": [0], "seen": [[0, 2, 2]]}
    assert torch.equal(learned.logits(whole(learned, **columns)), summed.logits(whole(summed, **columns)))


def test_bags_go_by_quotients_and_remainders_too() -> None:
    model = made(
        BAGS, embeddings="QuotientRemainder", collisions="2", threshold="0", embeddingDim="1", interaction="Cat"
    )
    values = {"embeddings.seen.quotient.weight": [[2.0], [3.0]], "embeddings.seen.remainder.weight": [[5.0], [7.0]]}
    fill(model, values)
    batch = whole(model, user=[0], seen=[[1, 2, PADDING]])
    assert model.interactions(batch)[:, 1].tolist() == [2.0 * 7.0 + 3.0 * 5.0]


def test_clicks_may_weigh_more_and_errors_be_squared() -> None:
    model = made(SMALL, positiveWeight="4", squaredError="true")
    assert model.task == Clicks(4.0, squared=True)


def test_probabilities_stay_within_the_limit() -> None:
    model = made(Schema({"user": 2, "item": 3}), probabilityLimit="0.2")
    fill(model, {"output.bias": [50.0]})
    assert torch.sigmoid(model.logits(whole(model, user=[0], item=[2]))).tolist() == pytest.approx([0.8])


def test_one_column_alone_has_nothing_to_interact() -> None:
    with pytest.raises(SchemaError, match="nothing to interact; add columns, or interaction: Cat"):
        make_model("dlrm", {}, Schema({"item": 5}), 0)
    make_model("dlrm", {"interaction": "Cat"}, Schema({"item": 5}), 0)
