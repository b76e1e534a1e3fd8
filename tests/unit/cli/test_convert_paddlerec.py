"""PaddleRec's FL-PS configuration as an FLJob: every key becomes a field or is named as without effect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fljob_api.validation import validate
from fljob_cli.convert import paddlerec
from fljob_cli.convert.command import read
from fljob_cli.convert.mapping import Converted, flat
from fljob_cli.errors import CliError, InputError
from fljob_cli.main import app

# The keys are PaddleRec's; the values are ours.
CONFIG: dict[str, Any] = {
    "runner": {
        "sync_mode": "geo",
        "with_coodinator": 1,
        "geo_step": 40,
        "split_file_list": True,
        "thread_num": 1,
        "reader_type": "QueueDataset",
        "pipe_command": "python reader.py",
        "dataset_debug": False,
        "train_data_dir": "data/train",
        "train_reader_path": "movielens_reader",
        "train_batch_size": 256,
        "model_save_path": "out",
        "use_gpu": False,
        "epochs": 3,
        "print_interval": 50,
        "test_data_dir": "data/test",
        "infer_reader_path": "movielens_reader",
        "infer_batch_size": 1,
        "infer_load_path": "out",
        "infer_start_epoch": 2,
        "infer_end_epoch": 3,
        "need_dump": True,
        "dump_fields_path": "dumps",
        "dump_fields": ["item_input"],
        "dump_param": [],
        "local_sparse": ["embedding_0.w_0"],
        "remote_sparse": ["embedding_1.w_0"],
    },
    "hyper_parameters": {
        "optimizer": {"class": "adam", "learning_rate": 1e-05},
        "num_users": 10,
        "num_items": 20,
        "mf_dim": 8,
        "mode": "NCF_MLP",
        "fc_layers": [64, 32, 16, 8],
    },
}


def changed(**values: Any) -> dict[str, Any]:
    """Return the configuration with dotted keys set (`__` for a dot)."""
    made: dict[str, Any] = json.loads(json.dumps(CONFIG))
    for key, value in values.items():
        *parents, last = key.split("__")
        section = made
        for parent in parents:
            section = section[parent]
        section[last] = value
    return made


def convert(config: Mapping[str, Any], **given: Any) -> Converted:
    return paddlerec.convert("config_fl.yaml", config, name="movies", **{"workers": 2, "servers": 1, **given})


def spec_of(config: Mapping[str, Any], **given: Any) -> dict[str, Any]:
    spec: dict[str, Any] = convert(config, **given).manifest["spec"]
    return spec


def test_the_fljob_is_valid() -> None:
    assert validate(convert(CONFIG).manifest) == ()


def test_every_key_is_named_once_in_the_order_of_the_file() -> None:
    assert [key.key for key in convert(CONFIG).keys] == [key for key, _ in flat(CONFIG)]


def test_every_key_without_effect_has_a_reason() -> None:
    assert [key.key for key in convert(CONFIG).keys if not key.field and not key.note] == []


def test_geo_becomes_mode_geo_with_averaged_changes() -> None:
    strategy = spec_of(CONFIG)["strategy"]
    assert strategy == {
        "mode": "Geo",
        "localEpochs": 1,
        "batchSize": 256,
        "weighting": "Uniform",
        "geoStep": 40,
        "rowAveraging": "All",
    }


@pytest.mark.parametrize(("sync_mode", "mode"), [("async", "Async"), ("sync", "StepSync")])
def test_modes_of_gradients_give_the_optimizer_to_the_server(sync_mode: str, mode: str) -> None:
    converted = convert(changed(runner__sync_mode=sync_mode))
    strategy = converted.manifest["spec"]["strategy"]
    assert (strategy["mode"], strategy["serverOptimizer"]["name"]) == (mode, "Adam")
    assert validate(converted.manifest) == ()


@pytest.mark.parametrize(
    ("chosen", "words"), [("adam", "fresh each round"), ("adagrad", "fresh each round"), ("sgd", "")]
)
def test_geo_tells_that_an_optimizers_state_is_fresh_each_round(chosen: str, words: str) -> None:
    keys = {key.key: key for key in convert(changed(hyper_parameters__optimizer__class=chosen)).keys}
    note = keys["hyper_parameters.optimizer.class"].note
    assert (words in note, bool(note)) == (True, bool(words))


def test_geo_step_is_without_effect_in_another_mode() -> None:
    keys = {key.key: key for key in convert(changed(runner__sync_mode="async")).keys}
    assert (keys["runner.geo_step"].field, keys["runner.geo_step"].note) == ("", "for sync_mode geo only")


def test_local_rows_are_private_and_remote_rows_shared() -> None:
    assert spec_of(CONFIG)["parameterScopes"] == [
        {"name": "user_embedding.mlp", "scope": "Private"},
        {"name": "item_embedding.mlp", "scope": "Shared"},
    ]


def test_a_learning_rate_is_written_out() -> None:
    assert spec_of(CONFIG)["optimizer"] == {"name": "Adam", "learningRate": "0.00001"}


def test_the_model_has_the_form_and_layers_of_the_configuration() -> None:
    assert spec_of(CONFIG)["model"] == {"name": "ncf", "parameters": {"mode": "MLP", "layers": "64,32,16,8"}}


def test_the_matrix_form_has_factors_and_no_layers() -> None:
    config = changed(hyper_parameters__mode="NCF_GMF", runner__local_sparse=[], runner__remote_sparse=[])
    assert spec_of(config)["model"] == {"name": "ncf", "parameters": {"mode": "GMF", "factors": 8}}


def test_workers_and_servers_are_trainers_and_shards() -> None:
    spec = spec_of(CONFIG, workers=3, servers=2)
    assert ([trainer["name"] for trainer in spec["trainers"]], spec["server"]["replicas"]) == (
        ["site-0", "site-1", "site-2"],
        2,
    )


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"runner__sync_mode": "goe"}, "runner.sync_mode", "goe"),
        ({"runner__geo_steps": 5}, "runner.geo_steps", "not a key"),
        ({"runner__train_batch_size": "many"}, "runner.train_batch_size", "whole number above 0"),
        ({"runner__train_batch_size": -1}, "runner.train_batch_size", "whole number above 0"),
        ({"runner__epochs": 0}, "runner.epochs", "whole number above 0"),
        ({"hyper_parameters__optimizer__learning_rate": "fast"}, "hyper_parameters.optimizer.learning_rate", "number"),
        ({"hyper_parameters__optimizer__class": "lamb"}, "hyper_parameters.optimizer.class", "lamb"),
        ({"hyper_parameters__fc_layers": 64}, "hyper_parameters.fc_layers", "must be a list"),
        ({"hyper_parameters__fc_layers": [64, "x"]}, "hyper_parameters.fc_layers", "must be a list of whole numbers"),
        ({"runner__local_sparse": "embedding_0.w_0"}, "runner.local_sparse", "must be a list of names"),
        ({"runner__local_sparse": [["embedding_0.w_0"]]}, "runner.local_sparse", "must be a list of names"),
        ({"runner__local_sparse": ["embedding_1.w_0"]}, "runner.remote_sparse", "is named before"),
        ({"runner__train_reader_path": "criteo_reader"}, "runner.train_reader_path", "criteo_reader"),
        ({"runner__local_sparse": ["embedding_7.w_0"]}, "runner.local_sparse", "embedding_0.w_0"),
        ({"dataset": 1}, "dataset", "not a section"),
    ],
)
def test_what_has_no_meaning_here_is_an_error_with_its_key(changes: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        convert(changed(**changes))
    assert any(words in problem.message for problem in caught.value.problems if problem.path == path)


def test_a_key_that_is_nearly_right_gets_a_suggestion() -> None:
    with pytest.raises(InputError) as caught:
        convert(changed(runner__sync_mod="geo"))
    assert [problem.suggestion for problem in caught.value.problems] == ["runner.sync_mode"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config_fl.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    return path


def test_the_command_prints_a_manifest_and_says_on_stderr_what_became_of_each_key(file: Path) -> None:
    result = CliRunner().invoke(app, ["convert", "paddlerec", str(file), "--name", "movies"])
    assert validate(yaml.safe_load(result.stdout)) == ()
    assert "runner.pipe_command: python reader.py → without effect (data is read from Parquet" in result.stderr


def test_the_command_prints_both_as_one_json_object(file: Path) -> None:
    result = CliRunner().invoke(app, ["convert", "paddlerec", str(file), "--output", "json"])
    value = json.loads(result.stdout)
    assert (value["fljob"]["metadata"]["name"], len(value["keys"])) == ("paddlerec", len(list(flat(CONFIG))))


@pytest.mark.parametrize("text", ["- 1", "a: [", "a: 2022-99-99", "[" * 5000], ids=["list", "torn", "date", "deep"])
def test_a_file_that_holds_no_sections_is_an_error_with_its_name(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(CliError, match=r"config_fl\.yaml: "):
        read(file)


def test_a_section_that_holds_itself_is_an_error(file: Path) -> None:
    file.write_text("runner: &r {more: *r}")
    with pytest.raises(InputError):
        convert(read(file))


def test_dumps_go_to_storage_of_each_site() -> None:
    spec = spec_of(changed(runner__dump_param=["embedding_1.w_0"]))
    assert spec["dump"] == {
        "fields": ["item"],
        "parameters": ["item_embedding.mlp"],
        "maxExamples": 10_000_000,
        "keep": 1000,
    }
    assert spec["trainers"][1]["storage"] == {"persistentVolumeClaim": {"claimName": "movies-storage-1"}}


def test_without_need_dump_nothing_is_dumped() -> None:
    assert "dump" not in spec_of(changed(runner__need_dump=False))


def test_dumped_variables_without_a_name_here_are_lost() -> None:
    converted = convert(changed(runner__dump_fields=["item_input", "fc_3.tmp_0"]))
    assert {key.key: key.note for key in converted.keys if key.lost} == {
        "runner.dump_fields": "without fc_3.tmp_0: no such name here"
    }
