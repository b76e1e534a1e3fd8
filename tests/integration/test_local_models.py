"""Every model trains on four sites of real processes: well above what an untrained model scores, and the same again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from integration.local_jobs import LocalJob, job

from fljob_api.progress import Outcome

PARAMETERS = {"usersPerSite": 40, "items": 60, "samplesPerUser": 60, "factors": 2}
# An untrained model scores 0.5. Measured: .764, .804, .800, .802 and .785, in the order below.
MODELS: dict[str, tuple[dict[str, str], float]] = {
    "dlrm": ({"embeddingDim": "4", "top": "16,8"}, 0.73),
    "fm": ({"factors": "4"}, 0.77),
    "deepfm": ({"factors": "4", "layers": "16,8"}, 0.77),
    "mf": ({"factors": "4"}, 0.77),
    "ncf": ({"mode": "NeuMF", "layers": "16,8", "factors": "4"}, 0.76),
}


def trained(name: str, root: Path) -> LocalJob:
    spec: dict[str, Any] = {
        "model": {"name": name, "parameters": MODELS[name][0]},
        "dataset": {"name": "synthetic", "parameters": PARAMETERS},
        "optimizer": {"learningRate": "0.02"},
        "strategy": {"localEpochs": 2, "batchSize": 50},
    }
    run = LocalJob(job(sites=4, rounds=5, **spec), root)
    finish = run.run()
    assert finish.outcome is Outcome.SUCCEEDED, finish
    return run


@pytest.mark.parametrize("name", MODELS)
def test_a_model_learns_and_learns_the_same_again(tmp_path: Path, name: str) -> None:
    first, again = (trained(name, tmp_path / part) for part in ("first", "again"))
    assert first.metrics()[-1][2] > MODELS[name][1]
    assert again.metrics() == first.metrics()
    assert again.model() == first.model()
