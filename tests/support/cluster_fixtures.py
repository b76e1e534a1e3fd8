"""Fixtures of all tests on a real cluster, loaded by tests/conftest.py: cluster, images, chart, a namespace per test.

They are asked for by tests/cluster and by the cluster half of tests/conformance; nothing starts before that.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import assets
from support.assets import CACHE
from support.cluster import Cluster, OwnCluster, given
from support.images import Images, build
from support.jobs import Jobs, Numbers, manifest, run_locally

CHART = Path(__file__).parents[2] / "charts/fljob"
SYSTEM = "fljob-system"


def helm(cluster: Cluster, *arguments: str) -> str:
    """Run helm against the cluster; raises RuntimeError with its words."""
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    command = [str(assets.helm()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=180, check=False)
    if done.returncode:
        raise RuntimeError(f"helm {' '.join(arguments[:3])}: {done.stderr.strip()}")
    return done.stdout


def chart_values(images: Images) -> list[str]:
    """Return the values of the test installation; progress is folded in each second so that tests need not wait."""
    env = [{"name": "FLJOB_PROGRESS_INTERVAL_SECONDS", "value": "1"}]
    return [
        "--set",
        f"image.operator={images.operator}",
        "--set",
        f"image.runtime={images.runtime}",
        "--set-json",
        f"env={json.dumps(env)}",
    ]


def install(cluster: Cluster, images: Images, *values: str) -> None:
    """Install or upgrade the chart and wait until the operator is ready."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "helm.lock").open("w") as lock:  # sessions on a kept cluster take turns
        fcntl.flock(lock, fcntl.LOCK_EX)
        options = ["-n", SYSTEM, "--wait", "--timeout", "120s", *chart_values(images), *values]
        helm(cluster, "upgrade", "--install", "fljob", str(CHART), *options)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running cluster: a given one (support.cluster.given), or one of the session's own."""
    present = given()
    if present:
        yield present
        return
    own = OwnCluster.start()
    try:
        yield own.cluster()
    finally:
        own.stop()


@pytest.fixture(scope="session")
def images(cluster: Cluster) -> Images:
    """Both images, built from the real Dockerfiles, in the cluster's registry."""
    return build(cluster.registry)


@pytest.fixture(scope="session")
def operator(cluster: Cluster, images: Images) -> Iterator[str]:
    """The chart, installed; returns its namespace. In a cluster that is kept it stays: other sessions may use it."""
    with contextlib.ExitStack() as stack:
        if os.environ.get("FLJOB_TEST_CLUSTER_REUSE") != "1":
            stack.enter_context(cluster.namespace(SYSTEM))
        else:
            cluster.make_namespace(SYSTEM)
        install(cluster, images)
        yield SYSTEM


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Numbers:
    """What the standard job comes to by `fljob run`, without disturbance."""
    return Numbers.of_local_run(run_locally(manifest("standard"), tmp_path_factory.mktemp("undisturbed")))


@pytest.fixture
def jobs(cluster: Cluster, operator: str, request: pytest.FixtureRequest) -> Iterator[Jobs]:
    """A namespace of the test's own."""
    name = request.node.name.removeprefix("test_").replace("_", "-").split("[")[0][:40].strip("-")
    with cluster.namespace(name):
        yield Jobs(cluster, name)
