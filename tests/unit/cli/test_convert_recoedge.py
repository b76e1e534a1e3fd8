"""RecoEdge's configurations as FLJobs: every key becomes a field or is named as without effect; the rest are errors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from fljob_api.validation import validate
from fljob_cli.convert import recoedge
from fljob_cli.convert.command import read, show
from fljob_cli.convert.mapping import Converted, Kind, Mapped, flat
from fljob_cli.convert.recoedge_keys import COMMON, DLRM, REGRESSION
from fljob_cli.errors import CliError, InputError
from fljob_cli.main import app

# The keys are RecoEdge's; the values are ours.
WIRE: dict[str, Any] = {
    "name": "kafka",
    "consumer": True,
    "producer": True,
    "consumer_port": 9000,
    "consumer_url": "10.0.0.1",
    "consumer_topic": "asks",
    "producer_port": 9000,
    "producer_url": "10.0.0.1",
    "producer_topic": "answers",
}
DLRM_CONFIG: dict[str, Any] = {
    "model": {
        "name": "dlrm",
        "arch_sparse_feature_size": 8,
        "arch_mlp_bot": [13, 48, 24, 8],
        "arch_mlp_top": [64, 32, 1],
        "arch_interaction_op": "dot",
        "arch_interaction_itself": False,
        "sigmoid_bot": "relu",
        "sigmoid_top": "relu",
        "loss_function": "bce",
        "loss_threshold": 0.0,
        "ndevices": -1,
        "embedding_types": {"threshold": 50, "base": {"name": "torch_bag", "mode": "sum", "sparse": True}},
        "preproc": {
            "datafile": "rows/train.txt",
            "output_file": "ready",
            "dataset_config": {
                "name": "kaggle",
                "dataset_multiprocessing": True,
                "max_ind_range": 0,
                "randomize": "day",
                "sub_sample_rate": 0.25,
                "memory_map": False,
            },
        },
    },
    "multiprocessing": {
        "name": "MPI",
        "gpu_map": {"left": [0, 1], "right": [2, 0, 1]},
        "comm_manager_config": {**WIRE, "cosnumer_group_id": "ours"},
    },
    "train": {
        "name": "dlrm",
        "config": {
            "name": "dlrm_std",
            "batch_size": 64,
            "eval_batch_size": 256,
            "eval_every_n": 500,
            "report_every_n": 5,
            "save_every_n": 250,
            "keep_every_n": 1000,
            "num_workers": 4,
            "num_epochs": 2,
            "num_batches": -1,
            "num_eval_batches": 100,
            "eval_on_train": False,
            "eval_on_val": True,
            "pin_memory": True,
            "log_gradients": False,
            "data_seed": 11,
            "init_seed": 11,
            "model_seed": 12,
        },
        "optimizer": {"name": "sgd", "momentum": 0.8, "lr": "2e-03"},
        "lr_scheduler": {"name": "noop"},
    },
}
REGRESSION_CONFIG: dict[str, Any] = {
    "model": {
        "name": "regression",
        "input_dim": 784,
        "output_dim": 10,
        "loss_function": "ce",
        "preproc": {
            "dataset_config": {
                "name": "femnist",
                "data_dir": "pictures",
                "splits": ["train", "val"],
                "normalize": [0.2, 0.4],
            }
        },
    },
    "multiprocessing": {
        "num_aggregators": 1,
        "num_trainers": 3,
        "process_manager": {"name": "ray"},
        "communication_interface": {**WIRE, "serialization": "json", "consumer_group_id": "ours"},
    },
    "trainer": {
        "name": "regression",
        "config": {"batch_size": 6, "eval_batch_size": 3, "num_batches": 5, "eval_on_val": False},
        "optimizer": {"name": "sgd", "momentum": 0.5, "lr": 0.02},
        "lr_scheduler": {"name": "dlrm", "num_warmup_steps": 20, "decay_start_step": 200, "num_decay_steps": 100},
    },
    "aggregator": {"name": "fed_avg"},
    "random": {"data_seed": 3, "init_seed": 4, "model_seed": 5},
    "log_dir": {"PATH": "logs"},
    "s3": {"aws_access_key": "who", "aws_secret_access_key": "hush", "region": "", "buckets": ["one"]},
}


QR = {"name": "qr_emb", "num_collisions": 3}
SCHEDULE = {"num_warmup_steps": 20, "decay_start_step": 200, "num_decay_steps": 101}
_CUSTOM = "model.embedding_types.custom"
_RATE_OF_NEGATIVES = "model.preproc.dataset_config.sub_sample_rate"


def changed(config: Mapping[str, Any] = DLRM_CONFIG, **values: Any) -> dict[str, Any]:
    """Return a configuration with dotted keys set (`__` for a dot)."""
    made: dict[str, Any] = json.loads(json.dumps(config))
    for key, value in values.items():
        *parents, last = key.split("__")
        section = made
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return made


def regression(**values: Any) -> dict[str, Any]:
    return changed(REGRESSION_CONFIG, **values)


def convert(config: Mapping[str, Any], **given_: Any) -> Converted:
    return recoedge.convert("it.yml", config, name="ads", **{"workers": None, "servers": 1, "rounds": 5, **given_})


def spec_of(config: Mapping[str, Any], **given_: Any) -> dict[str, Any]:
    spec: dict[str, Any] = convert(config, **given_).manifest["spec"]
    return spec


def key_of(config: Mapping[str, Any], key: str) -> Mapped:
    return next(one for one in convert(config).keys if one.key == key)


@pytest.mark.parametrize("config", [DLRM_CONFIG, REGRESSION_CONFIG], ids=["dlrm", "regression"])
def test_the_fljob_is_valid(config: dict[str, Any]) -> None:
    assert validate(convert(config, workers=7).manifest, in_cluster=True) == ()


@pytest.mark.parametrize("config", [DLRM_CONFIG, REGRESSION_CONFIG], ids=["dlrm", "regression"])
def test_every_key_is_named_once_in_the_order_of_the_file(config: dict[str, Any]) -> None:
    assert [key.key for key in convert(config).keys] == [key for key, _ in flat(config)]


@pytest.mark.parametrize("config", [DLRM_CONFIG, REGRESSION_CONFIG], ids=["dlrm", "regression"])
def test_every_key_without_effect_has_a_reason(config: dict[str, Any]) -> None:
    assert [key.key for key in convert(config).keys if not key.field and not key.note] == []


_TRIES: tuple[Any, ...] = (1, True, "fixed", [1, 2], 0.5, [0.5, 0.25], ["a"])
_WORDS = {f"{_CUSTOM}.name": "qr_emb", f"{_CUSTOM}.operation": "add"}
_NOT_BESIDE = {"model.arch_feature_emb_size", "train.config.num_batches", "trainer.config.num_epochs"}


@pytest.mark.parametrize(
    ("config", "known", "section"),
    [(DLRM_CONFIG, {**COMMON, **DLRM}, "train."), (REGRESSION_CONFIG, {**COMMON, **REGRESSION}, "trainer.")],
    ids=["dlrm", "regression"],
)
def test_the_rest_of_the_known_keys_have_an_outcome_too(
    config: dict[str, Any], known: dict[str, Kind], section: str
) -> None:
    wanted = {key for key in known if key.startswith((section, "model.", "s3.", "random.", "log_dir."))} - _NOT_BESIDE
    absent = wanted - {key for key, _ in flat(config)}
    values = {
        key.replace(".", "__"): _WORDS.get(key) or next(v for v in _TRIES if known[key].holds(v)) for key in absent
    }
    assert {key.key for key in convert(changed(config, **values)).keys if key.field or key.note} >= wanted


def test_the_towers_of_dlrm_are_its_hidden_layers() -> None:
    assert spec_of(DLRM_CONFIG)["model"] == {
        "name": "dlrm",
        "parameters": {"embeddingDim": 8, "interaction": "Dot", "bottom": "48,24", "top": "64,32"},
    }


def test_the_later_form_adds_the_layer_to_the_embeddings_itself() -> None:
    config = changed(model__arch_feature_emb_size=8)
    del config["model"]["arch_sparse_feature_size"]
    assert spec_of(config)["model"]["parameters"]["bottom"] == "48,24,8"


def test_a_bottom_tower_that_ends_elsewhere_gets_the_layer_to_the_embeddings() -> None:
    config = changed(model__arch_sparse_feature_size=16, model__arch_mlp_bot=[13, 512, 256, 64])
    assert spec_of(config)["model"]["parameters"]["bottom"] == "512,256,64"


def test_367_of_26_columns_of_width_16_is_what_goes_into_the_top_tower() -> None:
    config = changed(model__arch_sparse_feature_size=16, model__arch_mlp_top=[367, 256, 1])
    assert spec_of(config)["model"]["parameters"]["top"] == "256"


def test_432_of_27_vectors_of_width_16_is_what_goes_in_side_by_side() -> None:
    config = changed(
        model__arch_sparse_feature_size=16, model__arch_interaction_op="cat", model__arch_mlp_top=[432, 256, 1]
    )
    assert spec_of(config)["model"]["parameters"] | {"bottom": ""} == {
        "embeddingDim": 16,
        "interaction": "Cat",
        "bottom": "",
        "top": "256",
    }


def test_products_with_itself_are_asked_for() -> None:
    config = changed(model__arch_interaction_itself=True)
    assert spec_of(config)["model"]["parameters"]["interactItself"] == "true"
    assert validate(convert(config).manifest) == ()


def test_fedavg_weighs_by_samples_tables_included() -> None:
    assert spec_of(DLRM_CONFIG)["strategy"] == {
        "mode": "Sync",
        "localEpochs": 2,
        "batchSize": 64,
        "weighting": "Samples",
        "rowAveraging": "All",
    }


def test_num_batches_are_the_steps_of_a_round() -> None:
    strategy = spec_of(regression())["strategy"]
    assert (strategy["innerSteps"], "localEpochs" in strategy) == (5, False)


def test_a_round_is_one_pass_where_nothing_is_said() -> None:
    config = changed()
    del config["train"]["config"]["num_epochs"]
    assert spec_of(config)["strategy"]["localEpochs"] == 1


@pytest.mark.parametrize(("config", "batch"), [(changed(), 128), (regression(), 32)], ids=["train", "trainer"])
def test_the_default_batch_is_that_of_its_form(config: dict[str, Any], batch: int) -> None:
    del config["train" if "train" in config else "trainer"]["config"]["batch_size"]
    assert spec_of(config)["strategy"]["batchSize"] == batch


def test_the_first_form_has_batches_and_seeds_in_train_itself() -> None:
    config = changed()
    config["train"] |= config["train"].pop("config") | {"name": "dlrm"}
    assert spec_of(config) == spec_of(changed())
    assert key_of(config, "train.batch_size").field == key_of(changed(), "train.config.batch_size").field


def test_batches_in_train_beside_its_config_are_refused() -> None:
    with pytest.raises(InputError) as error:
        convert(changed(train__batch_size=7))
    assert [problem.path for problem in error.value.problems] == ["train.batch_size"]


@pytest.mark.parametrize("name", ["communication_interface", "communications_interfaces", "communications"])
def test_the_wire_has_had_several_names(name: str) -> None:
    config = regression()
    wire = config["multiprocessing"].pop("communication_interface") | {"serializer": "json"}
    config["multiprocessing"][name] = wire
    assert not [key for key in convert(config).keys if name in key.key and key.lost]


def test_a_learning_rate_that_yaml_takes_for_text_is_a_number() -> None:
    assert spec_of(DLRM_CONFIG)["optimizer"] == {
        "name": "SGD",
        "learningRate": "0.002",
        "parameters": {"momentum": "0.8"},
    }


@pytest.mark.parametrize(
    ("optimizer", "wanted"),
    [
        (
            {"name": "adam", "betas": [0.8, 0.9], "eps": 0.001, "weight_decay": 0.5},
            {"beta1": "0.8", "beta2": "0.9", "epsilon": "0.001", "weightDecay": "0.5"},
        ),
        (
            {"name": "rwsadagrad", "lr": 0.01, "eps": 0.5, "initial_accumulator_value": 0.25, "lr_decay": 0},
            {"epsilon": "0.5", "initialAccumulator": "0.25"},
        ),
    ],
    ids=["adam", "rwsadagrad"],
)
def test_an_optimizer_keeps_its_numbers(optimizer: dict[str, Any], wanted: dict[str, str]) -> None:
    config = changed(train__optimizer=optimizer)
    assert spec_of(config)["optimizer"]["parameters"] == wanted
    assert validate(convert(config).manifest) == ()


def test_trainers_are_those_of_the_file_unless_others_are_asked_for() -> None:
    counts = [len(spec_of(regression(), workers=workers)["trainers"]) for workers in (None, 2)]
    assert counts == [3, 2]


def test_the_seed_is_that_of_the_data_and_others_are_their_own() -> None:
    seeds = {key.key: (key.field, key.note) for key in convert(REGRESSION_CONFIG).keys if "seed" in key.key}
    assert seeds == {
        "random.data_seed": ("spec.seed", ""),
        "random.init_seed": ("spec.seeds.initialValues", ""),
        "random.model_seed": ("spec.seeds.model", ""),
    }
    assert (spec_of(regression())["seed"], spec_of(regression())["seeds"]) == (3, {"initialValues": 4, "model": 5})


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"model__loss_function": "mse"}, {"squaredError": "true"}),
        ({"model__loss_function": "wbce", "model__loss_weights": "1-4"}, {"positiveWeight": "4"}),
        ({"model__loss_weights": 2.5}, {"positiveWeight": "2.5"}),
        ({"model__loss_weights": "1-4"}, {}),
        ({"model__loss_threshold": 0.01}, {"probabilityLimit": "0.01"}),
        ({"model__weighted_pooling": "fixed"}, {}),
        ({"model__weighted_pooling": "learned"}, {"pooling": "Learned"}),
        (
            {"model__embedding_types__custom": {**QR, "operation": "add"}},
            {"embeddings": "QuotientRemainder", "threshold": 50, "collisions": 3, "operation": "Add"},
        ),
        (
            {"model__embedding_types__custom": {"name": "qr_emb", "qr_collisions": 5}},
            {"embeddings": "QuotientRemainder", "threshold": 50, "collisions": 5, "operation": "Mult"},
        ),
        (
            {"model__embedding_types__custom": {"name": "pr_emb", "base_dim": 8}},
            {"embeddings": "MixedDimension", "threshold": 50},
        ),
        ({"model__embedding_types__custom": {"name": "torch_bag"}}, {}),
    ],
)
def test_losses_and_tables_of_dlrm_are_its_parameters(values: dict[str, Any], wanted: dict[str, Any]) -> None:
    config = changed(**values)
    usual = spec_of(DLRM_CONFIG)["model"]["parameters"]
    assert spec_of(config)["model"]["parameters"] == usual | wanted
    assert validate(convert(config).manifest) == ()


def test_a_schedule_over_steps_is_one_over_rounds_of_so_many() -> None:
    assert spec_of(regression(trainer__lr_scheduler={"name": "dlrm", **SCHEDULE}))["optimizer"]["schedule"] == {
        "name": "QuadraticDecay",
        "warmUpRounds": 4,
        "decayStartRound": 40,
        "decayRounds": 21,
    }


def test_a_schedule_that_never_decays_warms_up() -> None:
    config = regression(trainer__lr_scheduler={"name": "dlrm", **SCHEDULE, "num_decay_steps": 0})
    assert spec_of(config)["optimizer"]["schedule"] == {"name": "WarmUp", "warmUpRounds": 4}


def test_a_decay_begins_behind_the_warming_up() -> None:
    config = regression(trainer__lr_scheduler={"name": "dlrm", **SCHEDULE, "decay_start_step": 20})
    assert spec_of(config)["optimizer"]["schedule"]["decayStartRound"] == 5
    assert validate(convert(config).manifest) == ()


def test_a_schedule_longer_than_any_is_told_as_lost() -> None:
    config = regression(trainer__lr_scheduler={"name": "dlrm", **SCHEDULE, "num_decay_steps": 50_001})
    assert key_of(config, "trainer.lr_scheduler.num_decay_steps").lost


def test_a_decay_within_one_round_is_told_as_lost() -> None:
    config = regression(trainer__lr_scheduler={"name": "dlrm", **SCHEDULE, "num_decay_steps": 1})
    assert key_of(config, "trainer.lr_scheduler.num_decay_steps").lost
    assert validate(convert(config).manifest) == ()


def test_regression_is_softmax_over_pictures() -> None:
    spec = spec_of(REGRESSION_CONFIG)
    assert (spec["model"], spec["dataset"]) == ({"name": "softmax"}, {"name": "pictures"})


def test_the_share_of_negatives_that_stay_is_an_option_of_the_import() -> None:
    key = key_of(DLRM_CONFIG, "model.preproc.dataset_config.sub_sample_rate")
    assert key.field == "fljob data import criteo --negatives 0.75"


def test_keys_of_a_store_are_not_shown() -> None:
    assert "hush" not in str(convert(REGRESSION_CONFIG).keys)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"model__sigmoid_bot": "sigmoid"}, "model.sigmoid_bot"),
        ({"model__weighted_pooling": "learned"}, "model.weighted_pooling"),
        ({"model__loss_function": "wbce", "model__loss_weights": "2-3"}, "model.loss_weights"),
        ({"model__embedding_types__custom": {"name": "pr_emb"}}, "model.embedding_types.custom.name"),
        ({"model__embedding_types__custom": {**QR, "operation": "concat"}}, "model.embedding_types.custom.operation"),
        ({"train__lr_scheduler": {"name": "dlrm", **SCHEDULE}}, "train.lr_scheduler.*"),
        ({"train__lr_scheduler": {"name": "plateau", "step": 0.1}}, "train.lr_scheduler.*"),
        ({"model__embedding_types__base__max_norm": 1.5}, "model.embedding_types.base.max_norm"),
        ({"model__embedding_types__base__init": False}, "model.embedding_types.base.init"),
        ({"train__config__log_gradients": True}, "train.config.log_gradients"),
        ({"train__config__eval_on_train": True}, "train.config.eval_on_train"),
        ({"train__optimizer__nesterov": True}, "train.optimizer.nesterov"),
        ({"train__optimizer__lr_decay": 0.5}, "train.optimizer.lr_decay"),
        ({"multiprocessing__num_aggregators": 2}, "multiprocessing.num_aggregators"),
    ],
)
def test_an_effect_that_is_lost_is_told(values: dict[str, Any], key: str) -> None:
    lost = [one.key for one in convert(changed(**values)).keys if one.lost]
    assert lost != []
    assert all(fnmatch(one, key) for one in lost)


def test_regression_over_the_file_of_criteo_is_over_pictures_that_are_to_be_brought() -> None:
    file, name = (f"model.preproc.{key}" for key in ("datafile", "dataset_config.name"))
    found = convert(regression(model__preproc__datafile="rows.csv", model__preproc__dataset_config__name="kaggle"))
    assert found.manifest["spec"]["dataset"] == {"name": "pictures"}
    assert {file, name} <= {one.key for one in found.keys if one.lost}


def test_an_empty_section_is_named() -> None:
    config = changed() | {"communications": None}
    assert key_of(config, "communications").note == "nothing is set"


@pytest.mark.parametrize(
    ("config", "path", "words"),
    [
        (changed(model__arch_mlp_tops=[1]), "model.arch_mlp_tops", "not a key"),
        (changed(model__input_dim=3), "model.input_dim", "not a key"),
        (regression(model__arch_mlp_top=[1]), "model.arch_mlp_top", "not a key"),
        (changed(model__name="dlmr"), "model.name", "unknown value"),
        (changed(model__arch_mlp_bot="13-8"), "model.arch_mlp_bot", "must be a list of whole numbers above 0"),
        (changed(model__arch_mlp_bot=[13, 8]), "model.arch_mlp_bot", "at least one hidden layer"),
        (changed(model__arch_mlp_top=[64, 32]), "model.arch_mlp_top", "must end with 1"),
        (changed(model__arch_interaction_op="sum"), "model.arch_interaction_op", "known: dot, cat"),
        (changed(model__arch_interaction_itself="no"), "model.arch_interaction_itself", "True or False"),
        (changed(model__arch_feature_emb_size=9), "model.arch_sparse_feature_size", "differs"),
        (changed(model__loss_function="ce"), "model.loss_function", "known: bce, mse, wbce"),
        (changed(model__preproc__dataset_config__name="terabyte"), "model.preproc.dataset_config.name", "kaggle"),
        (
            changed(model__preproc__dataset_config__sub_sample_rate=2),
            "model.preproc.dataset_config.sub_sample_rate",
            "",
        ),
        (changed(multiprocessing__gpu_map__left=[-1]), "multiprocessing.gpu_map.left", "whole numbers from 0"),
        (changed(multiprocessing__num_trainers=1000), "multiprocessing.num_trainers", "at most 128"),
        (changed(train__config__batch_size=0), "train.config.batch_size", "above 0"),
        (changed(train__config__batch_size=True), "train.config.batch_size", "above 0"),
        (changed(train__config__num_batches=9), "train.config.num_batches", "beside num_epochs"),
        (changed(train__optimizer__lr="1e999999999"), "train.optimizer.lr", "a number above 0"),
        (changed(train__optimizer__lr=-1), "train.optimizer.lr", "a number above 0"),
        (changed(train__optimizer={"name": "sgd"}), "train.optimizer.lr", "is required"),
        (changed(train__optimizer={"name": "adam", "betas": [0.5]}), "train.optimizer.betas", "two numbers"),
        (changed(trainer__name="dlrm"), "train", "beside trainer"),
        (changed(aggregator__name="fedprox"), "aggregator.name", "fed_avg"),
        ({}, "model.name", "is required"),
        (changed(model__loss_function="wbce"), "model.loss_weights", "is required"),
        (changed(model__loss_weights="1-0"), "model.loss_weights", "a number, or the weights"),
        (changed(model__loss_threshold=0.5), "model.loss_threshold", "below 0.5"),
        (changed(model__weighted_pooling="learnt"), "model.weighted_pooling", "known: fixed, learned"),
        (changed(model__embedding_types={"custom": QR}), "model.embedding_types.threshold", "is required"),
        (changed(model__embedding_types__custom={"name": "qr_emb"}), f"{_CUSTOM}.num_collisions", "is required"),
        (changed(model__embedding_types__custom={**QR, "operation": "max"}), f"{_CUSTOM}.operation", "mult, add"),
        (changed(train__lr_scheduler={"name": "cosine"}), "train.lr_scheduler.name", "dlrm, regression, noop"),
        (changed(train__lr_scheduler={"name": "dlrm"}), "train.lr_scheduler.num_warmup_steps", "is required"),
    ],
)
def test_what_has_no_meaning_here_is_an_error_with_its_key(config: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        convert(config)
    assert any(words in problem.message for problem in caught.value.problems if problem.path == path)


def test_a_key_that_is_nearly_right_gets_a_suggestion() -> None:
    with pytest.raises(InputError) as caught:
        convert(changed(train__config__batch_sise=1))
    assert [problem.suggestion for problem in caught.value.problems] == ["train.config.batch_size"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "dlrm.yml"
    path.write_text(yaml.safe_dump(DLRM_CONFIG))
    return path


def test_the_command_prints_a_manifest_and_says_on_stderr_what_became_of_each_key(file: Path) -> None:
    result = CliRunner().invoke(app, ["convert", "recoedge", str(file), "--workers", "2", "--strict"])
    assert validate(yaml.safe_load(result.stdout)) == ()
    assert "multiprocessing.gpu_map.left: [0, 1] → without effect (training is on the CPU" in result.stderr


def test_strict_refuses_what_is_lost_by_its_key(file: Path) -> None:
    file.write_text(yaml.safe_dump(changed(model__sigmoid_bot="sigmoid")))
    result = CliRunner().invoke(app, ["convert", "recoedge", str(file), "--strict"])
    assert (result.exit_code, "model.sigmoid_bot: has no effect here yet" in str(result.exception)) == (1, True)


_NUMBERS = (-1, 0, 1, 64, 2**53, 10**5000, 0.5, math.nan, math.inf, "1e-3", "1e999999999", "1-2", "1-")
_LISTS: tuple[list[Any], ...] = ([], [1], [13, 8, 1], [13, 64, 1], [0.5, 0.25], ["a"], [[1]], [None])
_VALUES = st.sampled_from([None, True, *_NUMBERS, "", "sgd", "[red]", b"x", *_LISTS, {}, {1: 2}, {"name": "adam"}])
_KEYS = st.sampled_from([*(key for key in {**COMMON, **DLRM, **REGRESSION} if "*" not in key), "model", "train.x"])


@given(st.sampled_from([DLRM_CONFIG, REGRESSION_CONFIG]), st.dictionaries(_KEYS, _VALUES, min_size=1, max_size=3))
@example(DLRM_CONFIG, {"model.loss_weights": 10**5000})
def test_any_values_of_known_keys_make_an_error_or_an_fljob(config: dict[str, Any], values: dict[str, Any]) -> None:
    made = changed(config)
    for key, value in values.items():
        *parents, last = key.split(".")
        section = made
        for part in parents:
            if not isinstance(section.get(part), dict):
                section[part] = {}
            section = section[part]
        section[last] = value
    try:
        converted = convert(made)
        show(converted, "it.yml", strict=False, as_json=True)
    except CliError:
        return
    assert len(converted.keys) == len(list(flat(made)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["model:", "  name:", " dlrm", "{", "}", "[", "&a ", "*a", "- ", "\n", "1", ": "])))
def test_any_text_is_an_error(file: Path, words: list[str]) -> None:
    file.write_text("".join(words))
    with pytest.raises(CliError):
        convert(read(file))


def test_a_section_that_holds_itself_is_an_error(file: Path) -> None:
    file.write_text("model: &m {more: *m}")
    with pytest.raises(InputError):
        convert(read(file))


def test_a_section_that_grows_without_end_is_an_error(file: Path) -> None:
    file.write_text(
        "a: &a {"
        + ", ".join(f"{n}: 1" for n in range(9))
        + "}\n"
        + "".join(
            f"{name}: &{name} {{" + ", ".join(f"{n}: *{before}" for n in range(9)) + "}\n"
            for before, name in zip("abcdefg", "bcdefgh", strict=True)
        )
    )
    with pytest.raises(InputError, match="more than 1000 keys"):
        convert(read(file))
