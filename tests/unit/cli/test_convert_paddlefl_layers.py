"""PaddleFL's layers: each argument is as here, becomes a parameter, is told as lost, or is an error."""

from __future__ import annotations

import pytest
from unit.cli.paddlefl_scripts import SCRIPTS, changed, convert, lost_of, problems_of, spec_of

from fljob_cli.errors import CliError


def test_two_units_are_two_layers() -> None:
    unit = "hidden = fluid.layers.dynamic_gru(input=gates, size=hid_size)"
    more = f"{unit}\n        gates = fluid.layers.fc(input=hidden, size=3 * hid_size)\n        {unit}"
    scripts = changed("fl_master.py", unit, more)
    assert spec_of(scripts)["model"]["parameters"]["numLayers"] == 2


def test_a_width_of_the_embeddings_that_is_not_the_states_is_one_here_too() -> None:
    spec = spec_of(changed("fl_master.py", "size=[vocab_size, hid_size]", "size=[vocab_size, 36]"))
    assert spec["model"]["parameters"] == {"embeddingDim": 36, "hidden": 24}


@pytest.mark.parametrize(
    ("layer", "argument", "value"),
    [
        ("dynamic_gru(", "is_reverse", "True"),
        ("dynamic_gru(", "is_reverse", "backwards"),
        ("dynamic_gru(", "gate_activation", "tanh"),
        ("dynamic_gru(", "candidate_activation", "relu"),
        ("dynamic_gru(", "h_0", "first"),
        ("dynamic_gru(", "bias_attr", "False"),
        ("dynamic_gru(", "bias_attr", "of(2)"),
        ("embedding(", "padding_idx", "0"),
        ("embedding(", "dtype", "float64"),
        ("cross_entropy(", "soft_label", "True"),
        ("accuracy(", "k", "5"),
    ],
)
def test_an_argument_of_a_layer_that_is_otherwise_here_is_told_as_lost(layer: str, argument: str, value: str) -> None:
    written = f"'{value}'" if value in {"tanh", "relu", "float64"} else value
    text = SCRIPTS["fl_master.py"].replace(", k=20", "")
    scripts = {**SCRIPTS, "fl_master.py": text.replace(f"layers.{layer}", f"layers.{layer}{argument}={written}, ")}
    assert lost_of(scripts) == {f"layers.{layer}{argument}".replace("(", "."): value}


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ("learning_rate=1.0, trainable=True, regularizer=None", {}),
        ("None, None, 3.0", {"layers.fc.learning_rate": "3.0"}),
        ("trainable=False", {"layers.fc.trainable": "False"}),
        ("regularizer=L2Decay(0.1)", {"layers.fc.regularizer": "L2Decay(0.1)"}),
    ],
)
def test_each_word_of_a_parameter_is_read(said: str, lost: dict[str, str]) -> None:
    scripts = changed("fl_master.py", "ParamAttr(learning_rate=1.0)", f"ParamAttr({said})")
    assert lost_of(scripts) == lost


def test_what_is_said_of_a_parameter_may_have_a_name() -> None:
    text = SCRIPTS["fl_master.py"].replace("faster = 10.0", "faster = 10.0; gated = fluid.ParamAttr(learning_rate=4.0)")
    text = text.replace("param_attr=fluid.ParamAttr(learning_rate=1.0)", "param_attr=gated")
    assert lost_of({**SCRIPTS, "fl_master.py": text}) == {"layers.fc.learning_rate": "4.0"}


def test_a_bias_says_what_is_of_it() -> None:
    old = "size=hid_size * 3, "
    scripts = changed("fl_master.py", old, f"{old}bias_attr=fluid.ParamAttr(learning_rate=2.0), ")
    assert lost_of(scripts) == {"layers.fc.bias_attr.learning_rate": "2.0"}


def test_a_layer_that_is_not_here_is_told_as_lost() -> None:
    old = "        gates ="
    assert lost_of(changed("fl_master.py", old, f"        table = fluid.layers.relu(table)\n{old}")) == {
        "layers.relu": "(…)"
    }


def test_the_arguments_of_a_layer_need_no_names() -> None:
    scripts = changed("fl_master.py", "dynamic_gru(input=gates, size=hid_size)", "dynamic_gru(gates, hid_size, None)")
    assert spec_of(scripts) == spec_of()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("input=gates, size=hid_size", "input=gates, size=hid_size + 1", "another layer"),
        ("input=gates, size=hid_size", "input=gates, size=hid_size, reverse=True", "not an argument"),
        ("input=gates, size=hid_size", "gates, hid_size, *more", "behind * and **"),
        ("input=gates, size=hid_size", "gates, hid_size, **more", "behind * and **"),
        ("input=gates, size=hid_size", "gates, hid_size, 1, 2, 3, 4, 5, 6, 7, 8", "takes 9 arguments"),
        ("size=hid_size * 3,", "size=hid_size * 3, act='tanh',", "another layer"),
        ("size=[vocab_size, hid_size]", "size=[vocab_size, wide()]", "the width written out"),
        (
            "gates = fluid.layers.fc(",
            "more = fluid.layers.fc(input=table, size=72)\n        gates = fluid.layers.fc(",
            "2 gates",
        ),
        ("table = fluid.layers.embedding(", "table = fluid.embedding(", "1 scores"),
        ("hidden = fluid", "for _ in range(2): hidden = fluid", "in a loop"),
        ("faster = 10.0", "hid_size = hid_size // 2", "another layer"),
    ],
)
def test_another_network_is_an_error(old: str, new: str, words: str) -> None:
    assert [message for _, message, _ in problems_of(changed("fl_master.py", old, new)) if words in message] != []


def test_the_sizes_of_layers_are_those_of_the_call() -> None:
    text = SCRIPTS["fl_master.py"].replace("network.gru4rec_network()", "network.gru4rec_network(90, 12)")
    assert spec_of({**SCRIPTS, "fl_master.py": text.replace("size=hid_size * 3", "size=36")})["model"][
        "parameters"
    ] == {"embeddingDim": 12, "hidden": 12}


def test_arguments_without_names_are_those_of_paddlefls_function() -> None:
    text = SCRIPTS["fl_master.py"].replace("vocab_size=500, hid_size=24,", "hid_size=24, vocab_size=500,")
    called = {**SCRIPTS, "fl_master.py": text.replace("gru4rec_network()", "gru4rec_network(7)")}
    assert [message for _, message, _ in problems_of(called)] == ["has other arguments than PaddleFL's; name them"]
    named = {**SCRIPTS, "fl_master.py": text.replace("gru4rec_network()", "gru4rec_network(hid_size=7)")}
    assert spec_of(named)["model"]["parameters"]["hidden"] == 7


def test_a_network_that_is_too_deep_to_read_is_an_error() -> None:
    deep = changed("fl_master.py", "size=hid_size * 3", "size=hid_size * 3" + " * 1" * 2500)
    with pytest.raises(CliError, match="gru4rec_network cannot be read"):
        convert(deep)
