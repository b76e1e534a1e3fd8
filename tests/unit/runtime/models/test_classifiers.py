"""Softmax regression and the small convolutional network: published widths, numbers by hand, data they cannot read."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fljob_runtime import registry
from fljob_runtime.models.base import make_model
from fljob_runtime.models.classifiers import Classifier, Cnn
from fljob_runtime.parameters import Kind
from fljob_runtime.schema import IdSequence, Schema, SchemaError

registry.load()
FEMNIST = Schema({}, {"picture": (28, 28)}, num_classes=62)


def made(name: str, schema: Schema, **parameters: Any) -> Classifier:
    model = make_model(name, parameters, schema, 0)
    assert isinstance(model, Classifier)
    return model


def widths(model: Classifier) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.named_parameters() if name.endswith("weight")}


def test_softmax_weighs_every_pixel_and_every_number() -> None:
    schema = Schema({}, {"age": (), "picture": (2, 2)}, num_classes=3)
    model = made("softmax", schema)
    with torch.no_grad():
        model.get_parameter("output.weight").copy_(torch.eye(3, 5))
        model.get_parameter("output.bias").copy_(torch.tensor([0.0, 0.0, 10.0]))
    batch = {"age": torch.tensor([7.0]), "picture": torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])}
    assert model.scores(batch).tolist() == [[7.0, 1.0, 12.0]]


def test_untrained_softmax_gives_each_class_the_same_chance() -> None:
    model = made("softmax", FEMNIST)
    loss, outputs, _ = model.loss({"picture": torch.rand(4, 28, 28)}, torch.tensor([0.0, 1.0, 2.0, 61.0]))
    assert outputs.shape == (4, 62)
    assert loss.item() == pytest.approx(math.log(62))


def test_the_network_has_leafs_widths() -> None:
    assert widths(made("cnn", FEMNIST)) == {
        "convolutions.0.weight": (32, 1, 5, 5),
        "convolutions.1.weight": (64, 32, 5, 5),
        "dense.weight": (2048, 7 * 7 * 64),
        "output.weight": (62, 2048),
    }


def test_the_network_has_paddlefls_widths_if_told() -> None:
    model = made("cnn", FEMNIST, channels="20,50", dense="0", padding="false")
    assert widths(model) == {
        "convolutions.0.weight": (20, 1, 5, 5),
        "convolutions.1.weight": (50, 20, 5, 5),
        "output.weight": (62, 4 * 4 * 50),  # 28 - 4 = 24, 12, 12 - 4 = 8, 4
    }
    assert model.scores({"picture": torch.zeros(3, 28, 28)}).shape == (3, 62)


def test_a_convolution_is_cut_at_zero_and_pooled() -> None:
    model = made("cnn", Schema({}, {"picture": (2, 4)}, num_classes=2), channels="1", kernel="1", dense="0")
    with torch.no_grad():
        model.get_parameter("convolutions.0.weight").fill_(-2.0)
        model.get_parameter("output.weight").copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    picture = torch.tensor([[[1.0, 2.0, 3.0, -4.0], [5.0, -6.0, 7.0, -3.0]]])
    assert model.scores({"picture": picture}).tolist() == [[12.0, 8.0]]  # of each 2 x 2, the least is -6 and -4


def test_pictures_may_have_channels() -> None:
    model = made("cnn", Schema({}, {"picture": (3, 8, 8)}, num_classes=5), channels="4", dense="0")
    assert widths(model)["convolutions.0.weight"] == (4, 3, 5, 5)
    assert model.scores({"picture": torch.zeros(2, 3, 8, 8)}).shape == (2, 5)


def test_evaluations_take_fewer_pictures_at_a_time_the_larger_they_are() -> None:
    assert made("cnn", FEMNIST).evaluation_batch == (1 << 24) // (64 * 28 * 28)


def test_all_parameters_are_dense() -> None:
    assert {spec.kind for spec in made("cnn", FEMNIST).layout().specs} == {Kind.DENSE}


def test_the_same_seed_gives_the_same_network() -> None:
    first, again = (made("cnn", FEMNIST).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert isinstance(made("cnn", FEMNIST), Cnn)


@pytest.mark.parametrize(
    ("name", "parameters", "schema", "message"),
    [
        ("softmax", {}, Schema({"user": 2}), "reads numbers or pictures; the dataset has neither"),
        ("cnn", {}, Schema({}, {"age": ()}), r"reads one column of pictures, .*; the dataset has none"),
        ("cnn", {}, Schema({}, {"a": (2, 2), "b": (2, 2)}), "the dataset has a, b"),
        ("cnn", {}, Schema({}, {"picture": (3, 3)}), "nothing is left of pictures 3x3"),
        ("cnn", {"padding": "false"}, Schema({}, {"picture": (12, 12)}), "nothing is left of pictures 12x12"),
        ("softmax", {}, Schema({}, {"age": ()}, sequences={"items": IdSequence(2, 3)}, num_classes=0), "no labels"),
    ],
)
def test_data_without_fitting_pictures_are_refused(
    name: str, parameters: dict[str, str], schema: Schema, message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        make_model(name, parameters, schema, 0)
