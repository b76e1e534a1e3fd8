"""What may happen to a job on a real cluster only, one test each: it ends in the documented state, with a reason.

What may happen on a laptop too (killed processes, suspend, corrupt data) is in tests/conformance/test_backends.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.cluster import Cluster
from support.jobs import SMALL, Jobs, Numbers, kill_process, manifest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]


def test_a_killed_operator_does_not_disturb_a_job(jobs: Jobs, undisturbed: Numbers, operator: str) -> None:
    name = jobs.apply(jobs.with_checkpoint(manifest("standard")))
    jobs.wait_round(name, 2)
    pod = jobs.cluster.items("pods", operator)[0]
    kill_process(pod["metadata"]["uid"])
    jobs.succeeded(name).assert_same(undisturbed)


def test_children_deleted_by_hand_come_back(jobs: Jobs, undisturbed: Numbers) -> None:
    name = jobs.apply(jobs.with_checkpoint(manifest("standard")))
    owner = jobs.cluster.get("flj", name, jobs.namespace)
    assert owner is not None
    uid = owner["metadata"]["uid"][:8]
    children = {
        "service": f"{name}-fl",
        "networkpolicy": f"{name}-deny",
        "role": f"{name}-coordinator",
        "serviceaccount": f"{name}-server",
        "configmap": f"{name}-config-{uid}-1",
        "job": f"{name}-trainer-site-0",
    }

    def uids() -> dict[str, str]:
        found = {kind: jobs.cluster.get(kind, child, jobs.namespace) for kind, child in children.items()}
        return {kind: item["metadata"]["uid"] for kind, item in found.items() if item}

    jobs.wait_round(name, 1)
    before = uids()
    assert before.keys() == children.keys()
    # All in one go: what is deleted after the job's end does not come back.
    gone = [*(f"{kind}/{child}" for kind, child in children.items()), f"secret/{name}-trainer-site-1-{uid}-tls"]
    jobs.cluster.kubectl("delete", *gone, "-n", jobs.namespace, "--wait=false")
    jobs.cluster.wait_for(
        "all deleted children to be back",
        lambda: uids().keys() == children.keys() and not set(uids().values()) & set(before.values()),
        60,
    )
    jobs.succeeded(name).assert_same(undisturbed)


def test_delete_in_mid_run_and_apply_again_starts_anew(jobs: Jobs, undisturbed: Numbers) -> None:
    job = jobs.with_checkpoint(manifest("standard"))
    name = jobs.apply(job)
    jobs.wait_round(name, 2)
    jobs.cluster.kubectl("delete", "flj", name, "-n", jobs.namespace, "--wait=false")
    jobs.apply(job)
    jobs.succeeded(name).assert_same(undisturbed)
    jobs.delete(name)
    jobs.cluster.wait_for("everything of the job to be gone", lambda: not jobs.leftovers(name), 60)


@pytest.fixture(scope="module")
def hopeless(cluster: Cluster, operator: str) -> Iterator[Jobs]:
    """Jobs that cannot succeed, side by side: each mostly waits for its deadline."""
    with cluster.namespace("hopeless") as namespace:
        jobs = Jobs(cluster, namespace)
        image = {"image": f"{cluster.registry}/no-such-image:1"}
        jobs.apply(manifest("no-image", trainerTemplate=image, startupDeadlineSeconds=35))
        short = manifest("no-quorum", startupDeadlineSeconds=35, quorum={"minTrainers": 3}, dataset=SMALL)
        short["spec"]["trainers"][2]["data"] = {"persistentVolumeClaim": {"claimName": "nobody-made-this"}}
        jobs.apply(short)
        jobs.apply(manifest("hungry", sites=1, trainerTemplate={"resources": {"limits": {"memory": "96Mi"}}}))
        yield jobs


def test_an_image_that_does_not_exist_is_said_at_once_and_fails_at_the_deadline(hopeless: Jobs) -> None:
    condition = hopeless.wait_condition("no-image", "ResourcesReady", "ImagePullFailed", deadline_s=30)
    assert "no-such-image" in condition["message"]
    status = hopeless.wait_state("no-image", "Failed", deadline_s=90)
    assert status["failure"]["reason"] == "StartupTimeout"
    assert "no-such-image" in status["failure"]["message"]


def test_a_quorum_that_cannot_be_met_fails_the_job_with_the_trainers_reason(hopeless: Jobs) -> None:
    status = hopeless.wait_state("no-quorum", "Failed", deadline_s=120)
    assert status["failure"]["reason"] == "StartupTimeout"
    assert "nobody-made-this" in status["failure"]["message"]


def test_a_container_killed_for_memory_is_explained_with_its_limit(hopeless: Jobs) -> None:
    status = hopeless.wait_state("hungry", "Failed")
    assert status["failure"]["reason"] == "OutOfMemory"
    assert "96Mi" in status["failure"]["message"]
