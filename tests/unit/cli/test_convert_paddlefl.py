"""PaddleFL's scripts as an FLJob: read as text, never run; each call becomes a field or is named as without effect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner
from unit.cli.paddlefl_scripts import MASTER, SCRIPTS, SERVER, changed, convert, lost_of, problems_of, spec_of

from fljob_api.validation import validate
from fljob_cli.errors import CliError
from fljob_cli.main import app


def test_the_job_has_the_numbers_of_its_scripts() -> None:
    spec = spec_of()
    spec["trainers"] = [trainer["name"] for trainer in spec["trainers"]]
    assert spec == {
        "model": {"name": "gru4rec", "parameters": {"embeddingDim": 24, "hidden": 24}},
        "optimizer": {"name": "SGD", "learningRate": "1.5"},
        "rounds": 12,
        "dataset": {"name": "sessions"},
        "strategy": {
            "mode": "Sync",
            "innerSteps": 6,
            "batchSize": 20,
            "weighting": "Uniform",
            "rowAveraging": "All",
        },
        "checkpoint": {"volumeClaimTemplate": {"storage": "1Gi"}},
        "server": {"replicas": 1},
        "trainers": ["site-0", "site-1", "site-2"],
        "participation": {"count": 2},
    }


def test_the_fljob_is_valid() -> None:
    assert validate(convert().manifest, in_cluster=True) == ()


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for name, text in SCRIPTS.items():
        (tmp_path / name).write_text(text)
    return [str(tmp_path / name) for name in SCRIPTS]


def test_the_command_prints_a_manifest_and_says_on_stderr_what_became_of_each_call(files: list[str]) -> None:
    result = CliRunner().invoke(app, ["convert", "paddlefl", *files, "--rounds", "3"])
    assert yaml.safe_load(result.stdout)["spec"]["rounds"] == 3
    assert "fl_master.py:30 FLStrategyFactory.inner_step: 6 → spec.strategy.innerSteps" in result.stderr


def test_strict_refuses_what_is_lost_by_its_line(files: list[str]) -> None:
    result = CliRunner().invoke(app, ["convert", "paddlefl", *files, "--strict"])
    assert "fl_master.py:6 layers.embedding.learning_rate: has no effect here yet" in str(result.exception)


def test_the_job_of_the_documentation_is_two_workers_a_step_a_round_of_batches_of_ten() -> None:
    scripts = {
        "fl_master.py": MASTER.replace("learning_rate=1.5", "learning_rate=2.0")
        .replace("inner_step = 6", "inner_step = 1")
        .replace("worker_num=3", "worker_num=2"),
        "fl_trainer.py": "r = Gru4rec_Reader()\ntrain_reader = r.reader(train_file_dir, place, batch_size=10)\n",
    }
    spec = spec_of(scripts, rounds=40)
    strategy = (spec["strategy"]["innerSteps"], spec["strategy"]["batchSize"], len(spec["trainers"]), spec["rounds"])
    assert (strategy, spec["optimizer"], spec["model"]["parameters"]["hidden"]) == (
        (1, 10, 2, 40),
        {"name": "SGD", "learningRate": "2"},
        100,
    )


def test_each_call_and_setting_is_named_once_with_its_line() -> None:
    keys = [key.key for key in convert().keys]
    assert len(keys) == len(set(keys))
    assert {"fl_master.py:21 network.gru4rec_network", "fl_trainer.py:13 Gru4rec_Reader.reader.batch_size"} <= set(keys)


def test_every_key_without_effect_has_a_reason() -> None:
    assert [key.key for key in convert().keys if not key.field and not key.note] == []


def test_a_rate_of_its_own_for_the_embeddings_is_told_as_lost() -> None:
    lost = {key.key.split()[1]: key.value for key in convert().keys if key.lost}
    assert lost == {
        "gru4rec_network.init_low_bound": "-0.05",
        "gru4rec_network.init_high_bound": "0.05",
        "layers.embedding.initializer": "fluid.initializer.Uniform(low=init_low_bound)",
        "layers.embedding.learning_rate": "10.0",
    }


def test_an_argument_of_the_call_goes_before_the_functions_default() -> None:
    assert spec_of(changed("fl_master.py", "network.gru4rec_network()", "network.gru4rec_network(hid_size=7)"))[
        "model"
    ]["parameters"] == {"embeddingDim": 7, "hidden": 7}


def test_adam_of_lazy_rows_is_told_as_lost() -> None:
    scripts = changed("fl_master.py", "SGD(learning_rate=1.5)", "Adam(1.5, lazy_mode=True)")
    assert lost_of(scripts) == {"optimizer.Adam.lazy_mode": "True"}
    assert lost_of(changed("fl_master.py", "SGD(learning_rate=1.5)", "Adam(1.5, lazy_mode=False)")) == {}


def test_arguments_behind_a_star_are_an_error() -> None:
    found = problems_of(changed("fl_trainer.py", "reader.reader(sys.argv[2], where, ", "reader.reader(*sys.argv[2:], "))
    assert (
        "fl_trainer.py:13 Gru4rec_Reader.reader",
        "its arguments cannot be read behind *; write them out",
        "",
    ) in found


def test_a_number_may_have_a_name() -> None:
    assert (
        spec_of(changed("fl_master.py", "factory.inner_step = 6", "k = 9\nfactory.inner_step = k"))["strategy"][
            "innerSteps"
        ]
        == 9
    )


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        ("Adam()", {"name": "Adam", "learningRate": "0.001"}),
        ("AdamOptimizer(0.5, beta1=0.7)", {"name": "Adam", "learningRate": "0.5", "parameters": {"beta1": "0.7"}}),
        ("Momentum(0.5, 0.9)", {"name": "SGD", "learningRate": "0.5", "parameters": {"momentum": "0.9"}}),
    ],
)
def test_each_optimizer_that_paddlefl_takes_is_one_here(made: str, wanted: dict[str, Any]) -> None:
    assert spec_of(changed("fl_master.py", "SGD(learning_rate=1.5)", made))["optimizer"] == wanted


def test_without_an_optimizer_it_is_that_of_the_generator() -> None:
    text = SCRIPTS["fl_master.py"].replace("generator.set_optimizer(optimizer)\n", "")
    text = text.replace("optimizer = fluid.optimizer.SGD(learning_rate=1.5)\n", "")
    assert spec_of({**SCRIPTS, "fl_master.py": text})["optimizer"] == {"name": "SGD", "learningRate": "0.001"}


@pytest.mark.parametrize(
    ("old", "new", "rounds"),
    [
        ("turn >= 12", "turn == 12", 12),
        ("turn >= 12", "turn > 12", 13),
        ("    step = 0\n", "    step = 0\n    if turn > 4:\n        break\n", 4),
    ],
)
def test_rounds_are_how_often_the_loop_runs(old: str, new: str, rounds: int) -> None:
    assert spec_of(changed("fl_trainer.py", old, new))["rounds"] == rounds


def test_all_workers_take_part_without_a_scheduler() -> None:
    assert "participation" not in spec_of({key: text for key, text in SCRIPTS.items() if key != "fl_scheduler.py"})


def test_a_scheduler_that_is_told_no_sample_takes_a_tenth() -> None:
    scripts = changed("fl_scheduler.py", "scheduler.set_sample_worker_num(2)\n", "")
    assert spec_of(scripts)["participation"] == {"percent": 10}


def test_endpoints_are_shards() -> None:
    scripts = changed("fl_master.py", '"10.0.0.1:8181"]', '"10.0.0.1:8181", "10.0.0.2:8181"]')
    del scripts["fl_scheduler.py"]
    assert spec_of(scripts)["server"] == {"replicas": 2}


def test_a_job_for_kubernetes_names_its_pods() -> None:
    new = "generate_fl_job_for_k8s(strategy, server_pod_endpoints=places, server_service_endpoints=places,"
    scripts = changed("fl_master.py", "generate_fl_job(strategy, server_endpoints=places,", new)
    assert (spec_of(scripts)["server"], len(spec_of(scripts)["trainers"])) == ({"replicas": 1}, 3)


@pytest.mark.parametrize(
    ("script", "old", "new", "words"),
    [
        ("fl_master.py", "factory.inner_step", "factory.inner_steps", "not a setting"),
        ("fl_master.py", "factory.inner_step = 6", "factory.inner_step = 0", "above 0"),
        ("fl_master.py", "factory.inner_step = 6", "factory.inner_step = 2 * 3", "is computed (2 * 3)"),
        ("fl_master.py", "factory.inner_step = 6", "factory.inner_step: int = 0", "above 0"),
        ("fl_master.py", "factory.inner_step = 6", "factory.inner_step, a = 6, 7", "is computed ((6, 7))"),
        ("fl_master.py", "factory.inner_step = 6", "factory.inner_step += 6", "is computed"),
        ("fl_master.py", "factory.inner_step = 6", "setattr(factory, 'inner_step', 6)", "not a call"),
        ("fl_master.py", "factory.inner_step = 6", "factory.inner_step = 6\nfactory.inner_step = 7", "differs from"),
        ("fl_master.py", "factory.fed_avg = True", "factory.dpsgd = True", "no differential privacy"),
        ("fl_master.py", "factory.fed_avg = True", "factory.sec_agg = True", "no secure aggregation"),
        ("fl_master.py", "factory.fed_avg = True\n", "", "no script sets it to True"),
        ("fl_master.py", "generator.set_losses", "generator.set_loss", "not a call"),
        ("fl_master.py", "worker_num=3", "workers=3", "not an argument"),
        ("fl_master.py", "worker_num=3", "worker_num=300", "at most 128"),
        ("fl_master.py", "worker_num=3", "worker_num=4", "is 3, and generate_fl_job has 4"),
        ("fl_master.py", 'places = ["10.0.0.1:8181"]', "places = []", "a list of names"),
        ("fl_master.py", "network.gru4rec_network()", "network.other_network()", "not a call"),
        ("fl_master.py", "network.gru4rec_network()\n", "", "no script calls it"),
        ("fl_master.py", "layers.dynamic_gru", "layers.dynamic_lstm", "not a layer"),
        ("fl_master.py", "hid_size=24", "width=24", "not an argument"),
        ("fl_master.py", "SGD(learning_rate=1.5)", "SGD()", "is required"),
        ("fl_master.py", "SGD(learning_rate=1.5)", "RMSProp(0.5)", "not a call"),
        ("fl_master.py", "generator.set_optimizer(optimizer)\n", "", "is not used"),
        ("fl_master.py", "generator.generate_fl_job(", "generator.generate_fl_job_from_program(", "stored program"),
        ("fl_scheduler.py", "sample_worker_num(2)", "sample_worker_num(5)", "at most 3"),
        ("fl_scheduler.py", "FLScheduler(3, 1,", "FLScheduler(3, 2,", "is 2, and generate_fl_job has 1"),
        ("fl_scheduler.py", "init_env()", "init_env(1, 2)", "takes 0 arguments"),
        ("fl_trainer.py", "batch_size=20", "batch_size='20'", "above 0"),
        ("fl_trainer.py", "            break\n    trainer.save", "            pass\n    trainer.save", "whole passes"),
        ("fl_trainer.py", "if turn >= 12:", "if turn >= number:", "give --rounds"),
        ("fl_trainer.py", "turn = 0", "turn = 5", "give --rounds"),
        ("fl_trainer.py", "trainer.run(", "trainer.run_with_epoch(", "not read yet"),
        ("fl_trainer.py", "batches = reader.reader(", "batches = other(", "mini-batch is not told"),
    ],
)
def test_what_has_no_meaning_here_is_an_error(script: str, old: str, new: str, words: str) -> None:
    assert [message for _, message, _ in problems_of(changed(script, old, new)) if words in message] != []


def test_a_setting_that_is_nearly_right_gets_a_suggestion_and_its_line() -> None:
    found = problems_of(changed("fl_master.py", "factory.inner_step", "factory.inner_steps"))
    assert found == [
        ("fl_master.py:30 FLStrategyFactory.inner_steps", "not a setting that is known here", "inner_step")
    ]


def test_no_script_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    convert({**SCRIPTS, "fl_server.py": f"{SERVER}\nopen({json.dumps(str(mark))}, 'w').close()\n"})
    assert not mark.exists()


@pytest.mark.parametrize(
    "text",
    ["print 'a'", "a = (", "\0", "a = " + "(" * 500, "a = " + "-" * 20_000 + "1", "a" + ".b" * 20_000, "a = '\\d'("],
    ids=["python 2", "torn", "null", "deep", "signs", "chain", "escape"],
)
def test_a_script_that_cannot_be_read_is_an_error_with_its_name(text: str) -> None:
    with pytest.raises(CliError, match=r"fl_master\.py"):
        convert({"fl_master.py": text})


_LINES = [line for text in SCRIPTS.values() for line in text.splitlines(keepends=True)]
_ODD = """factory.fed_avg = 1
k = generator = []
a, b = factory, 1
a, factory.inner_step = 1, 2
factory.inner_step += 1
factory.inner_step: int = 4
factory.x.y = 2
  x
*a, = k
generator.generate_fl_job(*places, **places)
JobGenerator().set_losses()
while True: pass
places = [places, [1e999, -True, b'x', ...]]
f = lambda: f()()
places[0] = reader = Gru4rec_Reader().reader(batch_size=-1)
del factory
""".splitlines(keepends=True)


@given(st.lists(st.tuples(st.integers(0, len(_LINES)), st.sampled_from([*_ODD, *_LINES, ""])), max_size=4))
def test_any_lines_are_an_error_or_an_fljob(edits: list[tuple[int, str]]) -> None:
    lines = list(_LINES)
    for index, line in edits:
        lines[index : index + 1] = [line]
    try:
        converted = convert({"job.py": "".join(lines)})
    except CliError:
        return
    assert converted.manifest["spec"]["model"]["name"] == "gru4rec"
