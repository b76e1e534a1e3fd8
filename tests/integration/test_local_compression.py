"""Jobs of real processes whose trainers compress what they push."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from integration.local_jobs import MODES, LocalJob, job

from fljob_api.progress import Outcome, RoundState

CODECS: list[dict[str, Any]] = [{"name": "topK", "parameters": {"fraction": "0.1"}}, {"name": "int8"}]


def compressed(codecs: Any, **spec: Any) -> Any:
    strategy = {"localEpochs": 4, "batchSize": 20, **({"compression": codecs} if codecs else {})}
    return job(2, strategy=strategy, **spec)


def test_a_killed_trainer_goes_on_with_what_it_had_left_unsent(tmp_path: Path) -> None:
    quiet, shot = (LocalJob(compressed(CODECS), tmp_path / name) for name in ("quiet", "shot"))
    shot.once(RoundState.TRAINING, 2, lambda: shot.kill("trainer-site-1", signal.SIGKILL))
    for run in (quiet, shot):
        assert run.run().outcome is Outcome.SUCCEEDED
    assert shot.metrics() == quiet.metrics()
    assert shot.model() == quiet.model()


def test_none_is_the_identity(tmp_path: Path) -> None:
    plain, none = (LocalJob(compressed(c), tmp_path / n) for n, c in (("a", None), ("b", [{"name": "none"}])))
    for run in (plain, none):
        run.run()
    assert none.model() == plain.model()


def test_two_shards_take_fewer_bytes_and_the_model_learns(tmp_path: Path) -> None:
    plain, small = (
        LocalJob(compressed(c, server={"replicas": 2}), tmp_path / n) for n, c in (("a", None), ("b", CODECS))
    )
    for run in (plain, small):
        assert run.run().outcome is Outcome.SUCCEEDED
    assert small.metrics()[-1][1] < small.metrics()[0][1]  # the loss falls
    sent = [sum(entry.bytes for entry in run.seen[-1].training.recent_rounds) for run in (plain, small)]
    assert 0 < sent[1] < sent[0]


@pytest.mark.parametrize(
    ("mode", "codecs"),
    [("StepSync", CODECS), ("Async", CODECS), ("Geo", CODECS), ("Buffered", CODECS), ("Buffered", [{"name": "fp16"}])],
)
def test_each_mode_takes_fewer_bytes_and_the_model_learns(tmp_path: Path, mode: str, codecs: Any) -> None:
    strategies = [{"localEpochs": 4, "batchSize": 20, **MODES[mode], **c} for c in ({}, {"compression": codecs})]
    plain, small = (LocalJob(job(2, strategy=s), tmp_path / n) for s, n in zip(strategies, "ab", strict=True))
    for run in (plain, small):
        assert run.run().outcome is Outcome.SUCCEEDED
    assert small.metrics()[-1][1] < small.metrics()[0][1]  # the loss falls
    sent = [sum(record["num_bytes"] for record in run.records("ListAccepted")[1:]) for run in (plain, small)]
    assert 0 < sent[1] < sent[0]


def test_a_trainer_killed_in_a_buffer_of_all_gives_the_model_of_sync(tmp_path: Path) -> None:
    whole = {"localEpochs": 4, "batchSize": 20, "compression": CODECS, "mode": "Buffered", "bufferSize": 2}
    quiet, shot = LocalJob(compressed(CODECS), tmp_path / "sync"), LocalJob(job(2, strategy=whole), tmp_path / "shot")
    shot.once(RoundState.TRAINING, 2, lambda: shot.kill("trainer-site-1", signal.SIGKILL))
    for run in (quiet, shot):
        assert run.run().outcome is Outcome.SUCCEEDED
    assert shot.metrics() == quiet.metrics()
    assert shot.model() == quiet.model()


def test_a_task_dropped_as_too_stale_leaves_what_the_one_before_it_left(tmp_path: Path) -> None:
    strategy = {"localEpochs": 4, "batchSize": 20, **MODES["Buffered"], "bufferSize": 1, "maxStaleness": 1}
    spec = job(2, rounds=12, strategy={**strategy, "compression": CODECS}, evaluation={"everyRounds": 12})
    run = LocalJob(spec, tmp_path)
    run.once(RoundState.TRAINING, 1, lambda: run.kill("trainer-site-1", signal.SIGSTOP))
    run.once(RoundState.TRAINING, 5, lambda: run.kill("trainer-site-1", signal.SIGCONT))
    assert run.run().outcome is Outcome.SUCCEEDED
    lists = run.records("ListAccepted")[1:]
    assert ["site-1"] in [record["dropped"] for record in lists]
    counted = {name: sum(u["trainer"] == name for r in lists for u in r["accepted"]) for name in ("site-0", "site-1")}
    for site, tasks in counted.items():  # what is left is stored by task, whatever versions others made meanwhile
        kept = [int(path.stem.split("-")[1]) for path in run.root.rglob(f"*{site}*/shared-*/private-*.safetensors")]
        assert tasks <= max(kept) <= tasks + 1
