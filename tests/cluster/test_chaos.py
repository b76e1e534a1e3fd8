"""One job that loses pods at random: coordinator, a shard, a trainer. More of them: `make chaos-cluster`."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos_cluster import Bed, Spans, make_job

from support.cluster import Cluster
from support.jobs import Numbers, run_locally

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]
SEED = 6
SPANS = Spans(8.0, 6.0)  # shorter than what the job takes anywhere, so that every strike falls
DEADLINE_S = 240.0


def test_a_job_whose_pods_are_deleted_at_random_ends_as_a_local_run(
    cluster: Cluster, operator: str, tmp_path: Path
) -> None:
    quiet = Numbers.of_local_run(run_locally(make_job(), tmp_path))
    trial = Bed(cluster, tmp_path, DEADLINE_S, quiet, SPANS).trial(SEED)
    assert (trial.fault, trial.missed) == ("", ())
    assert len(trial.fell) == 3
