"""Jobs of real processes whose tables have keys Any, on data whose ids are hashes."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integration.local_jobs import UID, LocalJob, job
from safetensors.numpy import load, load_file

from fljob_api.progress import Outcome, RoundState
from fljob_runtime.data.datasets import OpenRequest
from fljob_runtime.data.synthetic import Synthetic, SyntheticParameters

PARAMETERS = {"usersPerSite": 20, "items": 60, "samplesPerUser": 40}
DATASET = {"name": "synthetic", "parameters": {**PARAMETERS, "hashedIds": "true"}}
ITEMS = "item_embedding.mlp.weight"
USERS = "user_embedding.mlp.weight"
MODES: dict[str, dict[str, Any]] = {
    "Geo": {"mode": "Geo", "geoStep": 4},
    "Async": {"mode": "Async", "serverOptimizer": {"name": "SGD", "learningRate": "0.02"}},
    "Buffered": {"mode": "Buffered", "bufferSize": 2},
    "Sync, compressed": {"compression": [{"name": "topK", "parameters": {"fraction": "0.5"}}]},
    "Sync, FedProx": {"name": "FedProx", "parameters": {"mu": "0.01"}},
}


def keyed(strategy: dict[str, Any] | None = None, **spec: Any) -> Any:
    tables = [{"name": "user_embedding", "keys": "Any"}, {"name": "item_embedding", "keys": "Any"}]
    strategy = {"localEpochs": 4, "batchSize": 20, **(strategy or {})}
    return job(tables=tables, dataset=DATASET, strategy=strategy, **spec)


def trained_ids(column: str, sites: Sequence[int] = (0, 1, 2)) -> np.ndarray:
    """Return the ids that the sites train, sorted."""
    parameters = SyntheticParameters.model_validate(DATASET["parameters"])
    data = [Synthetic(parameters, OpenRequest(f"site-{i}", i, 3, 0, None)) for i in sites]
    return np.unique(np.concatenate([site.epoch(np.random.default_rng(0)).columns[column] for site in data]))


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> LocalJob:
    run = LocalJob(keyed(), tmp_path_factory.mktemp("keyed"))
    finish = run.run()
    assert finish.outcome is Outcome.SUCCEEDED, finish
    return run


def test_a_job_learns_whatever_the_ids_are(quiet: LocalJob) -> None:
    losses = [loss for _, loss, _ in quiet.metrics()]
    assert losses == sorted(losses, reverse=True)
    assert quiet.metrics()[-1][2] > 0.65


def test_the_model_has_the_rows_of_the_ids_that_were_trained(quiet: LocalJob) -> None:
    model = load(quiet.model())
    for table, column in ((ITEMS, "item"), (USERS, "user")):
        assert model[f"{table}.ids"].tolist() == trained_ids(column).tolist()
        assert model[table].shape == (len(model[f"{table}.ids"]), 8)


def test_three_shards_give_the_model_of_one(quiet: LocalJob, tmp_path: Path) -> None:
    run = LocalJob(keyed(server={"replicas": 3}), tmp_path)
    assert run.run().outcome is Outcome.SUCCEEDED
    assert run.metrics() == quiet.metrics()
    assert run.model() == quiet.model()


@pytest.mark.parametrize("process", ["trainer-site-1", "server-0", "coordinator"])
def test_a_killed_process_changes_nothing(quiet: LocalJob, tmp_path: Path, process: str) -> None:
    run = LocalJob(keyed(), tmp_path)
    run.once(RoundState.TRAINING, 1, lambda: run.kill(process, signal.SIGKILL))
    assert run.run().outcome is Outcome.SUCCEEDED
    assert run.metrics() == quiet.metrics()
    assert run.model() == quiet.model()


def test_an_id_gets_a_row_when_so_many_updates_have_trained_it(tmp_path: Path) -> None:
    tables = [{"name": "user_embedding", "keys": "Any", "admitAfter": 2}, {"name": "item_embedding", "keys": "Any"}]
    # One trainer a round: of five rounds one trainer has two at least, and not every one has.
    run = LocalJob(job(rounds=5, tables=tables, dataset=DATASET, participation={"count": 1}), tmp_path)
    assert run.run().outcome is Outcome.SUCCEEDED
    took_part = Counter(
        update["trainer"] for record in run.records("ListAccepted") if record["round"] for update in record["accepted"]
    )
    sites = [site for site in range(3) if took_part[f"site-{site}"] >= 2]
    assert 0 < len(sites) < 3
    assert load(run.model())[f"{USERS}.ids"].tolist() == trained_ids("user", sites).tolist()


def test_rows_that_nobody_trains_any_more_are_dropped(tmp_path: Path) -> None:
    run = LocalJob(
        job(
            tables=[
                {"name": "user_embedding", "keys": "Any", "expireAfterRounds": 1},
                {"name": "item_embedding", "keys": "Any"},
            ],
            dataset=DATASET,
            participation={"count": 1},
        ),
        tmp_path,
    )
    assert run.run().outcome is Outcome.SUCCEEDED
    assert len(load(run.model())[f"{USERS}.ids"]) == 20  # those of the last round's trainer


@pytest.mark.parametrize("mode", MODES)
def test_a_job_of_any_mode_learns(tmp_path: Path, mode: str) -> None:
    run = LocalJob(keyed(MODES[mode], server={"replicas": 2}), tmp_path)
    finish = run.run()
    assert finish.outcome is Outcome.SUCCEEDED, finish
    assert run.metrics()[-1][1] < run.metrics()[0][1]


def test_private_rows_are_kept_by_id_and_survive_a_kill(tmp_path: Path) -> None:
    scopes = [{"name": "user_embedding", "scope": "Private"}]
    runs = [LocalJob(keyed(parameterScopes=scopes), tmp_path / name) for name in ("quiet", "shot")]
    runs[1].once(RoundState.TRAINING, 1, lambda: runs[1].kill("trainer-site-1"))
    for run in runs:
        assert run.run().outcome is Outcome.SUCCEEDED
    assert runs[0].model() == runs[1].model()
    assert not [name for name in load(runs[0].model()) if name.startswith("user_embedding")]
    kept = [load_file(run.folder.storage("site-1") / f"private-{UID}" / "private-000003.safetensors") for run in runs]
    assert len(kept[0][f"ids/{USERS}"]) == 20
    assert np.array_equal(kept[0][f"rows/{USERS}"], kept[1][f"rows/{USERS}"])


def test_steps_in_lockstep_end_as_if_nothing_had_been_killed(tmp_path: Path) -> None:
    strategy = {"mode": "StepSync", "serverOptimizer": {"name": "Adagrad", "learningRate": "0.05"}}
    quiet, shot = (LocalJob(keyed(strategy), tmp_path / name) for name in ("quiet", "shot"))
    shot.once(RoundState.TRAINING, 1, lambda: shot.kill("server-0"), durable=True)
    for run in (quiet, shot):
        run.run()
    assert shot.metrics() == quiet.metrics()
    assert shot.model() == quiet.model()
