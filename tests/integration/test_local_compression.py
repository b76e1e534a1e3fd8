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


@pytest.mark.parametrize("mode", ["StepSync", "Async", "Geo"])
def test_each_mode_takes_fewer_bytes_and_the_model_learns(tmp_path: Path, mode: str) -> None:
    strategies = [{"localEpochs": 4, "batchSize": 20, **MODES[mode], **c} for c in ({}, {"compression": CODECS})]
    plain, small = (LocalJob(job(2, strategy=s), tmp_path / n) for s, n in zip(strategies, "ab", strict=True))
    for run in (plain, small):
        assert run.run().outcome is Outcome.SUCCEEDED
    assert small.metrics()[-1][1] < small.metrics()[0][1]  # the loss falls
    sent = [sum(record["num_bytes"] for record in run.records("ListAccepted")[1:]) for run in (plain, small)]
    assert 0 < sent[1] < sent[0]
