"""One suite for two backends: the same cases on processes of this machine and on pods of a real cluster.

Jobs have the quorum of all trainers unless a case says otherwise, so their numbers are those of `undisturbed`, a plain
local run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from conformance.backends import Backend, ClusterBackend, Ended, LocalBackend

from support.cluster import Cluster
from support.jobs import ROUNDS, SITES, SMALL, Jobs, Numbers, manifest

pytestmark = pytest.mark.timeout(300)
MakeBackend = Callable[[], Backend]


@pytest.fixture(
    scope="module",
    params=["local", pytest.param("cluster", marks=[pytest.mark.cluster])],
)
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeBackend]:
    """Makes a backend with a folder and a namespace of its own."""
    number = count()
    with ExitStack() as stack:

        def local() -> Backend:
            return LocalBackend(tmp_path_factory.mktemp("local"))

        def on_cluster() -> Backend:
            cluster: Cluster = request.getfixturevalue("cluster")
            request.getfixturevalue("operator")
            namespace = stack.enter_context(cluster.namespace(f"conformance-{next(number)}"))
            return ClusterBackend(Jobs(cluster, namespace), tmp_path_factory.mktemp("cluster"))

        yield {"local": local, "cluster": on_cluster}[request.param]


@pytest.fixture
def backend(make: MakeBackend) -> Backend:
    return make()


@pytest.fixture(scope="module")
def plain(make: MakeBackend) -> Ended:
    """The standard job, undisturbed."""
    return make().start(manifest("standard")).end()


def test_a_job_succeeds_with_all_its_rounds(plain: Ended) -> None:
    assert (plain.state, plain.reason, plain.training.round) == ("Succeeded", "Completed", ROUNDS)


def test_every_trainer_is_in_every_round(plain: Ended) -> None:
    assert plain.participants == dict.fromkeys(range(1, ROUNDS + 1), SITES)


def test_the_same_seed_gives_the_same_numbers_and_the_same_model(plain: Ended, undisturbed: Numbers) -> None:
    plain.numbers.assert_same(undisturbed)


def test_the_models_digest_names_its_algorithm(plain: Ended) -> None:
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", plain.training.model_digest or "")


def test_a_met_criterion_ends_the_job_before_its_last_round(backend: Backend) -> None:
    criterion = {"metric": "Loss", "operator": "LessOrEqual", "value": "1000", "patience": 2}
    ended = backend.start(manifest("enough", sites=1, dataset=SMALL, stopCriteria=[criterion])).end()
    assert (ended.state, ended.reason, ended.training.round) == ("Succeeded", "StopCriterionMet", 2)


def test_a_corrupt_site_that_the_quorum_needs_fails_the_job_and_the_file_is_named(
    backend: Backend, tmp_path: Path
) -> None:
    (tmp_path / "manifest.json").write_text('{"dataset": "synthetic"')
    ended = backend.start(manifest("corrupt", sites=2, dataset=SMALL), {"site-1": tmp_path}).end()
    assert (ended.state, ended.training.round) == ("Failed", 0)
    assert re.search(r"site-1: .*manifest\.json", ended.message)
    assert "1 of 2 trainers are left, 2 are needed" in ended.message


def test_a_corrupt_site_that_the_quorum_can_do_without_is_left_out(backend: Backend, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"dataset": "synthetic"')
    job = manifest("degraded", sites=2, rounds=2, dataset=SMALL, quorum={"minTrainers": 1})
    ended = backend.start(job, {"site-1": tmp_path}).end()
    assert (ended.state, ended.participants) == ("Succeeded", {1: 1, 2: 1})


def test_killed_processes_cost_no_round_and_change_no_number(backend: Backend, undisturbed: Numbers) -> None:
    run = backend.start(manifest("standard"))
    for number, role in enumerate(("trainer", "server", "coordinator"), start=1):
        run.after_round(number, lambda role=role: run.kill(role))  # type: ignore[misc]
    run.end().numbers.assert_same(undisturbed)


def test_a_suspended_job_goes_on_with_the_same_result(backend: Backend, undisturbed: Numbers) -> None:
    run = backend.start(manifest("standard"))
    run.after_round(1, run.suspend)
    paused = run.end()
    assert (paused.state, 1 <= paused.training.round < ROUNDS) == ("Suspended", True)
    assert run.left() == []
    run.resume()
    run.end().numbers.assert_same(undisturbed)


def test_an_unknown_name_is_refused_before_anything_starts(backend: Backend) -> None:
    refused = backend.refused(manifest("wrong", model={"name": "nfc"}))
    assert (refused.returncode, "Did you mean `ncf`?" in refused.stderr) == (10, True)
