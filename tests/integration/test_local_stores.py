"""Jobs of real processes whose checkpoints are behind a URI: they end as the ones with a folder do, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.local_jobs import UID, LocalJob, job

from fljob_api.fljob import FLJob
from fljob_api.progress import Outcome, RoundState
from fljob_runtime.backends.folder import LocalRunError
from fljob_runtime.backends.local import RunState, run_local
from fljob_runtime.checkpoints.remote import Remote
from support.stores import S3_ENVIRONMENT, ftp_store, s3_store

SERVERS = {"replicas": 2}


def stored(uri: str, rounds: int = 3) -> FLJob:
    return job(rounds=rounds, server=SERVERS, checkpoint={"uri": uri}, startupDeadlineSeconds=240)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The model of a job whose checkpoints are in a folder."""
    run = LocalJob(job(server=SERVERS, startupDeadlineSeconds=240), tmp_path_factory.mktemp("undisturbed"))
    assert run.run().outcome is Outcome.SUCCEEDED
    return run.model()


@pytest.fixture(
    scope="module", params=[pytest.param("ftp", marks=pytest.mark.ftp), pytest.param("s3", marks=pytest.mark.s3)]
)
def store_uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of an empty folder in a store; what credentials it needs are in the environment."""
    if request.param == "ftp":
        with ftp_store(tmp_path_factory.mktemp("ftp")) as uri:
            yield uri
        return
    with s3_store() as (endpoint, uri), pytest.MonkeyPatch.context() as patch:
        for name, value in {**S3_ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint}.items():
            patch.setenv(name, value)
        yield uri


def model(uri: str, scratch: Path) -> bytes:
    return Remote(uri, scratch).fetch(f"{UID}/model/model.safetensors").read_bytes()


@pytest.mark.parametrize("process", ["coordinator", "server-1"])
def test_a_process_killed_in_training_changes_nothing(
    process: str, undisturbed: bytes, store_uri: str, tmp_path: Path
) -> None:
    uri = f"{store_uri}/{process}"
    run = LocalJob(stored(uri), tmp_path / "run")
    run.once(RoundState.TRAINING, 1, lambda: run.kill(process), durable=True)
    assert run.run().outcome is Outcome.SUCCEEDED
    assert not run.hooks
    assert list(run.folder.checkpoint.iterdir()) == []
    assert model(uri, tmp_path / "spool") == undisturbed


def test_a_suspended_job_goes_on_from_the_store(undisturbed: bytes, store_uri: str, tmp_path: Path) -> None:
    uri = f"{store_uri}/suspended"
    first = LocalJob(stored(uri), tmp_path / "run")
    first.once(RoundState.TRAINING, 1, first.suspend)
    assert first.run().outcome is Outcome.PAUSED
    first.folder.control.unlink()
    second = LocalJob(stored(uri), tmp_path / "run")
    assert second.run().outcome is Outcome.SUCCEEDED
    assert model(uri, tmp_path / "spool") == undisturbed
    store = Remote(uri, tmp_path / "spool")
    names = sorted(store.names(f"{UID}/journal"))
    lines = b"".join(store.read([f"{UID}/journal/{name}" for name in names])).splitlines()
    assert "Rewound" not in {json.loads(line).get("kind") for line in lines}


def test_the_model_is_brought_to_the_run_folder(undisturbed: bytes, store_uri: str, tmp_path: Path) -> None:
    result = run_local(stored(f"{store_uri}/brought"), data={}, run_dir=tmp_path, on_progress=lambda _: None)
    assert result.state is RunState.SUCCEEDED
    assert result.model is not None
    assert result.model.is_relative_to(tmp_path)
    assert result.model.read_bytes() == undisturbed


@pytest.mark.ftp
def test_a_store_that_may_not_be_written_ends_the_job_with_its_uri(tmp_path: Path) -> None:
    with ftp_store(tmp_path / "ftp", rights="elr") as uri:
        finish = LocalJob(stored(uri), tmp_path / "run").run()
    assert (finish.outcome, finish.exit_code) == (Outcome.FAILED, 23)
    assert f"cannot write {uri}/{UID}/journal/00000001.jsonl" in finish.message
    assert "check the rights there" in finish.message


def test_a_store_without_a_driver_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(LocalRunError, match=r"spec\.checkpoint\.uri s4://bucket: fsspec knows no store"):
        LocalJob(stored("s4://bucket"), tmp_path)
    assert list(tmp_path.iterdir()) == []
